"""The restorer's planner, pure: which path, which checkpoint, which node, or none and why; and whether to go on.

Only a good checkpoint is restored (I2, I4); a user's deletion, rollout or scale-down always wins; a node-loss plan never
names the node that was lost (I1). A checkpoint whose instances end soon is taken for poisoned: the first time may be
chance, and the same one is restored again; after that each goes one checkpoint further back, STEPS_BACK at most, and then
it starts cold (I5).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from reprise.contracts.annotations import Prestaging
from reprise.contracts.events import Prestage
from reprise.contracts.images import parse_live
from reprise.contracts.model import Target, Workload
from reprise.contracts.model import after as earliest_after
from reprise.contracts.records import Fence, HoldRecord
from reprise.restorer.model import (
    Again,
    Go,
    Good,
    Life,
    LiveRef,
    Need,
    NodeView,
    PodNames,
    PodView,
    Recovery,
    Saga,
    Snapshot,
    Stop,
)
from reprise.restorer.placement import Placement, Site, forgotten, refused, same_image, tied

SOON_S = 10.0
"""An instance that ends within this time of its restore, and without a good checkpoint of its own, proves no life."""
NOT_MOVABLE_REMEDY = "keep that in a volume that every node can mount, or bring its node back"
STRIKES = 2
STEPS_BACK = 2
MOVE_ATTEMPTS = 4
DELAYS = 30
"""Attempts that a lost node's workload gets while no node can take it; the arbiter repeats its judgement with back-off."""
REMEMBERED = 20
LEFT_OVER_S = 3600.0
"""What nobody names any more is left alone for so long."""
INSTRUCTIONS = re.compile(
    # x86: linux/arch/x86/include/asm/cpufeatures.h
    r"(s?sse\w*|pni|avx\w*|amx_\w+|xop|fma4?|f16c|bmi[12]|abm|adx|aes|vaes|v?pclmulqdq|gfni|sha_ni|sha512|sm[34]|popcnt|movbe|"
    r"movdir\w+|rdrand|rdseed|rdpid|rdtscp|fsgsbase|xsave\w*|erms|fsrm|clwb|clflushopt|clzero|cldemote|serialize|pku|rtm|hle|"
    r"enqcmd|cx16|3dnow\w*|tbm|lahf_lm|"
    # arm64: linux/Documentation/arch/arm64/elf_hwcaps.rst, all of them
    r"fp|asimd\w*|pmull|sha[123]|crc32|atomics|fphp|cpuid|jscvt|fcma|lrcpc|ilrcpc|dcpop|dcpodp|sve\w*|sme\w*|flagm2?|ssbs|sb|"
    r"paca|pacg|i8mm|bf16|dgh|rng|bti|mte3?|ecv|afp|rpres|uscat|frint)"
)


def plan(now: Snapshot) -> Go | Stop:  # noqa: PLR0911 one return per rule reads best
    """Decide from one snapshot. The same snapshot gives the same plan."""
    pod, moves = now.pod, now.cause == "node-loss"
    if now.cause == "move":
        return _planned(now)
    if now.cause == "restore":
        return _asked_for(now)
    given_up = now.target.container_id in now.recovery.dead and now.failover_id not in now.recovery.counted
    if now.cause in ("crash", "hang") and given_up:
        return Stop("Replaced", "it was ended to be restored as somebody asked for", "nothing", "hand-over")
    armed = pod is not None and parse_live(pod.image) is not None
    noted = Recovery() if moves else counted(now)
    poisoned = noted.strikes >= STRIKES
    waits = armed and not moves and not poisoned and not now.tried
    stop = may_go_on(now.target, pod, acts=not waits, fenced_by=now.fenced_by)
    if stop or pod is None:
        return stop or _gone()
    if now.cause == "arm" and armed:
        return Stop("AlreadyArmed", "the pod's image is its live reference already", "", "step-aside")
    newest = now.checkpoints[0] if now.checkpoints else ""
    if waits:
        noted = noted.model_copy(update={"checkpoint_id": newest})
        return Go("in-place-armed", newest, now.target.node, "armed: the kubelet restores its newest checkpoint itself", noted)
    older = _older(now, noted, poisoned=poisoned)
    if isinstance(older, Stop):
        return older
    if moves:
        return _elsewhere(now, older)
    if poisoned:
        void = tuple(c for c in now.checkpoints if c >= noted.checkpoint_id)
        why = (
            f"{noted.strikes} instances restored from {noted.checkpoint_id} or later ended within {SOON_S:g} s: one further back"
        )
        noted = noted.model_copy(update={"checkpoint_id": older, "back": noted.back + 1, "void": _last(noted.void, *void)})
        return Go("in-place-patch", older, now.target.node, why, noted, renamed=True)
    why = f"the node is healthy and the newest checkpoint is {older}"
    if now.tried:
        why = f"{', '.join(now.tried)} did not come back: one further back"
    noted = noted.model_copy(update={"checkpoint_id": older, "void": _last(noted.void, *now.tried)})
    # What is armed goes on from a checkpoint that its node may not hold yet: of a name that it knows it would take an older one.
    renamed = armed or bool(now.tried) or now.cause == "arm"
    return Go("in-place-patch", older, now.target.node, why, noted, renamed=renamed)


