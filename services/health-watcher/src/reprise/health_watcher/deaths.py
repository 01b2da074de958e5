"""Notice a container's end, clear the way for the kubelet's restart, and declare the failover.

The exit files of the containers' monitors tell within milliseconds, and the container runtime's event stream within some 100;
a listing each RELIST_S catches what they missed (CRI-O streams only with `enable_pod_events = true`), and each FALLBACK_S
where there is no stream at all.
Everything an armed pod needs to come back happens here, on the node: NATS, the store and the API server may be away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, replace

from prometheus_client import Counter, Histogram
from reprise.contracts.events import Cause, FailoverDeclared
from reprise.contracts.images import parse_live
from reprise.contracts.model import Target, failover_id
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.decide import SOON_S, cause_of_death, on_death, removal_delay_s
from reprise.health_watcher.model import Death, Failing, Subject
from reprise.health_watcher.ports import Exits
from reprise.runtime.cri import Cri, CriError, RunningContainer
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.telemetry import about, log, span

RELIST_S = 1.0
FALLBACK_S = 0.05

NOTICED = Histogram(
    "reprise_death_noticed_seconds",
    "From a container's end to noticing it",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
DEATHS = Counter("reprise_container_deaths_total", "Protected containers that ended", ["armed"])


@dataclass(frozen=True)
class Ended:
    """A container as it was when its end was noticed. lived_s: None if it ran before this agent did."""

    container: RunningContainer
    noticed_after_s: float
    lived_s: float | None
    superseded: bool
    removed: bool = False


class Deaths:
    """cri: the node's runtime; pods: this node's protected pods; exits: what tells of ends first, where there is such a thing."""

    def __init__(self, cri: Cri, pods: ProtectedPods, announcer: Announcer, exits: Exits) -> None:
        self._cri, self._exits = cri, exits
        self._pods = pods
        self._announcer = announcer
        self._known: dict[str, RunningContainer] = {}
        self._handled: set[str] = set()
        self._later: dict[str, Ended] = {}
        """What ended before this node's pods were known."""
        self._streaming = False
        self._seen_at: dict[str, float | None] = {}
        """When each container was first seen; None if it ran before we did."""
        self._soon: dict[tuple[str, str], int] = {}
        self._removals: set[asyncio.Task[None]] = set()
        self.on_started: Callable[[], Awaitable[None]] = _nothing
        """Called at each start of a container, before anything else."""
        self.on_listed: Callable[[Iterable[RunningContainer]], Awaitable[None]] = _no_one
        """Called at each look at the containers."""
        self.on_ended: Callable[[Target], None] = _nobody
        """Called for each end of a protected container, before anything else is done about it."""
        self.on_died: Callable[[Target], None] = _nobody
        """Called for each end that is declared, of a container that is not armed."""
        self.expected_ends: Collection[str] = ()
        """Containers whose end is no crash."""
        self.hanging: dict[str, str] = {}
        """Containers that are being ended because they hang: id to what was seen."""
        self.failing: dict[str, Failing] = {}
        """By the container's id."""

    async def watch(self) -> None:
        """The exit files."""
        while True:
            try:
                async for ended in self._exits.follow():
                    await self._ended(ended.container_id, ended.finished_at_ns)
            except OSError as error:
                log().debug("exit files are not followed", error=str(error))
            except CriError as error:
                log().debug("an end is left to the event stream", error=str(error))
            await asyncio.sleep(RELIST_S)

    async def follow(self) -> None:
        """The event stream."""
        while True:
            try:
                async for event in self._cri.events():
                    self._streaming = True
                    if event.kind == "stopped":
                        await self._ended(event.container_id, event.finished_at_ns)
                    elif event.kind == "started":
                        await self.on_started()
                        await self.relist()
            except CriError as error:
                log().debug("container event stream ended", error=str(error))
            self._streaming = False
            await asyncio.sleep(0.2)

    async def sweep(self) -> None:
        """The listing."""
        while True:
            try:
                await self.relist()
            except CriError as error:
                log().warning("the container runtime does not answer", error=str(error))
            await asyncio.sleep(RELIST_S if self._streaming else FALLBACK_S)

    async def relist(self) -> None:
        listed = {c.id: c for c in await self._cri.list_containers()}
        seen_at = time.monotonic() if self._known else None
        self._seen_at = {container_id: self._seen_at.get(container_id, seen_at) for container_id in listed}
        born = any(c.state == "running" and c.id not in self._known for c in listed.values())
        self._known = listed
        if born:  # where the runtime streams no events this is how it is noticed
            await self.on_started()
        self._handled &= listed.keys()
        await self.on_listed(listed.values())
        for container in listed.values():
            if container.state == "exited":
                await self._ended(container.id, 0)
        await self._judge_later()

    async def _ended(self, container_id: str, finished_at_ns: int) -> None:
        if container_id in self._handled:
            return
        container = self._known.get(container_id)
        if container is None:
            await self.relist()
            return
        if container_id in self._handled:
            return
        self._handled.add(container_id)
        noticed_after_s = max(0.0, (time.time_ns() - finished_at_ns) / 1e9) if finished_at_ns else 0.0
        await self._judge(Ended(container, noticed_after_s, self._lived_s(container_id), self._superseded(container)))

    async def _judge(self, ended: Ended) -> None:
        container = ended.container
        known, deleting = self._subject(container)
        if known:
            self.on_ended(known.target)
        runs_live_image = parse_live(container.image) is not None
        death = Death(container.id, known, deleting, runs_live_image, self._pods.synced, ended.superseded)
        verdict = on_death(death)
        remove = verdict.remove and not ended.removed
        if verdict.later:
            self._later[container.id] = replace(ended, removed=verdict.remove)
        if not (remove or verdict.declare or verdict.later):
            return
        if ended.noticed_after_s:
            NOTICED.observe(ended.noticed_after_s)
        expected = container.id in self.expected_ends
        delay_s = removal_delay_s(self._soon_in_a_row(ended)) if remove and not expected else 0.0
        if remove and not delay_s:
            await self._remove(container.id)
        if verdict.declare and known and not expected:
            if not verdict.remove:
                self.on_died(known.target)
            self._declare(known, ended)
        if delay_s:
            log().warning("it ends soon each time: its next start waits", pod=container.pod, delay_s=delay_s)
            task = asyncio.create_task(self._remove_later(container.id, delay_s))
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)
        log().info("container ended", pod=container.pod, container=container.name, id=container.id[:12],
                   noticed_after_ms=round(ended.noticed_after_s * 1000), removed=remove, why=verdict.why)  # fmt: skip

    async def _judge_later(self) -> None:
        """What ended before the node's pods were known, once they are."""
        if self._later and self._pods.synced:
            waiting, self._later = self._later, {}
            for ended in waiting.values():
                await self._judge(ended)

    def _superseded(self, container: RunningContainer) -> bool:
        same = (container.pod_uid, container.name)
        others = [c for c in self._known.values() if (c.pod_uid, c.name) == same]
        return any(c.created_at_ns > container.created_at_ns for c in others)

    def _subject(self, container: RunningContainer) -> tuple[Subject | None, bool]:
        pod = self._pods.pods.get(container.pod_uid)
        if pod is None:
            return None, False
        spec = next((c for c in pod.containers if c.name == container.name), None)
        if spec is None:
            return None, pod.deleting
        target = pod.target(spec).model_copy(update={"container_id": container.id})
        return Subject(pod.workload, target, armed=parse_live(spec.image) is not None), pod.deleting

    def _lived_s(self, container_id: str) -> float | None:
        seen_at = self._seen_at.get(container_id)
        return time.monotonic() - seen_at if seen_at is not None else None

    def _soon_in_a_row(self, ended: Ended) -> int:
        lived_s, name = ended.lived_s, (ended.container.pod_uid, ended.container.name)
        count = self._soon.get(name, 0) + 1 if lived_s is not None and lived_s < SOON_S else 0
        self._soon = {of: n for of, n in self._soon.items() if of[0] in self._pods.pods} | {name: count}
        return count

    async def _remove_later(self, container_id: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._remove(container_id)

    async def _remove(self, container_id: str) -> None:
        for attempt in range(3):
            try:
                await self._cri.remove_container(container_id)
                return
            except CriError as error:
                log().warning("could not remove a dead container", id=container_id[:12], error=str(error))
                await asyncio.sleep(0.05 * 2**attempt)
        self._handled.discard(container_id)  # the next listing tries again

    def _declare(self, subject: Subject, ended: Ended) -> None:
        hang = self.hanging.pop(subject.target.container_id, None)
        if hang is not None:
            return  # declared when the hang was noticed
        DEATHS.labels(str(subject.armed).lower()).inc()
        failing = self.failing.pop(subject.target.container_id, None)
        if failing and cause_of_death(failing.failures, failing.threshold) == "hang":
            noticed_after_s = time.monotonic() - failing.since_s
            self.declare(subject, "hang", "the kubelet ended it, its livenessProbe failed", noticed_after_s, ended)
        else:
            self.declare(subject, "crash", "the container's process ended", ended.noticed_after_s, ended)

    def declare(
        self, subject: Subject, cause: Cause, detail: str, noticed_after_s: float, ended: Ended | None = None
    ) -> None:  # fmt: skip
        """One failover per container instance, however many notice it. ended: None while it still runs."""
        name, container_id = failover_id(subject.target), subject.target.container_id
        ran = ended.container if ended else self._known.get(container_id)
        event = FailoverDeclared(
            node=subject.target.node, workload=subject.workload, failover_id=name, target=subject.target,
            cause=cause, detail=detail, noticed_after_s=noticed_after_s, armed=subject.armed,
            lived_s=ended.lived_s if ended else self._lived_s(container_id),
            reference=ran.image if ran and parse_live(ran.image) else "",
        )  # fmt: skip
        with span("failover.declared", root=True, ago_s=noticed_after_s, attributes=about(event)):
            self._announcer.announce(event, f"declared-{name}")


async def _nothing() -> None:
    """Nobody asked to be called."""


async def _no_one(_: Iterable[RunningContainer]) -> None:
    """Nobody asked to be called."""


def _nobody(_: Target) -> None:
    """Nobody asked to be called."""
