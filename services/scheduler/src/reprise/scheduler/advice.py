"""What a workload's owner must know about its annotations, as Kubernetes Events."""

import asyncio
from collections.abc import Iterator

from reprise.contracts.annotations import ARM
from reprise.runtime.kube import EventRecorder, ProtectedContainer, ProtectedPod, ProtectedPods
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
                    plain = problem.annotation == ARM or problem.unread
                    text = str(problem) if plain else f"{problem}. The last valid value stays in force"
                    log().warning("bad annotation", workload=str(workload), problem=str(problem))
                    await self._recorder.record(workload, "Warning", "BadAnnotation", text)
        for pod in list(self._pods.pods.values()):
            for reason, text in findings(pod):
                if self._new(pod.uid, text):
                    await self._recorder.record(pod.workload, "Warning", reason, text)

    def _new(self, subject: str, finding: str) -> bool:
        known = (subject, finding)
        if known in self._told:
            return False
        if len(self._told) > 100_000:
            self._told.clear()
        self._told.add(known)
        return True


def findings(pod: ProtectedPod) -> Iterator[tuple[str, str]]:
    """What its spec says of a restore that is not as its owner may think: told when protection begins, not after a crash."""
    for name in sorted(set(pod.policy.containers) - {c.name for c in pod.containers}):
        text = f"reprise.dev/containers names {name!r}, which pod {pod.name} does not have: it is not protected"
        yield "NoSuchContainer", text
    if len(pod.containers) > 1 and pod.policy.mode == "criu":
        yield (
            "NotMovable",
            (
                f"{len(pod.containers)} containers of pod {pod.name} are protected: each is restored where it runs, and none on "
                "another node, for no checkpoint is of one moment of them all. Name the one that counts in reprise.dev/containers"
            ),
        )
    for container in pod.containers:
        yield from _of(container, memory=pod.policy.mode == "criu")


def _of(container: ProtectedContainer, *, memory: bool) -> Iterator[tuple[str, str]]:
    """memory: what is restored is a process, and not a state that a fresh one takes back."""
    if not (container.liveness or container.readiness):
        yield (
            "NoProbe",
            (
                f"container {container.name} has no livenessProbe: a hang cannot be noticed, and a checkpoint "
                "cannot be told to be of a healthy process. Add one to the pod template"
            ),
        )
    if container.interactive and memory:
        yield (
            "NotRestorable",
            (
                f"container {container.name} has `stdin: true` or `tty: true`: what somebody types into is not restored. "
                "Run it without"
            ),
        )
    if container.post_start and memory:
        yield (
            "PostStartRunsAgain",
            (
                f"container {container.name} has a postStart hook, and its kubelet runs that after each start, a restore too: "
                "the hook finds a program that has its memory. See that it may run twice"
            ),
        )
