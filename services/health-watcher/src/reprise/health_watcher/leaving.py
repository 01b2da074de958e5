"""What goes to another node when it ends or hangs: it is held back before it ends, and declared once it has (elsewhere.py)."""

import time

from reprise.contracts.events import FailoverDeclared
from reprise.contracts.model import elsewhere_id
from reprise.health_watcher.cold_starts import ColdStarts
from reprise.health_watcher.declarations import DEATHS, Declarations
from reprise.health_watcher.elsewhere import Elsewhere
from reprise.health_watcher.how_it_ended import End
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.model import Subject
from reprise.health_watcher.next_steps import NextSteps
from reprise.health_watcher.rules import on_failure
from reprise.runtime.kube import ProtectedPod
from reprise.runtime.telemetry import log


class Leaving:
    """Of this node."""

    def __init__(
        self, next_steps: NextSteps, elsewhere: Elsewhere, declarations: Declarations, hung: Hung, cold: ColdStarts
    ) -> None:
        self._next_steps, self._elsewhere, self._declarations = next_steps, elsewhere, declarations
        self._hung, self._cold = hung, cold
        self._leaving: set[str] = set()
        """Containers that are being ended because they hang, and then go elsewhere."""

    def begins_with(self, pod: ProtectedPod, subject: Subject) -> bool:
        """Whether what hangs goes elsewhere: then it is held back, and declared once it has ended."""
        target = subject.target
        step, _ = self._next_steps.of_hang(pod, target)
        if step != "move" or not subject.has_checkpoint:
            return False
        self._leaving.add(target.container_id)
        self._elsewhere.hold_back(target)
        return True

    def is_due(self, end: End, *, declare: bool) -> bool:
        """Whether what ended goes elsewhere: then nothing is started in its place."""
        target, leaving = end.subject.target, end.subject.target.container_id in self._leaving
        self._leaving.discard(target.container_id)
        step, failure = self._next_steps.after(end)
        leaves = declare and (leaving or (step == "move" and bool(failure.by or end.subject.has_checkpoint)))
        if leaves and not leaving:
            self._elsewhere.hold_back(target)
        elif leaving and not leaves:
            self._elsewhere.let_go(target)
        return leaves

    async def leave(self, end: End) -> None:
        """Declared as one that goes elsewhere; as any other if that cannot be."""
        subject, order = end.subject, end.pod.policy.on_failure
        target, hung = subject.target, self._hung
        if why := on_failure.why_not_in_place(order):
            self._cold.announce((target.pod_uid, target.container), target.container_id, why)
        was_hung = hung.is_hung(target.container_id)
        failing = hung.failing.get(target.container_id)
        noticed_s = time.monotonic() - failing.since_s if failing and was_hung else end.ended.noticed_after_s
        detail = f"it {'hung' if was_hung else f'ended with {end.status.exit_code}'}: reprise.dev/on-failure is {','.join(order)}"

        def event(revision: int) -> FailoverDeclared:
            plain = self._declarations.event(subject, "hang" if was_hung else "crash", detail, noticed_s, end.lived_s)
            changed = {"failover_id": elsewhere_id(target), "elsewhere": True, "fence_revision": revision}
            return plain.model_copy(update=changed)

        if await self._elsewhere.declare(target, event):
            hung.hanging.pop(target.container_id, None)
            hung.failing.pop(target.container_id, None)
            DEATHS.labels("true").inc()
            log().warning("it goes to another node", pod=target.pod, container=target.container, why=detail)
        elif hung.hanging.pop(target.container_id, None) is not None:
            self._declarations.declare(subject, "hang", detail, noticed_s, end.lived_s)
        else:
            self._declarations.declare_end(end)
