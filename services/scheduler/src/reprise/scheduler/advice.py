"""What a workload's owner must know about its annotations, as Kubernetes Events."""

import asyncio

from reprise.contracts.annotations import ARM
from reprise.runtime.kube import EventRecorder, ProtectedPods
from reprise.runtime.telemetry import log

EVERY_S = 2.0


class Advice:
    """Looks over what is annotated; each finding is recorded once for each state of the workload."""

    def __init__(self, pods: ProtectedPods, recorder: EventRecorder) -> None:
        self._pods, self._recorder = pods, recorder
        self._told: set[tuple[str, str]] = set()

    async def run(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(EVERY_S)

    async def _look(self) -> None:
        for workload, problems in list(self._pods.problems.items()):
            for problem in problems:
                if self._new(str(workload), str(problem)):
                    text = str(problem) if problem.annotation == ARM else f"{problem}. The last valid value stays in force"
                    log().warning("bad annotation", workload=str(workload), problem=str(problem))
                    await self._recorder.record(workload, "Warning", "BadAnnotation", text)
        for pod in list(self._pods.pods.values()):
            missing = set(pod.policy.containers) - {c.name for c in pod.containers}
            for name in sorted(missing):
                if self._new(pod.uid, f"missing {name}"):
                    text = f"reprise.dev/containers names {name!r}, which pod {pod.name} does not have: it is not protected"
                    await self._recorder.record(pod.workload, "Warning", "NoSuchContainer", text)
            for container in pod.containers:
                if not (container.liveness or container.readiness) and self._new(pod.uid, f"no probe {container.name}"):
                    text = (
                        f"container {container.name} has no livenessProbe: a hang cannot be noticed, and a checkpoint "
                        "cannot be told to be of a healthy process. Add one to the pod template"
                    )
                    await self._recorder.record(pod.workload, "Warning", "NoProbe", text)

    def _new(self, subject: str, finding: str) -> bool:
        known = (subject, finding)
        if known in self._told:
            return False
        if len(self._told) > 100_000:
            self._told.clear()
        self._told.add(known)
        return True