def may_go_on(  # noqa: PLR0911 one return per rule reads best
    target: Target, pod: PodView | None, *, acts: bool, fenced_by: str = "", image: tuple[str, ...] = ()
) -> Stop | None:
    """Asked before each step that acts, because the world goes on meanwhile: None is "carry on".

    acts: whether this failover changes anything; one that only watches the kubelet's own restart is in nobody's way.
    image: what the pod may run; another image was set by somebody else.
    """
    if pod is None or pod.uid != target.pod_uid:
        return _gone()
    if pod.evicted:
        return Stop("Evicted", f"Kubernetes ends the pod ({pod.evicted}) and its owner replaces it",
                    "see the node's conditions; the replacement starts cold", "hand-over")  # fmt: skip
    if pod.deleting:
        return Stop("PodDeleting", "the pod is being deleted", "nothing: a deletion wins over a failover", "step-aside")
    if fenced_by:
        return Stop("OtherFailover", f"failover {fenced_by} starts the pod elsewhere", "nothing", "hand-over")
    if not acts:
        return None
    if pod.wanted == 0:
        return Stop("ScaledToZero", "its owner wants no replica", "nothing: a scale-down wins over a failover", "step-aside")
    if pod.outdated:
        return Stop("RolledOut", f"{pod.owner_name} is not its Deployment's newest ReplicaSet",
                    "nothing: a rollout wins over a failover", "step-aside")  # fmt: skip
    if image and pod.image not in image:
        return Stop("ImageChanged", f"somebody set the pod's image to {pod.image}", "nothing", "step-aside")
    return None


def _gone() -> Stop:
    return Stop("PodGone", "the pod no longer exists", "nothing: its owner has replaced or removed it", "step-aside")


def counted(now: Snapshot) -> Recovery:
    """What is known of the live reference, with this death in it. An instance that was being replaced does not count."""
    before = now.recovery
    if now.failover_id in before.counted or now.pod is None:
        return before
    seen = {"counted": _last(before.counted, now.failover_id)}
    if now.ran and now.ran != now.pod.image:
        return before.model_copy(update=seen)
    soon = now.lived_s is not None and now.lived_s < SOON_S and not now.proved
    if not (soon and before.checkpoint_id and parse_live(now.pod.image)):
        return before.model_copy(update=seen | {"strikes": 0, "back": 0})
    dead = _last(before.dead, now.target.container_id)
    return before.model_copy(update=seen | {"strikes": before.strikes + 1, "dead": dead})


def _last(before: tuple[str, ...], *new: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *new)))[-REMEMBERED:]


def usable(good: tuple[Good, ...], recovery: Recovery) -> tuple[Good, ...]:
    """Without what was given up, and what was taken of an instance that came of it."""
    return tuple(g for g in good if g.checkpoint_id not in recovery.void and (g.container_id or "-") not in recovery.dead)


def image_of(pod: PodView) -> str:
    """What the pod runs without a checkpoint; empty if that is not known."""
    return pod.cold_image or ("" if parse_live(pod.image) else pod.image)


