"""Makes the node as the rule says (rules/verdict.py): nobody else touches the freezer or, by Verdicts, the pods' files.

In each pass the files come first, then what must stand still is frozen, then that is written down, then what may run is thawed.
Nothing here waits for the network, the container runtime or the state disk: a node that is cut off freezes in time, whatever
else fails on it. Passes and whoever ends a container take turns, or something that is thawed while it is being frozen would stand
still on no list.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from prometheus_client import Gauge
from reprise.contracts.events import NodeIsolated, NodeReturned, node_subject
from reprise.health_watcher.adapters.marks import FreezingMarks
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.fences import Fences
from reprise.health_watcher.lease import Lease
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.model import Reason
from reprise.health_watcher.ports import ContainerEvent, Freezer, Look, Runtime
from reprise.health_watcher.verdicts import Verdicts
from reprise.runtime.cri import CriError, RunningContainer
from reprise.runtime.telemetry import log

T = TypeVar("T")
ISOLATED = Gauge("reprise_node_isolated", "Whether the node has no valid lease and keeps its protected containers frozen")
FROZEN = Gauge("reprise_frozen_containers", "Protected containers that the node keeps frozen")
THREADS = ThreadPoolExecutor(32, "freezer")
"""The freezer's own: others may hang, in a resolver or on a disk."""
LOOK_S = 0.1
EVERY_S = 1.0
"""A pass, though nothing happened."""
LIST_S = 1.0


