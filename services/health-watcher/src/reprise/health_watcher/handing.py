"""Hands a program's state back to it, on its node and from that node's disk: it needs neither NATS, the store nor the API server.

The engine started it plainly (rules/verdict.py, HAND_BACK). As soon as it answers it is given the newest state that lies here; if
it says no, the one before. A pod that a failover made gets that one checkpoint and no other: if it says no, it is ended, and the
failover names another. So is one whose `on-failure` has no `cold`. What came of it is written where the engine writes how a
container started; until then such a start is not told of, the readiness gate stays closed, and no state of it is taken.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from reprise.contracts.errors import CheckpointError, RecoveryError
from reprise.contracts.records import HAND_BACK
from reprise.contracts.state import StateApi
from reprise.health_watcher.adapters.slots import Slot, Slots
from reprise.health_watcher.ports import Accesses, Runtime
from reprise.health_watcher.rules.keeps import Unwatched, may_keep
from reprise.health_watcher.rules.verdict import Verdict
from reprise.health_watcher.starts import Starts
from reprise.health_watcher.verdicts import Verdicts
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import EventRecorder, ProtectedPods
from reprise.runtime.nodefiles import Outcome, StartFile, boottime_s
from reprise.runtime.stateapi import Access, answers, digest, hand_over
from reprise.runtime.telemetry import log

LOOK_S = 0.05
AGAIN_S, MOST_AGAIN_S = 0.02, 0.5
"""A program that starts is asked again and again."""
PATIENCE_S = 300.0
"""For so long it may take to answer: then it is cold."""
COMPARE_S = 2.0
"""What its state is before and after is only asked for to tell of a POST that changed nothing."""


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may be handed back."""

    checkpoint_id: str
    slot: Slot
    state: Path


class Over(Exception):
    """The container ended, or must not be touched now."""


class Serves(Exception):
    """It may have served without its state, and answers."""


