"""Hold this node's lease; freeze its protected containers when it can be held by neither way; ask before thawing."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge
from reprise.contracts.events import NodeGuarded, NodeIsolated, NodeReturned, NodeUnguarded, node_subject
from reprise.contracts.images import parse_live
from reprise.contracts.model import Target
from reprise.contracts.records import Fence, HoldRecord
from reprise.health_watcher.adapters.files import write_whole
from reprise.health_watcher.adapters.leases import KubernetesLeases, KvLeases
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.decide import RENEW_EVERY_S, Thaw, holds, lost_after_s, may_pet, may_thaw, must_freeze, patience_s
from reprise.health_watcher.model import Held, NodeLease, Renewed, Standing
from reprise.health_watcher.ports import Freezer, PodLookup
from reprise.runtime.cri import Cri, CriError, RunningContainer
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log

SINCE_RENEWAL = Gauge("reprise_lease_age_seconds", "Since the start of the last renewal that succeeded")
FREEZE_SECONDS = Gauge("reprise_freeze_seconds", "The longest that freezing this node's containers took since it booted")
CAN_FREEZE = Gauge("reprise_node_guarded", "1 if this node can freeze its containers, so that it may be given up")
RENEWALS = Counter(
    "reprise_lease_renewals_total", "Renewals of the node's lease, by the way that took it; none: neither did", ["way"]
)
ISOLATED = Gauge("reprise_node_isolated", "Whether the node has no valid lease and keeps its protected containers frozen")
FROZEN = Gauge("reprise_frozen_containers", "Protected containers that the node keeps frozen")
for _way in ("kv", "kubernetes", "none"):
    RENEWALS.labels(_way)


ENDED = {"reason": "HoldEnded", "message": "its node's agent started anew and let it run on", "remedy": "it is tried again"}
DELETED = {"reason": "PodDeleting", "message": "its pod is being deleted", "remedy": "nothing: a deletion wins"}
OVER = {
    "reason": "NotStored",
    "message": "its last checkpoint did not get into the store in time: its node let it run on",
    "remedy": "see the workload's events, and transfer's log on its node: `kubectl -n reprise-system get pods -o wide`",
}


class Isolation:
    """One per node."""

    def __init__(
        self,
        lease: NodeLease,
        kv: KvLeases,
        kubernetes: KubernetesLeases,
        fences: Bucket[Fence],
        records: Bucket[HoldRecord],
        freezer: Freezer,
        cri: Cri,
        pods: ProtectedPods,
        lookup: PodLookup,
        announcer: Announcer,
        state_dir: Path,
    ) -> None:
        self._lease, self._kv, self._kubernetes, self._fences = lease, kv, kubernetes, fences
        self._freezer, self._cri, self._pods, self._announcer = freezer, cri, pods, announcer
        self._lookup = lookup
        self._record, self._renewed_file = state_dir / "frozen.json", state_dir / "renewed.json"
        self._records = records
        known = self._load_renewed()
        self._renewed_at, self._ever = (known.at_s, True) if known else (time.monotonic(), False)
        self._freeze_s = known.freeze_s if known else 0.0
        self._failed = ""
        """Why a container could not be frozen, until one can."""
        self._all_frozen = False
        self.watchdog_s: Callable[[], float] = lambda: 0.0
        """The timeout of an armed hardware watchdog."""
        self._told: str | None = None
        """What was told of why this node cannot freeze; None: nothing yet."""
        self._tried = asyncio.Event()
        """This agent renewed, or tried for long enough."""
        self._asks_all = True
        known_here = self._load()
        self._held = {held.container_id: replace(held, until_s=0.0) for held in known_here.held}
        """By container: those that stand still, or are about to. An agent that starts anew lets go of what it finds."""
        self._frozen = set(known_here.frozen)
        self._unsettled: set[str] = set()
        """Of the frozen: those that were told to freeze and had not when it was waited for. They may have since."""
        self._pod_of = known_here.pods
        self._fenced: set[str] = set()
        self._acts = asyncio.Lock()
        """Who thaws waits for who freezes: what is thawed before its freezing has ended would be frozen, and on no list."""
        self._ended: set[str] = set()
        """Containers that were ended here, until the runtime knows."""

    @property
    def holds_lease(self) -> bool:
        return self._ever and not must_freeze(time.monotonic() - self._renewed_at, ever_renewed=True)

    @property
    def safe(self) -> bool:
        """Whether nothing runs here that may run elsewhere soon."""
        return may_pet(time.monotonic() - self._renewed_at, ever_renewed=self._ever, all_frozen=self._all_frozen)

    async def renew_for_ever(self) -> None:
        """Renew by KV; by a Kubernetes Lease as well as soon as KV fails."""
        while True:
            started, limitation = time.monotonic(), self._freezer.limitation() or self._failed
            self._lease = self._lease.model_copy(
                update={
                    "renewals": self._lease.renewals + 1, "sent_at_s": started,
                    # Not before a renewal is known to have succeeded, on disk too: only then this node freezes for sure.
                    "can_freeze": self._ever and not limitation, "freeze_s": self._freeze_s,
                    "watchdog_s": self.watchdog_s(),
                }
            )  # fmt: skip
            way = await self._renew()
            RENEWALS.labels(way).inc()
            if way != "none":
                self._save_renewed(started)
                self._renewed_at, self._ever = started, True
                self._tell_guarded(limitation)
                self._tried.set()
            await asyncio.sleep(max(0.05, RENEW_EVERY_S - (time.monotonic() - started)))

    def _tell_guarded(self, limitation: str) -> None:
        """Once when the agent starts, and whenever it changes."""
        CAN_FREEZE.set(not limitation)
        if limitation == self._told:
            return
        self._told = limitation
        node = self._lease.node
        told: NodeGuarded | NodeUnguarded
        if limitation:
            log().error("this node cannot freeze containers: it is never given up", reason=limitation)
            told = NodeUnguarded(node=node, workload=node_subject(node), detail=limitation)
        else:
            after_s = lost_after_s(self._freeze_s, self.watchdog_s())
            after = f"it freezes when it is cut off, and may be given up {after_s:.1f} s after its last renewal"
            told = NodeGuarded(node=node, workload=node_subject(node), detail=after, freeze_s=self._freeze_s)
        self._announcer.announce(told, f"guard-{node}-{self._lease.boot_id}-{told.at.timestamp()}")

    async def _renew(self) -> Literal["kv", "kubernetes", "none"]:
        try:
            async with asyncio.timeout(0.8):
                await self._kv.renew(self._lease)
            return "kv"
        except (NatsError, OSError, TimeoutError):
            pass
        try:
            async with asyncio.timeout(0.8):
                await self._kubernetes.renew(self._lease)
            return "kubernetes"
        except Exception as error:
            log().debug("neither KV nor the API server takes the lease", error=repr(error))
            return "none"

    async def guard(self) -> None:
        """Freeze and thaw by the rule in decide.py. Nothing here waits for the network before it freezes; but an agent that was
        away does not freeze what runs well, if it can renew soon.
        """
        patience = patience_s(time.monotonic() - self._renewed_at, ever_renewed=self._ever, freeze_s=self._freeze_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), patience)
        self._tried.set()
        while True:
            silent_s = time.monotonic() - self._renewed_at
            SINCE_RENEWAL.set(silent_s)
            ISOLATED.set(must_freeze(silent_s, ever_renewed=self._ever))
            FROZEN.set(len(self._frozen))
            if must_freeze(silent_s, ever_renewed=self._ever):
                self._asks_all = True
                await self._freeze(silent_s)
                await asyncio.sleep(0.1)
                continue
            self._all_frozen = False
            if self._frozen or self._fenced or self._asks_all or self._held:
                await self._settle()
            await asyncio.sleep(0.1)

    def froze(self, container_id: str) -> bool:
        """Whether it is frozen because of where it may run, and so is thawed by these rules only."""
        return container_id in self._frozen

    async def on_started(self) -> None:
        """A container started: where this node may run none, the kubelet's own restart is frozen at birth; else it is asked."""
        self._asks_all = True
        silent_s = time.monotonic() - self._renewed_at
        if self._fenced or (self._tried.is_set() and must_freeze(silent_s, ever_renewed=self._ever)):
            await self._freeze(silent_s)

    async def _protected(self) -> list[RunningContainer]:
        listed = await self._cri.list_containers("running")
        named = {(uid, c.name) for uid, pod in self._pods.pods.items() for c in pod.containers}
        return [c for c in listed if (c.pod_uid, c.name) in named or parse_live(c.image)]

    async def _freeze(self, silent_s: float) -> None:
        """What is protected here; of a node that holds its lease, only what was restored elsewhere."""
        began = time.monotonic()
        try:
            containers = await self._protected()
        except CriError as error:
            log().error("cannot list containers to freeze them", error=str(error))
            self._all_frozen = False
            return
        isolated = must_freeze(silent_s, ever_renewed=self._ever)
        new = [c for c in containers if (isolated or self._fences_off(c)) and self._must_stop(c, isolated=isolated)]
        if new:
            async with self._acts:
                self._frozen |= {c.id for c in new}
                self._pod_of |= {c.id: c.pod_uid for c in new}
                self._save()  # before the act: an agent killed here thaws one that never froze, which is harmless
                await asyncio.gather(*(self._freeze_one(container, silent_s) for container in new))
            self._freeze_s = max(self._freeze_s, time.monotonic() - began)
            FREEZE_SECONDS.set(self._freeze_s)
        self._all_frozen = isolated and {c.id for c in containers} <= self._frozen - self._unsettled
        if new and isolated:
            node = self._lease.node
            event = NodeIsolated(node=node, workload=node_subject(node), detail=f"froze {len(new)} containers")
            self._announcer.announce(event, f"isolated-{node}-{self._lease.boot_id}-{self._lease.renewals}")

    def _fences_off(self, container: RunningContainer) -> bool:
        """What is held is frozen by the checkpointer; what its kubelet started in its place meanwhile is frozen here."""
        return container.pod_uid in self._fenced and container.id not in self._held

    async def end(self, containers: set[str], pod_uid: str) -> None:
        """No instruction of these, of one pod, runs any more, whether they are frozen or not. Raises OSError."""
        for container_id in containers:
            await asyncio.to_thread(self._freezer.kill, container_id)
        self._ended |= containers
        # What stands still beside them goes on doing so, and they end once it is let go of.
        if not self.holds_beside(containers, pod_uid):
            for container_id in containers:
                self._freezer.thaw(container_id)

    def _waits(self, container: RunningContainer) -> bool:
        """It is held, or was started in place of one that is held for a move: it is asked about when the hold has ended. One
        whose pod is being deleted waits for nobody.
        """
        if self._leaves(container.pod_uid):
            return False
        holds = (held for held in self._held.values() if held.pod_uid == container.pod_uid)
        return any(held.container_id == container.id or not held.stays for held in holds)

    def _leaves(self, pod_uid: str) -> bool:
        pod = self._pods.pods.get(pod_uid)
        return self._pods.synced and (pod is None or pod.deleting)

    def _must_stop(self, container: RunningContainer, *, isolated: bool) -> bool:
        """What is on our list is looked at too: the end of a checkpoint's pause thaws what was frozen during it. So does a
        kubelet that ends a pod, which is left to it.
        """
        if container.id in self._ended:
            return False
        if container.id not in self._frozen or container.id in self._unsettled:
            return True
        pod = self._pods.pods.get(container.pod_uid)
        return (isolated or pod is None or not pod.deleting) and self._freezer.runs(container.id)

    async def _freeze_one(self, container: RunningContainer, silent_s: float) -> None:
        try:
            frozen = await asyncio.to_thread(self._freezer.freeze, container.id)
            self._unsettled.discard(container.id)
            if frozen:
                self._failed = ""
                log().warning("frozen: it may not run on this node now", pod=container.pod, silent_s=round(silent_s, 2))
        except OSError as error:
            if self._freezer.is_frozen(container.id):
                self._unsettled.add(container.id)
            else:
                self._frozen.discard(container.id)
            self._failed = f"container {container.name} of pod {container.pod} could not be frozen: {error}"
            log().error("could not freeze a container", pod=container.pod, error=str(error))

    async def _settle(self) -> None:
        """Each pod's fence is won by whoever writes it first: this node, or the restorer that starts it elsewhere.

        A pod that lost it stays frozen until it is deleted: ended before, its kubelet would start it again. An agent that
        starts, or whose node was cut off, asks for what is not frozen too.
        """
        try:
            by_id = {c.id: c for c in await self._cri.list_containers("running")}
            await self._end_holds()
            everything = {c.id for c in await self._protected()} if self._asks_all else set()
            complete = self._pods.synced
            for container_id in self._frozen | everything:
                container = by_id.get(container_id)
                if container and self._waits(container):
                    continue
                if container and not (thaw := await self._ask(container)).may:
                    if container.pod_uid not in self._fenced:
                        log().warning("stays frozen until it is deleted", pod=container.pod, why=thaw.why)
                    self._fenced.add(container.pod_uid)
                    if thaw.over:
                        same = {c.id for c in by_id.values() if c.pod_uid == container.pod_uid}
                        await self._end_for_good(container, same & (self._frozen | self._held.keys()))
                    continue
                if container and self._waits(container):
                    continue  # since it was asked about
                async with self._acts:
                    if container and container_id in self._frozen:
                        self._thaw(container)
                    if container:
                        self._fenced.discard(container.pod_uid)
                    self._frozen.discard(container_id)
                    self._save()
            self._asks_all = self._asks_all and not complete
            self._fenced &= self._pods.pods.keys() | {c.pod_uid for c in by_id.values()}
            self._ended &= by_id.keys()
            self._unsettled &= self._frozen
            await asyncio.to_thread(self._thaw_left_over)
            await self._freeze(0.0)
        except Exception as error:  # of NATS, the runtime, the API server or the freezer: what is frozen stays so
            log().warning("cannot ask whether it may run, trying again", error=repr(error))
            await asyncio.sleep(0.4)
        await asyncio.sleep(0.4 if self._fenced else 0.0)

    async def _end_for_good(self, container: RunningContainer, containers: set[str]) -> None:
        """What stands still in this container's pod, which is deleted. Its kubelet may not know that yet, or may be about to
        start it again nevertheless.
        """
        try:
            self._freezer.seal(container.pod_uid)
            if container.id not in self._ended:
                log().warning("ended where it stood: its pod is deleted", pod=container.pod, id=container.id[:12])
            await self.end(containers, container.pod_uid)
        except OSError as error:
            log().error("cannot be ended: it goes on standing still", pod=container.pod, error=str(error))

    def _thaw_left_over(self) -> None:
        """Pods in which nothing that had to stand still is left, however it ended: their monitors, and what their kubelet starts
        there, must run. By the kernel's word, not by that of a runtime that may just have started.
        """
        for uid in set(self._pod_of.values()):
            of = [container_id for container_id, pod_uid in self._pod_of.items() if pod_uid == uid]
            if all(self._freezer.is_gone(container_id) for container_id in of):
                self._freezer.thaw_pod(uid)
                for container_id in of:
                    del self._pod_of[container_id]

    def _thaw(self, container: RunningContainer) -> None:
        silent_s = time.monotonic() - self._renewed_at
        if must_freeze(silent_s, ever_renewed=True):
            raise TimeoutError("the lease ran out while this node asked")
        self._freezer.thaw(container.id)
        log().info("thawed", pod=container.pod, id=container.id[:12])
        node = self._lease.node
        event = NodeReturned(node=node, workload=node_subject(node), detail=f"thawed {container.pod}")
        self._announcer.announce(event, f"returned-{node}-{container.id}")

    def hold(self, target: Target, checkpoint_id: str, hold_s: float, *, stays: bool) -> None:
        """A container is about to be frozen by its last checkpoint, for at most hold_s unless that is taken by then."""
        held = Held(target.pod_uid, target.container_id, checkpoint_id, time.monotonic() + hold_s, stays)
        self._held[target.container_id] = held
        self._pod_of[target.container_id] = target.pod_uid
        self._save()

    def holds_beside(self, containers: set[str], pod_uid: str) -> bool:
        """Whether another container of their pod is held: what ends one of them thaws their pod."""
        return any(held.pod_uid == pod_uid and held.container_id not in containers for held in self._held.values())

    def confirm(self, container_id: str, checkpoint_id: str) -> bool:
        """It is frozen. False if this node has let go of it since: then it may run. Its successor is frozen at birth."""
        held = self._held.get(container_id)
        if held is None or held.checkpoint_id != checkpoint_id:
            return False
        self._frozen.add(container_id)
        if not held.stays:
            self._fenced.add(held.pod_uid)
        self._save()
        return True

    def let_go(self, target: Target) -> None:
        """It may be frozen, and no hold of ours knows why: it is asked about like all that is frozen."""
        if target.container_id:
            self._frozen.add(target.container_id)
            self._pod_of[target.container_id] = target.pod_uid
            self._save()

    async def fence_revision(self, pod_uid: str) -> int:
        return await self._fences.revision(key(pod_uid))

    async def _end_holds(self) -> None:
        """First its record says so, then the hold is forgotten, then its fence is written, then it is thawed: see Holds."""
        for container_id, held in list(self._held.items()):
            entry = await self._records.get(key(held.checkpoint_id))
            leaves = self._leaves(held.pod_uid)
            if not leaves and holds(held, entry.value if entry else None, time.monotonic()):
                continue
            if entry and entry.value.state != "failed":
                why = DELETED if leaves else OVER if held.until_s else ENDED
                failed = entry.value.model_copy(update={"state": "failed", **why})
                if await self._records.update(entry.key, failed, entry.revision) is None:
                    continue  # it was taken just then, or is not wanted any more
            log().info("its hold has ended: it is asked whether it may run", pod_uid=held.pod_uid, checkpoint=held.checkpoint_id)
            self._frozen.add(container_id)  # if it was not confirmed, the checkpointer may have frozen it all the same
            if self._held.get(container_id) is held:
                del self._held[container_id]
            self._save()

    def _load(self) -> Standing:
        try:
            return Standing.model_validate_json(self._record.read_text())
        except (OSError, ValueError):
            return Standing()

    def _save(self) -> None:
        """What is about to be held too."""
        standing = Standing(frozen=tuple(sorted(self._frozen)), held=tuple(self._held.values()), pods=self._pod_of)
        write_whole(self._record, standing.model_dump_json())

    def _load_renewed(self) -> Renewed | None:
        """When the lease was renewed last, if that was in this boot."""
        try:
            known = Renewed.model_validate_json(self._renewed_file.read_text())
        except (OSError, ValueError):
            return None
        return known if known.boot_id == self._lease.boot_id else None

    def _save_renewed(self, at_s: float) -> None:
        write_whole(
            self._renewed_file, Renewed(boot_id=self._lease.boot_id, at_s=at_s, freeze_s=self._freeze_s).model_dump_json()
        )

    async def _ask(self, container: RunningContainer) -> Thaw:
        """Ask, and if so write it down first: from then on no failover of what was judged before can start it elsewhere."""
        name = key(container.pod_uid)
        frozen = container.id in self._frozen
        wanted = not frozen or await self._lookup.wanted(container.namespace, container.pod, container.pod_uid)
        entry = await self._fences.get(name)
        thaw = may_thaw(entry.value if entry else None, wanted=wanted)
        if not thaw.may:
            return thaw
        mine = Fence(pod_uid=container.pod_uid, holder="node")
        written = await (self._fences.update(name, mine, entry.revision) if entry else self._fences.create(name, mine))
        if written is None:
            raise TimeoutError("somebody else wrote its fence at the same time")
        return thaw