def fitting(good: tuple[Good, ...], pod: PodView | None, others: frozenset[str] = frozenset()) -> tuple[tuple[Good, ...], str]:
    """Those that this pod can be restored from: a rollout may have changed what it runs and mounts since. And why the newest
    of the others is none of them. others: names of images that are certainly not the pod's.
    """
    why = [(g, unlike(g.need, pod, others)) for g in good]
    unfit = next((f"{g.checkpoint_id} {text}" for g, text in why if text), "")
    return tuple(g for g, text in why if not text), unfit


def unlike(need: Need, pod: PodView | None, others: frozenset[str] = frozenset()) -> str:
    """What of the checkpoint the pod does not have; empty if it has all, as far as is known.

    The runtime tells some name of the base image, which may be another than the pod's template has: names that differ prove
    nothing, unless a node has both and they are two images.
    """
    if pod is None:
        return ""
    if need.base_image in others and not same_image(need.base_image, image_of(pod)):
        return f"is of the image {need.base_image}, the pod is to run {image_of(pod)}"
    # CRI-O's rule: server/container_restore.go, "expects following bind mounts defined".
    if pod.asks.mounts and (lacking := sorted(set(need.mounts) - set(pod.asks.mounts))):
        return f"has mounts at {', '.join(lacking)}, the pod has them only at {', '.join(pod.asks.mounts)}"
    return ""


def _older(now: Snapshot, noted: Recovery, *, poisoned: bool) -> str | Stop:
    """The newest checkpoint that is not given up, or why there is none."""
    limit = min((*now.tried, *([noted.checkpoint_id] if poisoned else [])), default="")
    left = [c for c in now.checkpoints if not limit or c < limit]
    if poisoned and (noted.back >= STEPS_BACK or not left):
        return Stop("Poisoned", f"{noted.strikes} restored instances in a row ended within {SOON_S:g} s, the last of "
                    f"{noted.checkpoint_id}, and {noted.back} older checkpoints were tried: it starts cold",
                    "look at why it ends (`kubectl logs --previous`); older checkpoints are still in the store")  # fmt: skip
    if left:
        return left[0]
    if now.tried:
        return Stop("RestoreFailed", f"{', '.join(now.tried)} did not come back, and there is no older checkpoint",
                    "see the workload's events and CRIU's log in the container's bundle on the node")  # fmt: skip
    if now.unfit:
        return Stop("Incompatible", f"no good checkpoint is of this pod's template: {now.unfit}; it starts cold",
                    "nothing, if its template was changed since: its next checkpoint fits")  # fmt: skip
    return Stop("NoCheckpoint", "there is no good checkpoint of this container yet: it starts cold",
                "see the workload's events for why none succeeded; `kubectl describe` it")  # fmt: skip


def _planned(now: Snapshot) -> Go | Stop:
    """A planned move: everything that can be known is refused before anything stands still. Its checkpoint is yet to be taken."""
    pod, lost = now.pod, now.target.node
    stop = may_go_on(now.target, pod, acts=True, fenced_by=now.fenced_by)
    if stop or pod is None:
        return stop or _gone()
    if pod.owner_kind != "ReplicaSet":
        return Stop("OwnerNotSupported", f"a {pod.owner_kind or 'bare'} pod cannot be moved in this version",
                    "run it as a Deployment", "step-aside")  # fmt: skip
    if now.to == lost:
        return Stop("AlreadyThere", f"it runs on {lost}", "nothing", "step-aside")
    nodes = tuple(node for node in now.nodes if now.to in ("", node.name))
    if not nodes:
        return Stop("NoSuchNode", f"there is no node {now.to}", "`kubectl get nodes` lists them", "step-aside")
    chosen = choose_node(nodes, now.need, lost, now.standby, dict(now.refused))
    if isinstance(chosen, str):
        return Stop("NoStandby", f"no node can take it: {chosen}", "add a node that can, or make one of these able to, and ask "
                    "again", "step-aside")  # fmt: skip
    kept = Recovery(void=now.recovery.void, dead=now.recovery.dead)
    return Go("shadow", "", chosen.node.name, "it is the node that was asked for" if now.to else chosen.why, kept)