class Handing:
    """looks: tell whoever listens to the containers. expect: say that an instance is ended here, and did not crash."""

    def __init__(
        self, verdicts: Verdicts, starts: Starts, slots: Slots, pods: ProtectedPods, accesses: Accesses,
        recorder: EventRecorder, runtime: Runtime, looks: Callable[[], None], expect: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._verdicts, self._starts, self._slots, self._pods = verdicts, starts, slots, pods
        self._accesses, self._recorder, self._runtime = accesses, recorder, runtime
        self._looks, self._expect = looks, expect
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._seen_at_s: dict[str, float] = {}
        """Since when an agent has known of each process that lacks its state."""

    async def run(self) -> None:
        try:
            while True:
                self.look()
                await asyncio.sleep(LOOK_S)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def look(self) -> None:
        """Begin with each container that waits for its state."""
        for container_id, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[container_id]
                if not task.cancelled() and (error := task.exception()) and not isinstance(error, Over):
                    log().error("a state could not be handed back, trying again", id=container_id[:12], error=repr(error))
        waiting = [(c, start) for c in self._verdicts.protected() if (start := self._starts.of(c.id)) and start.is_open]
        self._seen_at_s = {c.id: self._seen_at_s.get(c.id, boottime_s()) for c, _ in waiting}
        for container, start in waiting:
            if container.id in self._tasks:
                continue
            if not self._is_http(container):
                self._tasks[container.id] = asyncio.create_task(self._cold(container, start, "its mode is not http any more"))
            elif self._verdict(container):
                self._tasks[container.id] = asyncio.create_task(self.hand_back(container, start))

    def _is_http(self, container: RunningContainer) -> bool:
        """Or nobody knows yet."""
        pod = self._pods.pods.get(container.pod_uid)
        return pod is None or pod.policy.mode == "http"

    async def hand_back(self, container: RunningContainer, start: StartFile) -> None:
        """Raises Over."""
        verdict = self._require_verdict(container)
        candidates, refused = self._candidates(container, verdict), list[str]()
        end = asyncio.get_running_loop().time() + PATIENCE_S
        unsure = may_keep(self._unwatched(container, start, verdict))
        for candidate in candidates:
            try:
                access, before = await self._until_taken(container, candidate, end, unsure=unsure)
            except Serves:
                await self._cold(container, start, self._why_it_keeps(container, start, candidate))
                return
            except RecoveryError as error:
                unsure = False
                refused.append(f"checkpoint {candidate.checkpoint_id} cannot be restored: {error.message}")
                log().warning("its state is refused", pod=container.pod, checkpoint=candidate.checkpoint_id, error=error.message)
                continue
            self._taken(container, start, candidate)
            await self._compare(container, candidate, access, before)
            return
        why = "; ".join(refused) or "there is no checkpoint"
        if verdict.checkpoint_id and not refused:
            why = f"checkpoint {verdict.checkpoint_id} cannot be restored: it is no state that a program handed out"
        ends = bool(verdict.checkpoint_id or (refused and verdict.never_cold))
        if refused and not ends:
            await self._cold(container, start, why)
            return
        self._settle(start, "refused" if ends else "blank", why)
        if ends:
            self._expect(container.id)
            await self._runtime.stop_container(container.id)

    async def _cold(self, container: RunningContainer, start: StartFile, why: str) -> None:
        self._settle(start, "cold", why)
        await self._tell(
            container, "ColdStart", f"container {container.name} of pod {container.pod} runs without its state: {why}"
        )

    def _alone_s(self, container: RunningContainer, start: StartFile) -> float:
        return max(0.0, self._seen_at_s.get(container.id, 0.0) - start.at_s) if start.at_s else 0.0

    def _unwatched(self, container: RunningContainer, start: StartFile, verdict: Verdict) -> Unwatched:
        pod = self._pods.pods.get(container.pod_uid)
        closed_at = pod.gate_closed_at if pod else None
        return Unwatched(
            alone_s=self._alone_s(container, start),
            interval_s=pod.policy.interval_s if pod else 0.0,
            gate_closed=closed_at is not None and closed_at <= start.moment,
            must_have_it=bool(verdict.checkpoint_id) or verdict.never_cold,
        )

    def _why_it_keeps(self, container: RunningContainer, start: StartFile, candidate: Candidate) -> str:
        pod = self._pods.everything.get(container.pod_uid)
        whose = f"{container.namespace}/{pod.workload.name if pod else container.pod}"
        return (
            f"it ran for {self._alone_s(container, start):.0f} s while its node's agent was away, and may have served: what it "
            f"did since counts. To go back to its state: kubectl reprise restore {whose} --to {candidate.checkpoint_id}"
        )

    def _verdict(self, container: RunningContainer) -> Verdict | None:
        """None: its start is not open, its pod may not run here, or it stands still."""
        decision = self._verdicts.decide(container)
        verdict = decision.verdict
        return verdict if (verdict.verdict, verdict.reason) == ("blank", HAND_BACK) and not decision.frozen else None

    def _require_verdict(self, container: RunningContainer) -> Verdict:
        """Raises Over."""
        verdict = self._verdict(container)
        if verdict is None or all(c.id != container.id for c in self._verdicts.protected()):
            raise Over
        return verdict

    def _candidates(self, container: RunningContainer, verdict: Verdict) -> list[Candidate]:
        """The newest first; only what may be given back."""
        found: dict[str, Candidate] = {}
        for slots in verdict.slots:
            names = (verdict.checkpoint_id,) if verdict.checkpoint_id else self._slots.kept(slots, container.name)
            for name in names:
                slot = self._slots.of_state(slots, container.name, name)
                if slot and name not in verdict.rejected:
                    found.setdefault(name, Candidate(name, slot, self._slots.state(slots, container.name, name)))
        return list(found.values())

    async def _until_taken(
        self, container: RunningContainer, candidate: Candidate, end: float, *, unsure: bool
    ) -> tuple[Access, str]:
        """How it was reached, and what its state was before. unsure: it keeps what it has if it answers at once. Raises Serves,
        and RecoveryError if it says no, or does not answer in time.
        """
        again_s = AGAIN_S
        while True:
            try:
                access = await self._access(container, candidate.slot)
                if unsure and await answers(access):
                    raise Serves
                unsure = False
                before = await digest(replace(access, timeout_s=min(access.timeout_s, COMPARE_S)))
                self._require_verdict(container)
                await hand_over(access, candidate.state, candidate.slot.content_type)
                return access, before
            except (CheckpointError, RecoveryError) as error:
                self._require_verdict(container)
                if not error.retryable or asyncio.get_running_loop().time() > end:
                    raise RecoveryError(error.message, reason=error.reason, remedy=error.remedy) from error
                if error.reason in ("StateAccess", "StateCertificate"):  # it waits for its owner
                    await self._tell(container, error.reason, f"{error.message}. To do: {error.remedy}")
            except OSError as error:  # its slot was removed meanwhile
                raise RecoveryError(f"its state cannot be read: {error}") from error
            await asyncio.sleep(again_s)
            again_s = min(again_s * 1.5, MOST_AGAIN_S)

    async def _access(self, container: RunningContainer, slot: Slot) -> Access:
        """As its annotations say now; of a pod that nobody owns yet, as they did then. Raises CheckpointError."""
        pod, known = self._pods.pods.get(container.pod_uid), self._pods.everything.get(container.pod_uid)
        api = pod.policy.state if pod and pod.policy.state else StateApi.model_validate(slot.api)
        ip = (pod.ip if pod else "") or (known.ip if known else "")
        if not ip:
            raise CheckpointError("its pod has no IP yet", subject=container.pod, reason="NoIp", retryable=True)
        return await self._accesses.of(api, container.namespace, ip)

    def _taken(self, container: RunningContainer, start: StartFile, candidate: Candidate) -> None:
        took_s = max(0.0, boottime_s() - start.at_s) if start.at_s else start.took_s
        done = start.model_copy(update={"checkpoint_id": candidate.checkpoint_id, "took_s": took_s})
        self._settle(done, "restored", "")
        log().info("its state was handed back", pod=container.pod, checkpoint=candidate.checkpoint_id, took_s=round(took_s, 3))

    def _settle(self, start: StartFile, outcome: Outcome, reason: str) -> None:
        self._starts.settle(start.model_copy(update={"outcome": outcome, "reason": reason, "kind": "http"}))
        self._looks()

    async def _compare(self, container: RunningContainer, candidate: Candidate, access: Access, before: str) -> None:
        """Told, not failed: a program may well hand out its state in another form than it took it."""
        after = await digest(replace(access, timeout_s=min(access.timeout_s, COMPARE_S)))
        if before and before == after:
            message = (
                f"container {container.name} of pod {container.pod} accepted checkpoint {candidate.checkpoint_id}, and its state "
                "is the same as before: does its POST do anything?"
            )
            if after != await asyncio.to_thread(_sha256, candidate.state):
                log().warning("a POST was accepted and changed nothing", pod=container.pod, checkpoint=candidate.checkpoint_id)
                await self._tell(container, "StateUnchanged", message)

    async def _tell(self, container: RunningContainer, reason: str, message: str) -> None:
        if pod := self._pods.everything.get(container.pod_uid):
            await self._recorder.record(pod.workload, "Warning", reason, message)


def _sha256(path: Path) -> str:
    """Empty if it is gone."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
