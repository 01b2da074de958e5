"""The table of rights at NATS: for each role, the subjects that it may publish to and subscribe to. All else is refused.

A role of a service belongs to that service alone. The role `agents` belongs to every node, and NODE in its subjects is that
node's own name: what is about a node is published by that node only. JetStream and buckets are subjects too:
https://docs.nats.io/reference/reference-protocols/nats_api_reference and ADR-8 of nats-io/nats-architecture-and-design.

NATS does not check the subject that a caller wants its answer on, so it can have the server write there. Three things keep
that from forging an event or a record: what a consumer delivers is stored under its own subject again; other answers are
JetStream's own JSON, which no reader of ours takes for an event or a record; and raw values are not to be had (DIRECT.GET), nor
has anybody the permission to answer on whatever subject is named (`resp`): questions are answered into known inboxes only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from reprise.contracts import events, subjects
from reprise.contracts.events import Event

NODE = "{{name()}}"
"""NATS puts the user's own name here: https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt"""
API = "$JS.API"
HEALTH = "reprise-ask.v1.health"


@dataclass(frozen=True)
class Rights:
    """Subjects, with wildcards."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def __add__(self, other: "Rights") -> "Rights":
        return Rights(_unique(self.publish + other.publish), _unique(self.subscribe + other.subscribe))


@dataclass(frozen=True)
class Role:
    """What one user does, in the words of this project. about: the node that its events are about, `*` for any.

    consumers: its own durable ones. observes: it follows the event stream by consumers without a name. reads, writes: buckets;
    a bucket that is written may name the keys: `leases/node.x`. amends_streams: also those that exist, and buckets.
    """

    emits: tuple[type[Event], ...] = ()
    about: str = "*"
    consumers: tuple[str, ...] = ()
    observes: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    amends_streams: bool = False
    more: Rights = field(default_factory=Rights)

    def rights(self) -> Rights:
        """replies and streams are everybody's."""
        total = replies() + _streams(amends=self.amends_streams) + _emitting(self.emits, self.about) + self.more
        for consumer in self.consumers:
            total += _consuming(consumer)
        if self.observes:
            total += _observing(subjects.STREAM)
        for bucket in _unique((*self.reads, *(name.partition("/")[0] for name in self.writes))):
            total += _reading(bucket, amends=self.amends_streams)
        for written in self.writes:
            bucket, _, keys = written.partition("/")
            total += Rights((f"$KV.{bucket}.{keys or '>'}",))
        return total + Rights(self.asks, self.answers)


def replies() -> Rights:
    """An inbox of its own: whoever could read another's would read all that it is told."""
    return Rights(subscribe=(f"{inbox(NODE)}.>",))


def inbox(user: str) -> str:
    return f"_INBOX.{user}"


def _streams(*, amends: bool) -> Rights:
    """Every service makes the streams when it finds none: NATS may have lost them. Only some may amend those that exist."""
    verbs = ("INFO", "CREATE", "UPDATE") if amends else ("INFO", "CREATE")
    names = (subjects.STREAM, subjects.DEAD_LETTER_STREAM)
    return Rights(tuple(f"{API}.STREAM.{verb}.{name}" for verb in verbs for name in names))


def _emitting(emitted: Iterable[type[Event]], about: str) -> Rights:
    return Rights(tuple(f"{subjects.ROOT}.{event.TYPE}.{about}.*.*" for event in emitted))


def _consuming(consumer: str) -> Rights:
    name = f"{subjects.STREAM}.{consumer}"
    calls = (
        f"{API}.CONSUMER.DURABLE.CREATE.{name}", f"{API}.CONSUMER.INFO.{name}", f"{API}.CONSUMER.MSG.NEXT.{name}",
        f"{API}.CONSUMER.DELETE.{name}", f"$JS.ACK.{name}.>", f"{subjects.DEAD_LETTER_ROOT}.{consumer}",
    )  # fmt: skip
    return Rights(calls)


def _observing(stream: str) -> Rights:
    """Consumers without a name of ours: NATS makes one up, so that it cannot be told from another's."""
    verbs = ("CREATE", "INFO", "DELETE", "MSG.NEXT")
    calls = tuple(f"{API}.CONSUMER.{verb}.{stream}.>" for verb in verbs)
    return Rights((f"{API}.CONSUMER.CREATE.{stream}", *calls, f"$JS.FC.{stream}.>"))


