"""A cluster, its nodes and a store of checkpoints in memory, behind the ports, for unit tests of the saga.

The kubelet, the engine, the node's agent, the ReplicaSet and the store do at once what they would do in time. Every instance
that ever ran is noted with what it was restored from. Two that run at once are an error at once (I1), and so is one that is
discarded after it ran (I9).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from reprise.archive.images import image_reference
from reprise.contracts.annotations import RESTORE_FROM
from reprise.contracts.errors import NotStored, RecoveryError
from reprise.contracts.events import CheckpointStaged, Event, FailoverHolding, FailoverReleased, FailoverStarted, ImageBuilt
from reprise.contracts.model import Target, Workload
from reprise.contracts.records import UNREADABLE_HOLD, Fence, HoldRecord, StartRecord
from reprise.restorer.model import Good, Life, NodeView, PodView, Prepared
from reprise.restorer.placement import Placement
from reprise.restorer.ports import FAILOVER_ANNOTATION, shadow_name
from reprise.restorer.standby import Standbys
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer, OnCall

Outcome = Literal["restored", "blank", "cold", "refused"]
OWNER = "counter-abc"
BLANK = "blank"


@dataclass
class Pod:
    """came_of: the checkpoint that its instance was restored from, BLANK, or empty while nothing runs. frozen: what it was
    restored from and does not run of yet.
    """

    view: PodView
    node: str
    came_of: str = ""
    frozen: str = ""
    owned: bool = True
    unprotected: bool = False
    """It runs as if there were no engine."""
    unmarked: bool = False
    """Its agent waits to be told what it starts from."""
    pinned: str = ""
    """What it was told."""
    waits_for: str = ""
    """The checkpoint that its engine waits for."""
    fenced_by: str = ""
    """The failover that has it, as the API server knows."""
    ahead: bool = False
    """No failover has taken it yet: its engine waits."""


@dataclass
class MemoryStore:
    """ports.Checkpoints. poison: checkpoints that CRIU does not restore. mute: those whose instances never serve."""

    good_ones: tuple[Good, ...]
    on_call: OnCall | None = None
    poison: frozenset[str] = frozenset()
    mute: frozenset[str] = frozenset()

    async def good(self, workload: Workload, container: str) -> tuple[Good, ...]:
        await self._call("before", "good")
        return self.good_ones

    async def publish(self, workload: Workload, container: str, checkpoint_id: str) -> tuple[str, str]:
        await self._call("before", "publish image")
        if checkpoint_id not in {g.checkpoint_id for g in self.good_ones}:
            raise NotStored("it was pruned", subject=checkpoint_id)
        await self._call("after", "publish image")
        return image_reference(workload, container, checkpoint_id), "sha256:0"

    async def _call(self, when: str, what: str) -> None:
        if self.on_call:
            await self.on_call(when, what)  # type: ignore[arg-type]


class MemoryCluster:
    """ports.Cluster. server: where the engines' starts are told."""

    def __init__(
        self, store: MemoryStore, nodes: tuple[NodeView, ...], server: MemoryServer, on_call: OnCall | None = None
    ) -> None:
        self.store, self.listed, self.on_call = store, nodes, on_call
        bus, self.server = MemoryBus(server), server
        self._starts, self._fences = Bucket(bus, "starts", StartRecord), Bucket(bus, "fences", Fence)
        self.pods: dict[str, Pod] = {}
        self.history: list[str] = []
        self.started = 0
        self.nudged: list[str] = []
        self.carried: list[str] = []
        """Pods, by UID, that were given the labels of the one before them."""
        self.slots: dict[str, list[str]] = {}
        """On each node, the newest first."""
        self.owner_is_there = True
        self.was: dict[str, PodView] = {}
        """The first pod of each name."""
        self.scheduled: list[str] = []
        """Nodes on which a StatefulSet's controller, being faster, makes the next pods."""
        self.rejects = ""
        """Why a shadow's node does not take it."""
        self.refuses = ""
        """Why the API server does not take the pod that is to go on."""
        self.made = 0
        self.made_ahead = 0
        self.deleted: list[str] = []
        self.off: set[tuple[str, str]] = set()
        """Nodes that the scheduler puts nothing on, and for which failover."""

    def add(self, view: PodView, node: str, *, owned: bool = True) -> Pod:
        self.pods[view.name] = Pod(view, node, owned=owned)
        self.was.setdefault(view.name, view)
        return self.pods[view.name]

    def run(self, name: str, came_of: str) -> None:
        """An instance runs. Raises AssertionError if another one does."""
        pod = self.pods[name]
        others = [n for n, p in self.pods.items() if p.came_of and n != name]
        assert not others, f"{others} run while {name} starts"
        pod.came_of = came_of
        self.history.append(came_of)

    async def start(self, name: str, container: str, *, pinned: str = "") -> None:
        """The engine at a container's creation: the newest slot that comes back, or only what is pinned, and that frozen."""
        pod = self.pods[name]
        self.started += 1
        pod.view = replace(pod.view, container_id=f"{name}-{self.started}")
        slots = self.slots.get(pod.node, [])
        found = next((s for s in slots if s not in self.store.poison and s == (pinned or s)), "")
        if found and pinned:
            pod.frozen = found
        elif not pinned:
            self.run(name, found or BLANK)
        otherwise: Outcome = "refused" if pinned else "cold" if slots else "blank"
        record = StartRecord(
            container_id=pod.view.container_id, pod_uid=pod.view.uid, container=container, checkpoint_id=found,
            outcome="restored" if found else otherwise, frozen=bool(pinned),
            reason="" if found else f"checkpoint {pinned} cannot be restored: bad size" if pinned in slots else "bad size",
        )  # fmt: skip
        await self._starts.put(record.container_id, record)

    def change(self, name: str, **fields: object) -> None:
        pod = self.pods[name]
        pod.view = replace(pod.view, **fields)  # type: ignore[arg-type]

    def serving(self) -> list[str]:
        return [pod.came_of for pod in self.pods.values() if pod.came_of]

    async def pod(self, namespace: str, name: str, container: str) -> PodView | None:
        await self._call("before", "read pod")
        found = self.pods.get(name)
        return found.view if found else None

    async def nudge(self, namespace: str, pod: str, why: str) -> None:
        await self._call("before", "nudge")
        self.nudged.append(why)

    async def nodes(self) -> tuple[NodeView, ...]:
        await self._call("before", "list nodes")
        return self.listed

    async def placement(self, namespace: str, name: str, uid: str, container: str) -> Placement:
        return self.pods[name].view.asks if name in self.pods else Placement()

    async def cordoned(self) -> frozenset[str]:
        return frozenset(node.name for node in self.listed if not node.schedulable)

    async def create_shadow(
        self, workload: Workload, name: str, owner: str, standby: str, annotations: dict[str, str], *, source: Target,
        gated: bool = False, ahead: bool = False,
    ) -> str:  # fmt: skip
        await self._call("before", "create shadow")
        shadow, checkpoint_id = shadow_name(workload, name), annotations[RESTORE_FROM].partition("/")[2]
        there = self.pods.get(shadow)
        if there and there.ahead and not ahead and (there.node, there.waits_for) != (standby, checkpoint_id):
            del self.pods[shadow]
            raise RecoveryError("a pod of its name was made for another plan", subject=shadow, retryable=True)
        if shadow not in self.pods:
            uid = f"uid-{name}"
            self.add(PodView(uid, shadow, False, "counter:1", "", "", ""), standby, owned=False).waits_for = checkpoint_id
            self.made_ahead += ahead
            self.pods[shadow].ahead = ahead
        self.pods[shadow].ahead &= ahead
        await self.engines()
        await self._call("after", "create shadow")
        return self.pods[shadow].view.uid

    async def discard_ahead(self, workload: Workload, name: str) -> bool:
        await self._call("before", "discard what was made ahead")
        found = self.pods.get(shadow_name(workload, name))
        if found is None or not found.ahead:
            return True
        del self.pods[found.view.name]
        await self._call("after", "discard what was made ahead")
        return False

    async def refuses_shadow(self, workload: Workload, name: str, owner: str, standby: str, source: Target) -> str:
        await self._call("before", "try shadow")
        return self.refuses

    async def engines(self) -> None:
        """Those that wait for a checkpoint which is on their node by now go on."""
        for name, pod in list(self.pods.items()):
            if not pod.ahead and pod.waits_for and pod.waits_for in self.slots.get(pod.node, []):
                pinned, pod.waits_for = pod.waits_for, ""
                await self.start(name, "counter", pinned=pinned)

    async def prepared(self, namespace: str, pod: str) -> Prepared:
        await self._call("before", "look at its init containers")
        found = self.pods.get(pod)
        return Prepared(found is not None and not self.rejects, self.rejects if found else "somebody removed it")

    async def life(self, namespace: str, pod: str, target: Target, replaced: tuple[str, ...]) -> Life:
        await self._call("before", "look at the instance")
        found = self.pods.get(pod)
        if found and found.unprotected:
            return Life(True, True, "it serves")
        if found is None or not found.came_of or found.view.container_id in replaced:
            return Life(False, False, "nothing runs")
        serves = found.came_of not in self.store.mute
        return Life(True, serves, "it serves" if serves else "its probe fails")

    async def other_images(self, node: str, image: str) -> frozenset[str]:
        return frozenset()

    async def opens_gate(self, namespace: str, pod: str, checkpoint_id: str) -> bool:
        return True

    async def adopted(self, workload: Workload, name: str) -> bool | None:
        await self._call("before", "read shadow")
        found = self.pods.get(shadow_name(workload, name))
        return found.owned if found else None

    async def adopt(self, target: Target, workload: Workload, name: str, owner: str) -> bool:
        await self._call("before", "adopt")
        if not self.owner_is_there:
            return False
        if shadow := self.pods.get(shadow_name(workload, name)):
            shadow.owned = True
            self.pods.pop(target.pod, None)
        await self._call("after", "adopt")
        return True

    async def fence(self, target: Target, namespace: str, failover_id: str) -> str:
        await self._call("before", "fence the pod")
        pod = self.pods.get(target.pod)
        if pod is None or pod.view.uid != target.pod_uid:
            return failover_id
        pod.fenced_by = pod.fenced_by or failover_id
        await self._call("after", "fence the pod")
        return pod.fenced_by

    async def unfence(self, target: Target, namespace: str, failover_id: str) -> None:
        await self._call("before", "unfence the pod")
        pod = self.pods.get(target.pod)
        if pod and pod.view.uid == target.pod_uid and pod.fenced_by == failover_id:
            pod.fenced_by = ""
        await self._call("after", "unfence the pod")

    async def step_back(self, target: Target, namespace: str, name: str) -> None:
        await self._call("before", "step back")

    async def end(self, target: Target, namespace: str) -> None:
        await self._call("before", "end the old pod")
        if target.pod in self.pods and self.pods[target.pod].view.uid == target.pod_uid:
            del self.pods[target.pod]
        await self._call("after", "end the old pod")

    async def body(self, namespace: str, name: str, uid: str, annotations: dict[str, str]) -> str | None:
        await self._call("before", "read spec")
        found = self.pods.get(name)
        if found is None or found.view.uid != uid:
            return None
        labels = {"controller-revision-hash": found.view.revision} if found.view.revision else {}
        return json.dumps({"name": name, "annotations": annotations, "metadata": {"labels": labels}})

    async def unacceptable(self, namespace: str, body: str, node: str) -> str:
        await self._call("before", "try next")
        return self.refuses

    async def keep_off(self, node: str, failover_id: str) -> None:
        await self._call("before", "keep off")
        self.off.add((node, failover_id))
        await self._call("after", "keep off")

    async def let_on(self, node: str, failover_id: str) -> None:
        await self._call("before", "let on")
        self.off.discard((node, failover_id))
        await self._call("after", "let on")

    async def kept_off(self) -> list[tuple[str, str]]:
        return sorted(self.off)

    async def end_for_good(self, target: Target, namespace: str) -> None:
        await self._call("before", "delete for good")
        found = self.pods.get(target.pod)
        if found and found.view.uid == target.pod_uid:
            fence = await self._fences.get(target.pod_uid)
            mine = fence is not None and fence.value.holder == "restorer"
            assert mine or found.unmarked, "a pod was deleted for good that is not fenced"
            assert not found.came_of, "what ran was deleted for good"
            del self.pods[target.pod]
            self.deleted.append(f"{target.pod_uid} on {found.node}")
            if self.scheduled and found.view.owner_kind == "StatefulSet" and self.owner_is_there:
                await self._next(found.view, self.scheduled.pop(0), {})
        await self._call("after", "delete for good")

    async def recreate(self, namespace: str, body: str, node: str) -> None:
        await self._call("before", "create next")
        made = json.loads(body)
        if made["name"] not in self.pods:
            await self._next(self.was[made["name"]], node or "n2", made["annotations"])
        await self._call("after", "create next")

    async def _next(self, before: PodView, node: str, annotations: dict[str, str]) -> None:
        """Without what it starts from, its node's agent waits for that while there is a record, and else knows nothing of it."""
        self.made += 1
        uid = f"next-{self.made}"
        view = replace(
            before, uid=uid, container_id="", node=node, wanted=before.wanted if self.owner_is_there else 0, deleting=False,
            failover=annotations.get(FAILOVER_ANNOTATION, ""),
        )  # fmt: skip
        pod = self.add(view, node)
        if annotations:
            await self._told(pod, annotations[RESTORE_FROM])
        elif any(not row.deleted for row in self.server.buckets.get("resumes", {}).values()):
            pod.unmarked = True
        else:
            await self.start(before.name, "counter")

    async def carry(self, namespace: str, name: str, uid: str, body: str) -> None:
        await self._call("before", "carry labels")
        pod = self.pods.get(name)
        if pod and pod.view.uid == uid:
            self.carried.append(uid)
        await self._call("after", "carry labels")

    async def mark(self, namespace: str, name: str, uid: str, annotations: Mapping[str, str | None]) -> None:
        await self._call("before", "mark next")
        pod = self.pods.get(name)
        restore_from = annotations[RESTORE_FROM]
        known = pod is not None and pod.view.uid == uid
        if pod and known and restore_from is None:
            pod.pinned = ""
        elif pod and known and restore_from and pod.waits_for:
            pod.waits_for = restore_from.partition("/")[2]
            await self.engines()
        elif pod and known and restore_from and pod.pinned != restore_from and not (pod.came_of or pod.frozen or pod.unprotected):
            await self._told(pod, restore_from)
        await self._call("after", "mark next")

    async def _told(self, pod: Pod, restore_from: str) -> None:
        pod.unmarked, pod.pinned = False, restore_from
        await self.start(pod.view.name, "counter", pinned=pod.pinned.partition("/")[2])

    async def discard_shadow(self, workload: Workload, name: str) -> bool:
        await self._call("before", "discard shadow")
        gone = self.pods.pop(shadow_name(workload, name), None)
        assert not (gone and gone.came_of and self.owner_is_there), "what had run was discarded"
        await self._call("after", "discard shadow")
        return True

    async def _call(self, when: str, what: str) -> None:
        if self.on_call:
            await self.on_call(when, what)  # type: ignore[arg-type]