def _asked_for(now: Snapshot) -> Go | Stop:
    """Back to the checkpoint that somebody chose: what is newer is given up, but stays in the store. If that does not come back
    the newest one, from which it is as it was.
    """
    pod = now.pod
    stop = may_go_on(now.target, pod, acts=True, fenced_by=now.fenced_by)
    if stop or pod is None:
        return stop or _gone()
    left = [c for c in now.checkpoints if c not in now.tried]
    if not now.tried and now.wanted not in left:
        return Stop("NoSuchCheckpoint", f"{now.wanted} is no good checkpoint that its pod can be restored from"
                    + (f": {now.unfit}" if now.unfit else ""), "`reprise history` lists them", "step-aside")  # fmt: skip
    if not left:
        return Stop("RestoreFailed", f"{', '.join(now.tried)} did not come back, and there is no other checkpoint",
                    "see the workload's events and CRIU's log in the container's bundle on the node")  # fmt: skip
    if now.tried:
        why = f"{', '.join(now.tried)} did not come back: it goes on from its newest checkpoint"
        return Go("in-place-patch", left[0], now.target.node, why, Recovery(checkpoint_id=left[0], void=now.tried), renamed=True)
    given_up = [c for c in now.recovery.void if c != now.wanted] + [c for c in reversed(left) if c > now.wanted]
    # What is still being checkpointed of the process that runs now counts no more than what was.
    noted = Recovery(
        checkpoint_id=now.wanted, void=tuple(dict.fromkeys(given_up)), dead=_last(now.recovery.dead, pod.container_id)
    )
    return Go("in-place-patch", now.wanted, now.target.node, "it was asked for", noted, renamed=True)


@dataclass(frozen=True)
class Asked:
    """A planned move that is wanted. request: what makes it one and the same; to: empty for any node that can."""

    request: str
    to: str
    why: str


def refusal(workload: Workload, pods: dict[str, int]) -> str:
    """Why a request for a planned move of a workload cannot even be tried, with what to do; empty if it can.

    pods: the names of its protected pods, and how many containers of each are protected.
    """
    if workload.kind != "Deployment":
        return f"a {workload.kind} cannot be moved in this version; run it as a Deployment"
    if not pods:
        return "it has no protected pod; annotate it with reprise.dev/mode=criu, and see that its pod runs"
    if len(pods) > 1:
        names = ", ".join(sorted(pods))
        return f"it has {len(pods)} pods ({names}); cordon the node that is to be left"
    if max(pods.values()) > 1:
        return "more than one container of its pod is protected; name one in reprise.dev/containers"
    return ""


def irrestorable(pods: dict[str, int], holders: int, wanted: str) -> str:
    """Why a workload cannot be restored from a checkpoint that was asked for, with what to do; empty if it can.

    pods: as in refusal(); holders: how many of the pod's containers have that checkpoint.
    """
    if not pods:
        return "it has no protected pod; annotate it with reprise.dev/mode=criu, and see that its pod runs"
    if len(pods) > 1:
        return f"it has {len(pods)} pods ({', '.join(sorted(pods))}), and each would become the same one"
    if not holders:
        return f"it has no good checkpoint {wanted or 'without a name'}; `reprise history` lists them"
    return ""


def changed(target: Target, pod: PodView | None) -> Stop | None:
    """Whether the process that a planned move is about is not the one that runs."""
    if pod and pod.container_id != target.container_id:
        return Stop(
            "ContainerChanged", "its container was restarted meanwhile", "ask again", "step-aside", again=True, unheld=True
        )
    return None


HOLD_S = 20.0
HOLD_BYTES_S = 16 << 20


def hold_s(size: int) -> float:
    """How long a process may stand still for its move, not fenced yet: its dump must get into the store meanwhile.

    size: of the newest archive. Its node lets it run on after that, whatever became of us (I6).
    """
    return HOLD_S + size / HOLD_BYTES_S


def not_held(record: HoldRecord) -> Stop:
    """Why the last checkpoint left nothing standing still."""
    lucky = record.reason in ("NotHeld", "HoldEnded", "Frozen", "InFlightConnection", "OtherContainer")
    return Stop(record.reason, record.message, record.remedy, "step-aside", again=lucky, unheld=True)


