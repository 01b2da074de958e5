"""An hour of a small cluster's life, as the events that its services would have published: for the console's tests.

Nine workloads on three nodes; each shows one thing that a page must tell. Made of the real event models; the same seed and
moment give the same events.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import nats
from pydantic import BaseModel
from reprise.contracts import envelope, subjects
from reprise.contracts.events import (
    CheckpointDue,
    CheckpointFailed,
    CheckpointPruned,
    CheckpointStaged,
    CheckpointStored,
    CheckpointTaken,
    ContainerEnded,
    ContainerRestored,
    Event,
    FailoverAbandoned,
    FailoverCompleted,
    FailoverDeclared,
    FailoverFenced,
    FailoverReleased,
    FailoverRestored,
    FailoverStarted,
    NodeIsolated,
    NodeLost,
    NodeReturned,
    StandbyRefused,
    node_subject,
)
from reprise.contracts.model import CriuStats, RestoreStats, Target, Workload, checkpoint_id, failover_id
from reprise.contracts.records import WrongAnnotation, WrongAnnotations

MB = 1_000_000
Traced = tuple[Event, str]


def ago(minutes: float = 0, seconds: float = 0) -> timedelta:
    return timedelta(minutes=minutes, seconds=seconds)


@dataclass
class Protected:
    """One container that is checkpointed. generation: of its pod; it changes when the workload is moved."""

    namespace: str
    name: str
    node: str
    interval_s: float
    size: int
    kind: str = "Deployment"
    container: str = ""
    standby: str = ""
    warm: bool = True
    generation: int = 1
    restarts: int = 0
    newest: str = ""
    good: list[str] = field(default_factory=list)

    @property
    def workload(self) -> Workload:
        return Workload.model_validate({"namespace": self.namespace, "kind": self.kind, "name": self.name})

    @property
    def target(self) -> Target:
        pod = {"Deployment": f"{self.name}-7c9d6b5f4-{self.generation:05x}", "StatefulSet": f"{self.name}-0"}.get(
            self.kind, self.name
        )
        return Target(
            node=self.node, pod=pod, pod_uid=f"{self.name}-{self.generation}", container=self.container or self.name,
            container_id=f"{self.name}{self.generation}{self.restarts}",
        )  # fmt: skip


class World:
    """now: the moment at which it is looked at."""

    def __init__(self, now: datetime, seed: int = 7) -> None:
        self.now = now
        self._random = random.Random(seed)

    def events(self) -> list[Traced]:
        """Every event with the id of its trace, in the order of time."""
        told = [
            *self.counter(), *self.cart(), *self.plc(), *self.lobby(), *self.notebook(), *self.simulation(), *self.broker(),
            *self.scada(), *self.ingest(),
        ]  # fmt: skip
        lost, isolated = "silent for 4.6 s by both ways; its kubelet does not answer", "froze 3 containers"
        at = self.now - ago(22)
        told.append((NodeLost(node="n1", workload=node_subject("n1"), at=at, detail=lost), self._trace()))
        told.append((NodeIsolated(node="n3", workload=node_subject("n3"), at=self.now - ago(50), detail=isolated), self._trace()))
        told.append(
            (NodeReturned(node="n3", workload=node_subject("n3"), at=self.now - ago(49.5), detail="thawed lobby"), self._trace())
        )
        return sorted(told, key=lambda each: each[0].at)

    def counter(self) -> Iterator[Traced]:
        """A crash and a lost node and a hang, all survived."""
        it = Protected("default", "counter", "n1", 10, 34 * MB, standby="n2")
        yield from self.checkpoints(it, ago(57), ago(56, 50), trigger="first")
        yield from self.checkpoints(it, ago(56, 40), ago(41), fails={40: "InFlightConnection"})
        yield from self.failover(it, "crash", ago(41), "exit code 137 (SIGKILL)", noticed_s=0.04)
        yield from self.checkpoints(it, ago(40, 50), ago(22, 6))
        yield from self.failover(
            it, "node-loss", ago(22), "silent for 4.6 s by both ways; its kubelet does not answer", noticed_s=4.6
        )
        it.standby = "n3"
        yield from self.checkpoints(it, ago(21, 45), ago(6, 3), fails={60: "UnhealthyAfter"})
        yield from self.failover(it, "hang", ago(6), "3 probes in a row without an answer", noticed_s=3.1)
        yield from self.checkpoints(it, ago(5, 50), ago(0, 3))

    def cart(self) -> Iterator[Traced]:
        """Moved off the lost node too; large, and healthy now."""
        it = Protected("shop", "cart", "n1", 60, 620 * MB, standby="n2")
        yield from self.checkpoints(it, ago(58), ago(22, 20))
        yield from self.failover(
            it, "node-loss", ago(22), "silent for 4.6 s by both ways; its kubelet does not answer", noticed_s=4.6
        )
        it.standby = "n3"
        yield from self.checkpoints(it, ago(21), ago(0, 30))

    def plc(self) -> Iterator[Traced]:
        """Its checkpoints fail, for a reason that its owner can remove."""
        it = Protected("factory", "plc-gateway", "n3", 30, 12 * MB, kind="StatefulSet")
        yield from self.checkpoints(it, ago(55), ago(2, 40))
        yield from self.checkpoints(it, ago(2, 10), ago(0, 5), fails=dict.fromkeys(range(9), "OpenDevice"))

    def lobby(self) -> Iterator[Traced]:
        """Nothing was heard of it for minutes."""
        it = Protected("games", "lobby", "n3", 10, 96 * MB, standby="n2", warm=False)
        yield from self.checkpoints(it, ago(14), ago(4))

    def notebook(self) -> Iterator[Traced]:
        """Its first checkpoint is being made."""
        it = Protected("lab", "notebook", "n2", 300, 0)
        yield self._due(it, self.now - ago(0, 9), "first"), self._trace()

    def simulation(self) -> Iterator[Traced]:
        """So large that the only other node refused it."""
        it = Protected("lab", "wind-tunnel", "n2", 120, 8100 * MB)
        yield from self.checkpoints(it, ago(59), ago(0, 40))
        refused = StandbyRefused(
            node="n3", workload=it.workload, at=self.now - ago(0, 35), target=it.target, reason="DiskPressure",
            message="the slot needs 8.1 GB, 2.3 GB are free", remedy="free some space below /var/lib/reprise, or add a node",
        )  # fmt: skip
        yield refused, self._trace()

    def broker(self) -> Iterator[Traced]:
        """A bare pod on the lost node: it could not be brought back."""
        it = Protected("edge", "mqtt-broker", "n1", 20, 58 * MB, kind="Pod")
        yield from self.checkpoints(it, ago(45), ago(22, 10))
        yield from self.failover(
            it, "node-loss", ago(22), "silent for 4.6 s by both ways; its kubelet does not answer", noticed_s=4.6
        )

    def scada(self) -> Iterator[Traced]:
        """Two containers."""
        for container, size in (("historian", 240 * MB), ("hmi", 71 * MB)):
            it = Protected("factory", "scada", "n2", 30, size, container=container, standby="n3")
            yield from self.checkpoints(it, ago(26), ago(0, 12))

    def ingest(self) -> Iterator[Traced]:
        """Crashed a moment ago."""
        it = Protected("shop", "ingest", "n3", 15, 150 * MB, standby="n2")
        yield from self.checkpoints(it, ago(16), ago(0, 14))
        yield from self.failover(it, "crash", ago(0, 1.1), "exit code 139 (SIGSEGV)", noticed_s=0.05, until="started")

    def checkpoints(
        self, it: Protected, begin: timedelta, end: timedelta, *, fails: dict[int, str] | None = None, trigger: str = "interval"
    ) -> Iterator[Traced]:
        """One each interval between two moments ago. fails: which of them, and why."""
        at, number = self.now - begin, 0
        while at <= self.now - end:
            yield from self._checkpoint(it, at, (fails or {}).get(number, ""), trigger)
            number, at = number + 1, at + timedelta(seconds=it.interval_s * self._random.uniform(0.97, 1.03))

    def _due(self, it: Protected, at: datetime, trigger: str) -> CheckpointDue:
        return CheckpointDue.model_validate({
            "node": it.node, "workload": it.workload, "at": at,
            "checkpoint_id": checkpoint_id(it.target.pod_uid, it.target.container, at), "target": it.target,
            "trigger": trigger, "due_at": at, "interval_s": it.interval_s, "keep": 3,
        })  # fmt: skip

    def _checkpoint(self, it: Protected, at: datetime, fails: str, trigger: str) -> Iterator[Traced]:
        trace, due = self._trace(), self._due(it, at, trigger)
        common: dict[str, Any] = {
            "node": it.node,
            "workload": it.workload,
            "checkpoint_id": due.checkpoint_id,
            "target": it.target,
        }
        size = int(it.size * self._random.uniform(0.985, 1.02))
        frozen_s = 0.08 + size / 2.2e9 * self._random.uniform(0.85, 1.4)
        pause_s = frozen_s + self._random.uniform(0.03, 0.06)
        kubelet_s, new = pause_s + self._random.uniform(0.12, 0.2), int(size * self._random.uniform(0.02, 0.07)) + 300_000
        yield due, trace
        if fails:
            message, remedy = FAILURES[fails]
            failed = {"at": at + timedelta(seconds=kubelet_s), "reason": fails, "message": message, "remedy": remedy}
            yield CheckpointFailed.model_validate(common | failed), trace
            return
        kubelet_at = at + timedelta(milliseconds=self._random.randint(8, 40))
        taken = {"at": kubelet_at + timedelta(seconds=kubelet_s), "trigger": trigger, "archive_path": "/a.tar",
                 "keep": 3, "kubelet_started_at": kubelet_at, "kubelet_s": kubelet_s, "due_to_kubelet_s": 0.02,
                 "pause_s": pause_s}  # fmt: skip
        yield CheckpointTaken.model_validate(common | taken), trace
        transfer_s = 0.09 + new / 60e6
        stored_at = taken["at"] + timedelta(seconds=transfer_s)
        pages = size // 4096
        stats = CriuStats(
            freezing_time_us=900, frozen_time_us=int(frozen_s * 1e6), memdump_time_us=int(frozen_s * 6e5),
            memwrite_time_us=int(frozen_s * 4e5), pages_scanned=pages * 2, pages_written=pages,
        )  # fmt: skip
        stored = {"at": stored_at, "trigger": trigger, "manifest_key": f"m/{due.checkpoint_id}", "size": size, "sha256": "0" * 64,
                  "transfer_s": transfer_s, "kubelet_s": kubelet_s, "stats": stats, "new_bytes": new,
                  "uploaded_bytes": new // 3, "pause_s": pause_s}  # fmt: skip
        yield CheckpointStored.model_validate(common | stored), trace
        it.newest = due.checkpoint_id
        it.good.append(due.checkpoint_id)
        staged = {"reference": f"slot/{due.checkpoint_id}", "pull_s": 0.1 + size / 4e9}
        yield CheckpointStaged.model_validate(common | staged | {"at": stored_at + timedelta(seconds=0.2)}), trace
        if it.standby:
            there = {
                "node": it.standby,
                "role": "standby",
                "bytes_fetched": new,
                "warm": it.warm,
                "at": stored_at + timedelta(seconds=0.6),
            }
            yield CheckpointStaged.model_validate(common | staged | there), trace
        if len(it.good) > 3:
            gone = common | {
                "checkpoint_id": it.good.pop(0),
                "container": it.target.container,
                "at": stored_at + timedelta(seconds=0.8),
            }
            yield CheckpointPruned.model_validate(gone), trace

    def failover(
        self, it: Protected, cause: str, back: timedelta, detail: str, *, noticed_s: float = 0.0, until: str = "completed"
    ) -> Iterator[Traced]:
        """back: how long ago it was noticed. until: the last step that has happened."""
        trace, at = self._trace(), self.now - back
        name = failover_id(it.target, node_lost=cause == "node-loss")
        common: dict[str, Any] = {
            "workload": it.workload,
            "failover_id": name,
            "target": it.target,
            "cause": cause,
            "checkpoint_id": it.newest,
        }
        if cause in ("crash", "hang"):
            yield self._ended(it, at - timedelta(milliseconds=20), detail), trace
        yield (
            FailoverDeclared.model_validate(common | {"node": it.node, "at": at, "detail": detail, "noticed_after_s": noticed_s}),
            trace,
        )
        if it.kind == "Pod":
            told = {"reason": "OwnerNotSupported", "message": "a Job's pod cannot be moved off a lost node",
                    "remedy": "run it as a Deployment, a StatefulSet or a pod of its own"}  # fmt: skip
            yield FailoverAbandoned.model_validate(common | told | {"node": it.node, "at": at + timedelta(seconds=0.03)}), trace
            return
        moves = cause == "node-loss"
        to = it.standby if moves else it.node
        why = f"{to} holds its checkpoints ready" if moves else "its node is healthy: the kubelet's own restart is the restore"
        path = "shadow" if moves else "in-place"
        restore_s = 0.5 + it.size / 9e8
        moments = {
            "started": 0.06,
            "fenced": 0.09,
            "released": 0.15 + restore_s,
            "restored": 0.2 + restore_s,
            "completed": 0.32 + restore_s,
        }
        moments |= {} if moves else {"started": 0.02, "restored": restore_s, "completed": restore_s + 0.03}
        when = {step: at + timedelta(seconds=offset) for step, offset in moments.items()}
        yield (
            FailoverStarted.model_validate(
                common | {"node": it.node, "at": when["started"], "path": path, "standby": to, "why": why}
            ),
            trace,
        )
        if until == "started":
            return
        if moves:
            how = "the node froze its containers before it was given up, and may not thaw them"
            yield FailoverFenced.model_validate(common | {"node": it.node, "at": when["fenced"], "how": how}), trace
        pages = it.size // 4096
        stats = RestoreStats(restore_time_us=int(restore_s * 8e5), forking_time_us=int(restore_s * 5e4), pages_restored=pages)
        restored_from = {"checkpoint_id": it.newest, "took_s": restore_s, "frozen": moves}
        target = it.target.model_copy(update={"node": to, "container_id": f"{name}-restored"})
        told_of = {"node": to, "workload": it.workload, "target": target, "stats": stats} | restored_from
        yield ContainerRestored.model_validate(told_of | {"at": when["restored"] - timedelta(seconds=0.05)}), trace
        if moves:
            yield FailoverReleased.model_validate(common | {"node": to, "at": when["released"]}), trace
        yield FailoverRestored.model_validate(common | {"node": to, "at": when["restored"]}), trace
        yield (
            FailoverCompleted.model_validate(
                common | {"node": to, "at": when["completed"], "path": path, "total_s": moments["completed"]}
            ),
            trace,
        )
        it.node, it.generation, it.restarts = to, it.generation + moves, it.restarts + 1

    def _ended(self, it: Protected, at: datetime, detail: str) -> ContainerEnded:
        """detail: how, with the exit code in it if there is one; a hang is ended by SIGKILL."""
        code = next((int(word) for word in detail.split() if word.isdigit() and int(word) > 100), 137)
        return ContainerEnded(
            node=it.node, workload=it.workload, target=it.target, at=at, ended_at=at, exit_code=code, reason="Error",
            log_tail=f"{at:%H:%M:%S} working\n{at:%H:%M:%S} the last line of {it.name}\n",
        )  # fmt: skip

    def _trace(self) -> str:
        return f"{self._random.getrandbits(128) | 1:032x}"


FAILURES = {
    "InFlightConnection": (
        "CRIU met a connection between SYN and accept",
        "add skip-in-flight to criu.config in /etc/reprise/engine.json on the node",
    ),
    "UnhealthyAfter": (
        "the container did not pass its probe after the checkpoint",
        "give it a patient probe: it needs more than 3 s",
    ),
    "OpenDevice": (
        "CRIU: Can't dump file 12 of /dev/ttyUSB0: it is a character device",
        "close the device while idle, or have a sidecar own it",
    ),
}


async def publish(url: str, traced: list[Traced]) -> None:
    """As the services do: on their subjects, in this order, each with its traceparent."""
    client = await nats.connect(url)
    jetstream = client.jetstream(timeout=10, publish_async_max_pending=256)
    for event, trace_id in traced:
        parent = f"00-{trace_id}-00000000000000aa-01"
        name, payload = envelope.encode(event, source="reprise/test", traceparent=parent)
        await jetstream.publish_async(subjects.of(event), payload, headers={"Nats-Msg-Id": name, "traceparent": parent})
    await jetstream.publish_async_completed()
    await client.close()


WRONG = WrongAnnotations(
    found=(
        WrongAnnotation(
            namespace="default", kind="Deployment", name="counter", annotation="reprise.dev/intervall", value="5s",
            message="nobody reads it; did you mean reprise.dev/interval?",
        ),
        WrongAnnotation(
            namespace="factory", kind="DaemonSet", name="sensor", annotation="reprise.dev/mode", value="criu",
            message="nobody reads it there: a DaemonSet is no workload of ours",
        ),
    )
)  # fmt: skip


async def put(url: str, bucket: str, key: str, value: BaseModel) -> None:
    client = await nats.connect(url)
    known = await client.jetstream().create_key_value(bucket=bucket)
    await known.put(key, value.model_dump_json().encode())
    await client.close()