@dataclass
class MemoryNodes:
    """What agents, checkpointers and transfers do when they are told: hold, stage, let run, end, and thaw what is not wanted."""

    server: MemoryServer
    cluster: MemoryCluster
    old: str
    unheld: str = ""
    """Why the old pod's node cannot hold it."""
    away: frozenset[str] = frozenset()
    """Nodes that stage nothing."""
    stands_still: bool = False
    holds_back: str = ""
    """What has ended there and may go elsewhere, by its failover; empty: nothing does."""
    _done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._bus = MemoryBus(self.server)
        self._holds = Bucket(self._bus, "holds", HoldRecord, instead=UNREADABLE_HOLD)
        self._fences = Bucket(self._bus, "fences", Fence)

    async def act(self) -> None:
        if self.holds_back:
            await self._start_here()
        for event in list(self.server.events.values()):
            if isinstance(event, FailoverHolding):
                await self._hold(event)
            elif id(event) not in self._done:
                self._done.add(id(event))
                await self._once(event)

    async def _start_here(self) -> None:
        """What is not held back any more, unless it was given up: its node writes the fence first."""
        old = self.cluster.pods.get(self.old)
        gone = old is None or old.view.deleting or old.view.uid != self.cluster.was[self.old].uid
        if old is None or gone or await self._holds.get(self.holds_back):
            return
        entry = await self._fences.get(old.view.uid)
        if entry is None or entry.value.holder != "restorer":
            await self._fences.put(old.view.uid, Fence(pod_uid=old.view.uid, holder="node"))
            self.holds_back = ""
            await self.cluster.start(self.old, "counter")

    async def _once(self, event: Event) -> None:
        match event:
            case ImageBuilt() if event.node not in self.away:
                await self._stage(event)
            case FailoverReleased():
                pod = self.cluster.pods.get(event.target.pod)
                if pod and pod.frozen and not pod.came_of:
                    self.cluster.run(event.target.pod, pod.frozen)
                elif pod and pod.view.uid == event.target.pod_uid and not pod.came_of:
                    await self.cluster.start(event.target.pod, event.target.container)
            case FailoverStarted(cause="restore"):
                pod = self.cluster.pods.get(event.target.pod)
                if pod and pod.view.container_id == event.target.container_id:
                    pod.came_of = ""
                    await self.cluster.start(event.target.pod, event.target.container)

    async def _stage(self, event: ImageBuilt) -> None:
        slots = [s for s in self.cluster.slots.get(event.node, []) if s != event.checkpoint_id]
        self.cluster.slots[event.node] = [event.checkpoint_id, *slots][:2]
        await self.cluster.engines()
        standbys = Standbys(self._bus, self.cluster, self.cluster.store)
        staged = CheckpointStaged(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reference="slot", pull_s=0, role=event.role,
        )  # fmt: skip
        await (standbys.on_staged(staged) if event.role == "standby" else standbys.on_live(staged))

    async def _hold(self, event: FailoverHolding) -> None:
        old = self.cluster.pods.get(self.old)
        if old is None:
            return
        entry = await self._holds.get(event.checkpoint_id)
        fence = await self._fences.get(event.target.pod_uid)
        if entry and entry.value.state == "wanted" and self.unheld:
            failed = entry.value.model_copy(update={"state": "failed", "reason": self.unheld})
            await self._holds.update(entry.key, failed, entry.revision)
        elif entry and entry.value.state == "wanted":
            old.came_of, self.stands_still = "", True
            last = Good(
                event.checkpoint_id, self.cluster.store.good_ones[0].need, container_id="c1", pod_uid=event.target.pod_uid
            )
            self.cluster.store.good_ones = (last, *self.cluster.store.good_ones)
            await self._holds.update(entry.key, entry.value.model_copy(update={"state": "held"}), entry.revision)
        elif entry is None and self.stands_still and (fence is None or fence.value.holder != "restorer"):
            self.stands_still = False
            assert self.cluster.serving() == [], "it runs again while another one runs"
            old.came_of = "running"