def _elsewhere(now: Snapshot, checkpoint_id: str) -> Go | Stop:
    assert now.pod is not None
    if now.pod.owner_kind != "ReplicaSet":
        return Stop(
            "OwnerNotSupported",
            f"a {now.pod.owner_kind or 'bare'} pod cannot be moved off a lost node in this version",
            "run it as a Deployment, or delete the pod by hand once the node is certainly off",
        )
    asks = now.pod.asks
    if held := tied(asks, now.target.node):
        return Stop("NotMovable", f"its {held}", NOT_MOVABLE_REMEDY)
    chosen = choose_node(now.nodes, now.need, now.target.node, now.standby, dict(now.refused), asks)
    if isinstance(chosen, str):
        remedy = "add a node that can, or make one of these able to"
        return Stop("NoStandby", f"no node can take it: {chosen}", remedy, later=True)
    why = f"{', '.join(now.tried)} did not come back: one further back, and {chosen.why}" if now.tried else chosen.why
    if lost := forgotten(asks):
        why = f"{why}; {lost}"
    kept = Recovery(checkpoint_id=checkpoint_id, void=now.recovery.void, dead=now.recovery.dead)
    return Go("shadow", checkpoint_id, chosen.node.name, why, kept)


def may_take(fence: Fence | None, revision: int, saga: Saga) -> Stop | None:
    """Whether the pod's fence, as it is at this revision, is this failover's to take (compare-and-set) or is its already.

    Only if nobody wrote it since the arbiter gave the node up, or since this failover let go of it: a node writes it
    before it thaws anything, so an instance that runs again is never joined by a second one (I1).
    """
    if fence and fence.holder == "restorer":
        return None if fence.failover_id == saga.failover_id else Stop(
            "OtherFailover", f"failover {fence.failover_id} has the pod's fence", "nothing", "hand-over")  # fmt: skip
    if revision == saga.fence_revision:
        return None
    if saga.planned:
        return Stop("HoldEnded", "its node let it run on before the move had fenced it", "ask again", "step-aside", again=True)
    return Stop("NodeReturned", "the node came back first and runs on", "nothing", "step-aside")


def later(at: datetime, newest: str) -> datetime:
    """When a checkpoint is said to be due whose id must sort after the newest one's: clocks may differ, or be set back."""
    try:
        return max(at, earliest_after(newest))
    except ValueError:  # there is none, or its id is of another form
        return at


def after(saga: Saga, stop: Stop) -> Again | None:
    """What follows once this attempt is undone: another one within its budget, or None for the end."""
    if saga.cause == "arm" and stop.unheld:
        once_more = stop.reason in ("NotHeld", "InFlightConnection") and saga.attempt < MOVE_ATTEMPTS
        return Again(later=False, why=stop.message, lossy=not once_more)
    if saga.planned:
        return Again(later=False, why=stop.message) if stop.again and saga.attempt < MOVE_ATTEMPTS else None
    if stop.later and saga.moves and saga.delays < DELAYS:
        return Again(later=True, why=stop.message)
    if stop.poisoned and saga.cause != "arm" and len(saga.tried) < STEPS_BACK:
        return Again(later=False, why=stop.message)
    return None


def unverified(saga: Saga, pod: str, life: Life, waited_s: float) -> Stop:
    """What came of an instance that does not pass its probe in time.

    In place one that runs keeps its memory, whatever its probe says: its own kubelet judges it. A shadow serves nobody yet.
    """
    message = f"pod {pod} did not serve within {waited_s:.0f} s: {life.detail}"
    remedy = f"`kubectl -n {saga.workload.namespace} describe pod {pod}`; CRIU's log is in the container's bundle on the node"
    if life.runs and saga.path != "shadow":
        return Stop("NotServing", f"{message}; it runs from its checkpoint", remedy, "hand-over")
    return Stop("RestoreFailed", message, remedy, poisoned=True)