def _any_consumer() -> Rights:
    create = f"{API}.CONSUMER.DURABLE.CREATE.{subjects.STREAM}.*"
    return Rights((create, f"$JS.ACK.{subjects.STREAM}.>", f"{subjects.DEAD_LETTER_ROOT}.*"))


def _reading(bucket: str, *, amends: bool) -> Rights:
    """Values, keys and changes. A value that cannot be read is dead-lettered by whoever meets it."""
    stream = f"KV_{bucket}"
    verbs = ("INFO", "CREATE", "UPDATE", "MSG.GET") if amends else ("INFO", "CREATE", "MSG.GET")
    calls = tuple(f"{API}.STREAM.{verb}.{stream}" for verb in verbs)
    return _observing(stream) + Rights((*calls, f"{subjects.DEAD_LETTER_ROOT}.kv-{bucket}.>"))


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


AGENTS = Role(
    emits=(
        events.CheckpointTaken, events.CheckpointFailed, events.CheckpointSkipped, events.CheckpointStored,
        events.CheckpointStaged, events.StandbyRefused, events.CheckpointPruned, events.CheckpointDue, events.FailoverDeclared,
        events.ContainerEnded, events.ContainerRestored, events.NodeIsolated, events.NodeReturned, events.NodeGuarded,
        events.NodeUnguarded,
    ),
    about=NODE,
    consumers=tuple(
        f"{name}-{NODE}"
        for name in (
            "watcher", "watcher-staged", "watcher-released", "watcher-cold", "watcher-holds", "checkpointer", "transfer",
            "transfer-slots", "transfer-refused", "transfer-images", "transfer-damage",
        )
    ),
    reads=("resumes", "wanted"),
    # The keys of the last three name a pod, a checkpoint or a container, and no node.
    writes=(f"leases/node.{NODE}", f"nodes/{NODE}", "starts", "fences", "holds"),
    answers=(f"{HEALTH}.{NODE}",),
    asks=(f"{HEALTH}.{NODE}",),
    more=Rights((f"{inbox(NODE)}.>", f"{inbox('restorer')}.>")),  # who asks for the health of a container
)  # fmt: skip

ROLES: dict[str, Role] = {
    "agents": AGENTS,
    # A lease is taken away, or removed, under its node's key; by `arbiter.*` the arbiters see that they see the leases.
    "arbiter": Role(
        emits=(events.NodeSuspected, events.NodeLost, events.NodePostponed, events.FailoverDeclared),
        reads=("fences",),
        writes=("elections/arbiter", "leases/node.*", "leases/arbiter.*", "brake"),
    ),
    "scheduler": Role(
        emits=(events.CheckpointDue, events.CheckpointPaused),
        consumers=("scheduler-outcomes",),
        observes=True,
        writes=("elections/scheduler", "schedule", "harms", "newest", "annotations"),
        amends_streams=True,
    ),
    "restorer": Role(
        emits=(
            events.FailoverDeclared, events.FailoverStarted, events.FailoverHolding, events.FailoverFenced,
            events.FailoverReleased, events.FailoverRestored, events.FailoverCompleted, events.FailoverAbandoned,
            events.FailoverDelayed, events.ImageBuilt, events.StandbyRefused, events.CheckpointDue,
        ),
        consumers=(
            "restorer-images", "restorer-staged", "restorer-damages", "restorer-refusals", "restorer-failovers",
            "restorer-notices", "restorer-delays", "restorer-suspicions",
        ),
        reads=("nodes", "leases"),
        writes=(
            "elections/leftovers", "failovers", "requests", "fences", "holds", "standby", "wanted", "recoveries", "resumes",
            "starts", "newest",
        ),
        asks=(f"{HEALTH}.*",),
        amends_streams=True,
    ),
    "console": Role(
        emits=(events.OperationRequested, events.OperationRefused),
        consumers=("console",),
        observes=True,
        reads=("annotations",),
    ),
    # Its consumers are named after the endpoints that its owner configures.
    "webhook": Role(observes=True, writes=("webhooks",), more=_any_consumer()),
    # A person or a tool that follows events: by one durable consumer, which has its user's name.
    "reader": Role(more=Rights((
        f"{API}.INFO", f"{API}.CONSUMER.CREATE.{subjects.STREAM}.{NODE}", f"{API}.CONSUMER.CREATE.{subjects.STREAM}.{NODE}.>",
    )), consumers=(NODE,)),
}  # fmt: skip
