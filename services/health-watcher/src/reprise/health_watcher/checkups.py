"""Answers whether a container of this node is healthy, by its own probes, whatever their kind (reprise.runtime.checkup)."""

from functools import partial

from reprise.contracts.records import Checkup, Question
from reprise.health_watcher.graces import Graces
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.ports import Execs, FreezerState
from reprise.health_watcher.rules.grace import tolerated_s
from reprise.health_watcher.verdicts import Verdicts
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.probe import check_container


class Checkups:
    """verdicts: what the runtime listed last."""

    def __init__(
        self, execs: Execs, pods: ProtectedPods, freezer: FreezerState, verdicts: Verdicts, graces: Graces, hung: Hung
    ) -> None:
        self._execs, self._pods, self._freezer, self._verdicts, self._graces = execs, pods, freezer, verdicts, graces
        self._hung = hung

    async def answer(self, payload: bytes) -> bytes:
        """A Question, as JSON; a Checkup. Raises ValueError."""
        return (await self.check(Question.model_validate_json(payload))).model_dump_json().encode()

    async def check(self, asked: Question) -> Checkup:
        pod = self._pods.with_container(asked.pod_uid, asked.container)
        running = self._running(asked)
        if pod is None or running is None:
            return Checkup(healthy=False, runs=False, detail="it does not run on this node")
        if self._freezer.is_frozen(running.id):  # what is run in it would stand still too, and stay
            return Checkup(healthy=False, detail="it stands still")
        container = next(c for c in pod.containers if c.name == asked.container)
        found = await check_container(container, pod.ip, partial(self._execs.exec_sync, running.id))
        if found.healthy:
            self._hung.seen_healthy.add(running.id)
        known = container.container_id == running.id  # else what is known of its start is of the one before
        return Checkup(
            healthy=found.healthy, detail=found.detail, tolerated_s=tolerated_s(container.liveness),
            grace_s=self._graces.left_s(container) if known else 0.0,
        )  # fmt: skip

    def _running(self, asked: Question) -> RunningContainer | None:
        """The newest one, if it is the one that is meant."""
        those = [c for c in self._verdicts.look.containers
                 if (c.pod_uid, c.name, c.state) == (asked.pod_uid, asked.container, "running")]  # fmt: skip
        newest = max(those, key=lambda c: c.created_at_ns, default=None)
        return newest if newest and asked.container_id in ("", newest.id) else None