def taken_up(record: Saga, declared: Saga) -> Saga | None:
    """The recorded failover as it goes on after the node was found lost again; None to leave it as it is.

    A declaration that is older than the record knows nothing new. One that ended begins again only if the fence was
    written since, which only a node does that came back in between.
    """
    if record.cause != "node-loss" or declared.fence_revision < record.fence_revision:
        return None
    if record.step == "wait":
        if declared.declared_at == (record.judged_at or record.declared_at):
            return None
        fresh = {"step": "plan", "fence_revision": declared.fence_revision, "judged_at": declared.declared_at}
        return record.model_copy(update=fresh)
    if record.step == "abandoned" and declared.fence_revision > record.fence_revision:
        return declared.model_copy(update={"attempt": record.attempt + 1})
    return None


@dataclass(frozen=True)
class Choice:
    """A node, and why this one."""

    node: NodeView
    why: str


def choose_node(
    nodes: tuple[NodeView, ...], need: Need, lost: str, sticky: str, said: dict[str, str], asks: Placement | None = None
) -> Choice | str:
    """The node to move to, or why there is none. The same node as long as it can: what it holds already need not be sent.

    said: nodes that refused by themselves, with their reason. asks: what the pod asks of a node.
    """
    eligible, limits = [], []
    sites = tuple(node.site for node in nodes)
    for node in nodes:
        why_not = limitation(node, need, lost, asks or Placement(), sites) or said.get(node.name, "")
        if why_not:
            limits.append(f"{node.name} {why_not}")
        else:
            eligible.append(node)
    if not eligible:
        return "; ".join(limits) or "there is no other node"
    for node in eligible:
        if node.name == sticky:
            return Choice(node, f"{node.name} holds its checkpoints ready")
    best = min(eligible, key=lambda node: (node.protected_pods, -node.free_bytes, node.name))
    return Choice(best, f"{best.name} is ready and runs the fewest protected pods")


def limitation(  # noqa: PLR0911 one return per rule reads best
    node: NodeView, need: Need, lost: str, asks: Placement | None = None, sites: tuple[Site, ...] = ()
) -> str:
    """Why this node cannot take what needs that, in a pod that asks this; empty if it can. sites: of all nodes."""
    asks = asks or Placement()
    if node.name == lost:
        return "is the node it runs on"
    if not node.ready:
        return "is not ready"
    if not node.schedulable:
        return "is cordoned"
    if need.architecture and node.architecture != need.architecture:
        return f"is {node.architecture}, the checkpoint is {need.architecture}"
    if need.runtime and node.runtime and node.runtime != need.runtime:
        return f"runs {node.runtime}, the checkpoint is {need.runtime}'s"
    if need.criu and node.criu and _version(node.criu) < _version(need.criu):
        return f"has CRIU {node.criu}, the checkpoint is of CRIU {need.criu}"
    if need.kernel and node.kernel and _version(node.kernel)[:2] < _version(need.kernel)[:2]:
        return f"runs kernel {node.kernel}, the checkpoint is of the newer {need.kernel}"
    if lacking := missing_features(need.cpu_features, node.cpu_features):
        return f"has a CPU without {', '.join(lacking)}, which the checkpoint's CPU has"
    if node.free_bytes < need.memory_bytes:
        return f"has {node.free_bytes >> 20} MiB of memory to give, it needs {need.memory_bytes >> 20}"
    if no_place := refused(asks, node.site, sites):
        return no_place
    if need.devices and not asks.devices:
        return f"is not known to have {', '.join(need.devices)}, which the checkpoint's container was given on its node"
    if _only_local(need.base_image, asks) and node.site.lacks_image(need.base_image):
        return f"lacks the base image {need.base_image}, which no registry has: it has {len(node.site.images)} others"
    return ""


def _only_local(image: str, asks: Placement) -> bool:
    """Whether a node either has it or never will. Any other is pulled when it is staged, or the node says that it cannot."""
    return bool(image) and (asks.never_pulls or image.startswith("localhost/"))


def missing_features(needed: tuple[str, ...], offered: tuple[str, ...]) -> list[str]:
    """What a program may have found out that it can use, and would not find there. Unknown on either side: nothing.

    Only instructions: /proc/cpuinfo also lists what the kernel does about the CPU's faults, which no program asks for.
    """
    if not needed or not offered:
        return []
    return sorted({f for f in needed if INSTRUCTIONS.fullmatch(f)} - set(offered))