async def in_thread(act: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(THREADS, act, *args)


class Reconciler:
    """One per node."""

    def __init__(
        self, lease: Lease, ledger: Ledger, fences: Fences, verdicts: Verdicts, freezer: Freezer, marks: FreezingMarks,
        runtime: Runtime, announcer: Announcer,
    ) -> None:  # fmt: skip
        self._lease, self._ledger, self._fences, self._verdicts, self._marks = lease, ledger, fences, verdicts, marks
        self._freezer, self._runtime, self._announcer = freezer, runtime, announcer
        self._acts = asyncio.Lock()
        self._woken = fences.changed
        self._unsettled: set[str] = set()
        """Of the ledger's: those that were told to freeze and had not when it was waited for. They may have since."""
        self._ended: set[str] = set()
        """Containers that were killed here, until the runtime knows."""
        self._taken: set[str] = set()
        """Containers that were restored frozen, and were on the list since."""
        self._took_over = False
        """Once: later nobody but this agent and the engine freezes anything here."""
        self._removals: set[asyncio.Task[None]] = set()
        self.all_frozen = False

    def wake(self) -> None:
        self._woken.set()

    async def on_container(self, event: ContainerEvent) -> None:
        if isinstance(event, Look):
            first, self._verdicts.look, self._verdicts.looked = not self._verdicts.looked, event, True
            if event.born or first:
                self.wake()

    async def run(self) -> None:
        await self._lease.wait_to_freeze()
        passed_s = float("-inf")
        while True:
            if self._lease.lapsed() or self._woken.is_set() or self._lease.clock() - passed_s >= EVERY_S:
                self._woken.clear()
                passed_s = self._lease.clock()
                await self.reconcile()
            FROZEN.set(len(self._ledger.frozen))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK_S)

    async def reconcile(self) -> None:
        """One pass."""
        lapsed = self._lease.lapsed()
        ISOLATED.set(lapsed)
        if lapsed:
            self._fences.unsettle()
        written = self._verdicts.refresh()
        if lapsed:
            async with self._acts:
                await self._freeze(isolated=True)  # what is known: the runtime may not answer
            await self._look_again()
        async with self._acts:
            settled = await self._freeze(isolated=lapsed)
            self._take_over()
            await self._thaw()
            await self._end()
            await self._forget_gone()
        self._end_back_off()
        self._ledger.try_again()
        self.all_frozen = lapsed and settled
        if lapsed and settled and written:
            self._verdicts.lapse_ended_s = self._lease.clock()
            self._lease.reinstate()

    def _end_back_off(self) -> None:
        """What was not let start may now: the kubelet tries again as soon as its dead container is gone. No pass waits for it:
        the runtime removes it from a disk that may hang.
        """
        for container in self._verdicts.opened():
            task = asyncio.create_task(self._remove(container))
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)

    async def _remove(self, container: RunningContainer) -> None:
        with contextlib.suppress(CriError):
            await self._runtime.remove_container(container.id)
            log().info("dead container removed: it may start again", pod=container.pod, id=container.id[:12])

    def refresh(self) -> None:
        """Only the files, at once: whoever goes on next counts on them."""
        self._verdicts.refresh()
        self.wake()

    async def _look_again(self) -> None:
        """An isolated node lists its containers afresh; one whose runtime does not answer goes by what it knew."""
        try:
            async with asyncio.timeout(LIST_S):
                self._verdicts.look = Look(tuple(await self._runtime.list_containers()))
            self._verdicts.looked = True
        except (CriError, TimeoutError) as error:
            log().error("cannot list containers to freeze them", error=str(error))

    async def _freeze(self, *, isolated: bool) -> bool:
        """True if all that is to stand still does."""
        began = self._lease.clock()
        wanted = [(c, frozen) for c in self._verdicts.protected() if (frozen := self._verdicts.decide(c).frozen)]
        new = [c for c, _ in wanted if self._must_stop(c, isolated=isolated)]
        known = set(self._ledger.frozen)
        if new:
            reasons_of = {c.id: reasons for c, reasons in wanted}
            await asyncio.gather(*(self._freeze_one(c, reasons_of[c.id]) for c in new))
            self._lease.froze(self._lease.clock() - began)
        for container, reasons in wanted:
            self._ledger.freeze(container, reasons)
        if isolated and any(c.id not in known for c, _ in wanted):
            node, count = self._lease.node, len(wanted)
            event = NodeIsolated(node=node, workload=node_subject(node), detail=f"froze {count} containers")
            self._announcer.announce(event, f"isolated-{node}-{self._lease.instance}")
        return {c.id for c, _ in wanted} - self._ended <= self._ledger.frozen.keys() - self._unsettled

    def _must_stop(self, container: RunningContainer, *, isolated: bool) -> bool:
        """What is in the ledger is looked at too: the end of a checkpoint's pause thaws what was frozen during it. So does a
        kubelet that ends a pod, which is left to it.
        """
        if container.id in self._ended:
            return False
        if container.id not in self._ledger.frozen or container.id in self._unsettled:
            return True
        return (isolated or not self._verdicts.leaves(container.pod_uid)) and self._freezer.runs(container.id)

    async def _freeze_one(self, container: RunningContainer, reasons: frozenset[Reason]) -> None:
        self._marks.remove(container.id)
        try:
            frozen = await in_thread(self._freezer.freeze, container.id)
            self._unsettled.discard(container.id)
            if frozen:
                self._lease.freeze_failed = ""
                log().warning("frozen: it may not run on this node now", pod=container.pod, why=sorted(reasons))
        except OSError as error:
            self._unsettled.add(container.id)
            self._lease.freeze_failed = f"container {container.name} of pod {container.pod} could not be frozen: {error}"
            log().error("could not freeze a container", pod=container.pod, error=str(error))

    def _take_over(self) -> None:
        """What the engine restored frozen stands still by its hand, and is on the list from now on: it may have been released
        before the runtime showed it. One that is being checkpointed runs since long.

        So is what an agent before this one froze and did not write down: its fence is asked before it runs on.
        """
        if not self._took_over and self._verdicts.looked:
            self._took_over = True
            for container in self._verdicts.protected():
                if self.stands_here(container.id) or self._verdicts.was_restored_frozen(container.id):
                    continue
                if self._freezer.is_frozen(container.id) and not self._marks.are_there(container.id):
                    self._ledger.freeze(container, frozenset({"isolated"}))
                    self._fences.unsettle(container.pod_uid)
        for container in self._verdicts.protected():
            if container.id in self._taken or not self._verdicts.was_restored_frozen(container.id):
                continue
            self._taken.add(container.id)
            if container.id not in self._ledger.frozen and not self._marks.are_there(container.id):
                self._ledger.freeze(container, frozenset({"unreleased"}))

    async def _thaw(self) -> None:
        """What nothing speaks against any more. Decided again at the last moment: freezing took its time."""
        for container in list(self._verdicts.protected()):
            if container.id not in self._ledger.frozen or container.id in self._ended:
                continue
            if self._verdicts.decide(container).frozen or self._stands_beside(container):
                continue
            reasons = self._ledger.reasons(container.id)
            try:
                self._freezer.thaw(container.id)
            except OSError as error:
                log().error("could not thaw a container, trying again", pod=container.pod, error=str(error))
                continue
            self._ledger.forget(container.id)
            self._unsettled.discard(container.id)
            log().info("thawed", pod=container.pod, id=container.id[:12], was=sorted(reasons))
            if reasons & {"isolated", "fenced"}:
                node = self._lease.node
                event = NodeReturned(node=node, workload=node_subject(node), detail=f"thawed {container.pod}")
                self._announcer.announce(event, f"returned-{node}-{container.id}-{self._lease.epoch}")

    def _stands_beside(self, container: RunningContainer) -> bool:
        """Another container of its pod must stand still: thawing one thaws their pod."""
        beside = [c for c in self._verdicts.protected() if c.pod_uid == container.pod_uid and c.id != container.id]
        return any(self._verdicts.decide(c).frozen for c in beside if c.id not in self._ended)

    async def _end(self) -> None:
        """All of a pod at once: thawed for one, another would run."""
        by_pod: dict[str, set[str]] = {}
        for container in self._verdicts.protected():
            if container.id not in self._ended and self._verdicts.decide(container).end:
                by_pod.setdefault(container.pod_uid, set()).add(container.id)
        for pod_uid, containers in by_pod.items():
            log().warning("killed while frozen: its pod is deleted", pod_uid=pod_uid, count=len(containers))
            with contextlib.suppress(OSError):
                await self._kill(containers, pod_uid)

    def stands_here(self, container_id: str) -> bool:
        """Whether it stands still for a reason of this node's."""
        return container_id in self._ledger.frozen or container_id in self._ledger.held

    def thaw_dump(self, container_id: str) -> bool:
        """Thaw what was frozen for a checkpoint: its own cgroup, its pod's stays as it is. False: not now, ask again."""
        if self._acts.locked():
            return False
        try:
            self._freezer.thaw_alone(container_id)
        except OSError as error:
            log().error("could not thaw what a checkpoint froze, trying again", id=container_id[:12], error=str(error))
            return False
        return True

    async def kill(self, container_id: str, pod_uid: str) -> None:
        """No instruction of it runs any more, whether it is frozen or not. Raises OSError."""
        async with self._acts:
            await self._kill({container_id}, pod_uid)

    async def _kill(self, containers: Iterable[str], pod_uid: str) -> None:
        ids = set(containers)
        try:
            for container_id in ids:
                await in_thread(self._freezer.kill, container_id)
        except OSError as error:
            log().error("cannot be killed where it stands", pod_uid=pod_uid, error=str(error))
            raise
        self._ended |= ids
        if self._ledger.of_pod(pod_uid).keys() <= ids | self._ended:
            for container_id in ids:
                self._freezer.thaw(container_id)

    async def _forget_gone(self) -> None:
        """Pods in which nothing that had to stand still is left, however it ended: their monitors, and what their kubelet starts
        there, must run. By the kernel's word, not by that of a runtime that may just have started.
        """
        for uid in {each.pod_uid for each in self._ledger.frozen.values()}:
            of = list(self._ledger.of_pod(uid))
            if await in_thread(lambda names: all(map(self._freezer.is_gone, names)), of):
                try:
                    self._freezer.thaw_pod(uid)
                except OSError as error:
                    log().error("could not thaw what is left of a pod, trying again", pod_uid=uid, error=str(error))
                    continue
                for container_id in of:
                    self._ledger.forget(container_id)
        self._ended &= {c.id for c in self._verdicts.look.containers}
        self._unsettled &= self._ledger.frozen.keys()
        self._taken &= {c.id for c in self._verdicts.look.containers}
