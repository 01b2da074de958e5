"""A cluster and a store of checkpoints in memory, behind the ports, for unit tests of the saga.

The kubelet, the ReplicaSet and the store do at once what they would do in time. Every instance that ever ran is noted with
what it was restored from, and two that run at once are an error at once (I1).
"""

from dataclasses import dataclass, field, replace

from reprise.contracts.errors import NotStored
from reprise.contracts.images import live_reference, parse_live
from reprise.contracts.model import Target, Workload
from reprise.restorer.model import Good, Life, NodeView, PodView
from reprise.restorer.placement import Placement
from reprise.restorer.ports import shadow_name
from reprise.runtime.testing import OnCall

OWNER = "counter-abc"
COLD_IMAGE = "counter:1"
BLANK = "blank"


@dataclass
class Pod:
    """came_of: the checkpoint that its instance was restored from, BLANK, or empty while nothing runs (or it is frozen)."""

    view: PodView
    node: str
    came_of: str = ""
    owned: bool = True
    labelled: bool = True


@dataclass
class MemoryStore:
    """ports.Checkpoints, and what a node's registry shows. poison: checkpoints whose instances never serve."""

    good_ones: tuple[Good, ...]
    on_call: OnCall | None = None
    poison: frozenset[str] = frozenset()
    live: dict[str, str] = field(default_factory=dict)

    async def good(self, workload: Workload, container: str) -> tuple[Good, ...]:
        await self._call("before", "good")
        return self.good_ones

    async def publish(self, workload: Workload, container: str, checkpoint_id: str, live_id: str) -> tuple[str, str]:
        await self._call("before", "publish image")
        if checkpoint_id not in {g.checkpoint_id for g in self.good_ones}:
            raise NotStored("it was pruned", subject=checkpoint_id)
        reference = live_reference(workload.namespace, live_id, container)
        self.live[reference] = max(self.live.get(reference, ""), checkpoint_id)
        await self._call("after", "publish image")
        return reference, "sha256:0"

    async def _call(self, when: str, what: str) -> None:
        if self.on_call:
            await self.on_call(when, what)  # type: ignore[arg-type]


class MemoryCluster:
    """ports.Cluster. container: the protected one of each pod."""

    def __init__(self, store: MemoryStore, nodes: tuple[NodeView, ...], on_call: OnCall | None = None) -> None:
        self.store, self.listed, self.on_call = store, nodes, on_call
        self.pods: dict[str, Pod] = {}
        self.history: list[str] = []
        self.started = 0

    def add(self, view: PodView, node: str, came_of: str = "", *, owned: bool = True) -> None:
        self.pods[view.name] = Pod(view, node, "", owned, owned)
        if came_of:
            self.run(view.name, came_of)

    def run(self, name: str, came_of: str) -> None:
        """An instance starts. Raises AssertionError if another one runs."""
        pod = self.pods[name]
        others = [n for n, p in self.pods.items() if p.came_of and n != name]
        assert not others, f"{others} run while {name} starts"
        self.started += 1
        pod.came_of = came_of
        pod.view = replace(pod.view, container_id=f"{name}-{self.started}")
        self.history.append(came_of)

    def restart(self, name: str) -> None:
        """The kubelet starts what the pod's image says."""
        view = self.pods[name].view
        self.run(name, self.store.live.get(view.image, BLANK) if parse_live(view.image) else BLANK)

    def change(self, name: str, **fields: object) -> None:
        pod = self.pods[name]
        pod.view = replace(pod.view, **fields)  # type: ignore[arg-type]

    def serving(self) -> list[str]:
        return [pod.came_of for pod in self.pods.values() if pod.came_of]

    async def pod(self, namespace: str, name: str, container: str) -> PodView | None:
        await self._call("before", "read pod")
        found = self.pods.get(name)
        return found.view if found else None

    async def nodes(self) -> tuple[NodeView, ...]:
        await self._call("before", "list nodes")
        return self.listed

    async def placement(self, namespace: str, name: str, uid: str, container: str) -> Placement:
        return self.pods[name].view.asks if name in self.pods else Placement()

    async def cordoned(self) -> frozenset[str]:
        return frozenset(node.name for node in self.listed if not node.schedulable)

    async def nudge(self, namespace: str, pod: str, why: str) -> None:
        await self._call("before", "nudge")

    async def set_image(self, namespace: str, pod: str, container: str, image: str, live_id: str) -> None:
        await self._call("before", "set image")
        if self.pods[pod].view.image != image:
            self.change(pod, image=image, live_id=live_id)
            self.restart(pod)
        await self._call("after", "set image")

    async def create_shadow(self, target: Target, workload: Workload, name: str, standby: str, image: str) -> None:
        await self._call("before", "create shadow")
        shadow = shadow_name(workload, name)
        if shadow not in self.pods:
            named = parse_live(image)
            self.add(PodView(f"uid-{name}", shadow, False, image, "", "", "", named[1] if named else ""), standby, owned=False)
            self.restart(shadow)
        await self._call("after", "create shadow")

    async def life(self, namespace: str, pod: str, target: Target, replaced: tuple[str, ...]) -> Life:
        await self._call("before", "look at the instance")
        found = self.pods.get(pod)
        if found is None or not found.came_of or found.view.container_id in replaced:
            return Life(False, False, "nothing runs")
        serves = found.came_of not in self.store.poison
        return Life(serves, serves, "it serves" if serves else "CrashLoopBackOff")

    async def other_images(self, node: str, image: str) -> frozenset[str]:
        return frozenset()

    async def opens_gate(self, namespace: str, pod: str, checkpoint_id: str) -> bool:
        return True

    async def adopted(self, workload: Workload, name: str) -> bool | None:
        await self._call("before", "read shadow")
        found = self.pods.get(shadow_name(workload, name))
        return found.owned if found else None

    async def adopt(self, target: Target, workload: Workload, name: str) -> None:
        await self._call("before", "adopt")
        shadow, old = self.pods.get(shadow_name(workload, name)), self.pods.get(target.pod)
        if shadow and old:
            shadow.labelled = shadow.owned = True
            del self.pods[target.pod]
        await self._call("after", "adopt")

    async def end(self, target: Target, namespace: str) -> None:
        await self._call("before", "end the old pod")

    async def discard_shadow(self, workload: Workload, name: str) -> bool:
        await self._call("before", "discard shadow")
        self.pods.pop(shadow_name(workload, name), None)
        await self._call("after", "discard shadow")
        return True

    async def _call(self, when: str, what: str) -> None:
        if self.on_call:
            await self.on_call(when, what)  # type: ignore[arg-type]