def _version(text: str) -> tuple[int, ...]:
    """The leading numbers: 6.18.2-generic is (6, 18, 2)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


PRESTAGE_MOST_BYTES = 16 << 30
PRESTAGE_MOST_BYTES_S = 64 << 20


def prestage(wanted: Prestaging, size: int, new_bytes: int, interval_s: float) -> tuple[Prestage, str]:
    """What of a checkpoint is to lie ready on the standby, and why. size: of its archive; new_bytes: what of it is new.

    Staging writes what is new up to three times (its packs, and each of two slots), so that is what it costs the standby.
    """
    if wanted != "auto":
        return wanted, "its annotation reprise.dev/prestage says so"
    rate = 3 * new_bytes / interval_s
    if size > PRESTAGE_MOST_BYTES:
        return "chunks", f"{size >> 20} MiB would lie on the standby twice"
    if rate > PRESTAGE_MOST_BYTES_S:
        return (
            "chunks",
            f"{new_bytes >> 20} MiB are new each {interval_s:g} s: writing {int(rate) >> 20} MiB/s would cost the standby",
        )
    return "image", f"{new_bytes >> 20} MiB are new each {interval_s:g} s"


def left_over(reference: LiveRef, pods: Iterable[PodNames], sagas: Iterable[Saga]) -> bool:
    """Whether nothing can ever ask for this live reference again: no pod leads to it, and no failover that has not ended.

    sagas were read before the pods: a record names a reference before its pod does, and until that pod is there. A pod
    that is gone never comes back, and a failover only begins while its pod is there; so what nobody names stays unnamed.
    """
    if reference.idle_s < LEFT_OVER_S:
        return False
    return not any(_leads(pod, reference) for pod in pods) and not any(_names(saga, reference) for saga in sagas)


def _leads(pod: PodNames, reference: LiveRef) -> bool:
    """An image may name it by digest too: the registry finds that through the same reference. A pod that was armed, or restored
    under another name, asks for its first one no more.
    """
    named = any(f"/{reference.live_id}/" in image for image in pod.images)
    ours = pod.uid in (reference.live_id, reference.pod_uid) or pod.live_id == reference.live_id
    outgrown = reference.live_id == pod.uid and pod.live_id not in ("", pod.uid)
    return pod.workload.namespace == reference.namespace and (named or (ours and not outgrown))


def spent(record: Saga | Fence, pods: Iterable[PodNames], sagas: Iterable[Saga]) -> bool:
    """Whether nothing can ever ask for this record again: its pod is gone, and no failover of it runs.

    A UID never comes back. A fence keeps a node from thawing a pod that runs elsewhere; of one that the API server does not
    have, no node thaws anything (health-watcher's may_thaw), and no failover takes the fence (may_go_on): the record is needed
    only while there is a pod. A failover that waits for its node to be found lost again waits in vain: only what is there is.
    """
    uid = record.target.pod_uid if isinstance(record, Saga) else record.pod_uid
    running = (saga.target.pod_uid for saga in sagas if not saga.ended and saga.step != "wait")
    return uid not in running and all(pod.uid != uid for pod in pods)


def unnamed(live_id: str, pods: Iterable[PodNames], sagas: Iterable[Saga]) -> bool:
    """Whether what is remembered of a live reference is for nothing: no pod goes by that name, and no failover gives it one."""
    running = (saga for saga in sagas if not saga.ended)
    return not any(live_id in (pod.uid, pod.live_id) for pod in pods) and not any(
        live_id == saga.target.pod_uid or live_id.startswith(saga.failover_id) for saga in running
    )


def _names(saga: Saga, reference: LiveRef) -> bool:
    """Those of its attempts all begin with the failover's id."""
    if saga.ended or saga.workload.namespace != reference.namespace:
        return False
    shown = parse_live(saga.reference)
    named = (saga.target.pod_uid, saga.live_id, shown[1] if shown else "")
    return reference.live_id in named or reference.live_id.startswith(saga.failover_id) or reference.pod_uid == named[0]


def standing(pods: Iterable[PodNames], sagas: Iterable[Saga]) -> set[Workload]:
    """The workloads of which anything is left that could be moved to a standby."""
    return {pod.workload for pod in pods} | {saga.workload for saga in sagas if not saga.ended}
