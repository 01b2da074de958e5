"""The restorer's planner, pure: which route, which checkpoint, which node, or none and why; and whether to go on.

Only a good checkpoint is restored (I2, I4); a user's deletion, rollout or scale-down always wins until the restored instance is
released; a node-loss plan never names the node that was lost (I1). One that does not come back is followed by the one before
it, STEPS_BACK at most, and then by a cold start (I5).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from reprise.contracts.annotations import Prestaging
from reprise.contracts.events import Prestage
from reprise.contracts.model import Target, Workload
from reprise.contracts.model import after as earliest_after
from reprise.contracts.records import Fence
from reprise.restorer.model import (
    Again,
    Attempt,
    Good,
    Need,
    NodeView,
    Plan,
    PodNames,
    PodView,
    Route,
    Saga,
    Snapshot,
    Stop,
)
from reprise.restorer.nodes import Choice, choose_node
from reprise.restorer.outcomes import LOG_REMEDY
from reprise.restorer.placement import forgotten, tied

NOT_MOVABLE_REMEDY = "keep that in a volume that every node can mount, or bring its node back"
ROUTES: dict[str, Route] = {"ReplicaSet": "shadow", "StatefulSet": "same-name", "": "same-name"}
"""Off a node, by the kind of the pod's owner. What another one (a Job, an operator) would make in its place is not known."""
OWNER_REMEDY = "run it as a Deployment, a StatefulSet or a pod of its own"
SEVERAL_REMEDY = "name the one whose state counts in reprise.dev/containers: it comes back, and the others start anew beside it"
STEPS_BACK = 2
MOVE_ATTEMPTS = 4
DELAYS = 30
"""Attempts that a lost node's workload gets while no node can take it; the arbiter repeats its judgement with back-off."""
LEFT_OVER_S = 3600.0
"""What nobody names any more is left alone for so long."""


def plan(now: Snapshot) -> Plan | Stop:
    """Decide from one snapshot. The same snapshot gives the same plan."""
    match now.cause:
        case "crash" | "hang":
            return _away(now) if now.elsewhere else _in_place(now)
        case "restore":
            return _back(now)
        case "move":
            return _planned(now)
        case "node-loss":
            return _elsewhere(now)
    return Stop("NotNeeded", f"nothing is to be done for {now.cause}: its node restores it by itself", "nothing", "step-aside")


def _in_place(now: Snapshot) -> Plan | Stop:
    """Nothing is done: its kubelet restarts it, and the engine makes that a restore. What became of it is told."""
    if now.target.container_id in now.recovery.dead:
        return Stop("Replaced", "it was ended to be restored as somebody asked for", "nothing", "hand-over")
    if stop := may_go_on(now.target, now.pod, acts=False, fenced_by=now.fenced_by):
        return stop
    return Plan("in-place", now.target.node, "its node is healthy: the kubelet's own restart is the restore")


def _back(now: Snapshot) -> Plan | Stop:
    """To the checkpoint that somebody chose: what is newer is given up, but stays in the store."""
    if stop := may_go_on(now.target, now.pod, acts=True, fenced_by=now.fenced_by):
        return stop
    found = next((good for good in now.good if good.checkpoint_id == now.wanted), None)
    if found is None:
        return Stop("NoSuchCheckpoint", f"{now.wanted} is no good checkpoint that its pod can be restored from"
                    + (f": {now.unfit}" if now.unfit else ""), "`reprise history` lists them", "step-aside")  # fmt: skip
    return _from(Plan("rollback", now.target.node, "it was asked for"), found)


def _planned(now: Snapshot) -> Plan | Stop:  # noqa: PLR0911 one return per rule reads best
    """A planned move: everything that can be known is refused before anything stands still. Its checkpoint is yet to be taken."""
    pod = now.pod
    stop = may_go_on(now.target, pod, acts=True, fenced_by=now.fenced_by)
    if stop or pod is None:
        return stop or _gone()
    if stop := _no_next(pod):
        return stop
    if now.to == now.target.node:
        return Stop("AlreadyThere", f"it runs on {now.to}", "nothing", "step-aside")
    nodes = tuple(node for node in now.nodes if now.to in ("", node.name))
    if not nodes:
        return Stop("NoSuchNode", f"there is no node {now.to}", "`kubectl get nodes` lists them", "step-aside")
    if stop := _immovable(now, pod) or _leaves_behind(now.need):
        return replace(stop, outcome="step-aside")
    chosen = _onto(now, pod, nodes, now.need)
    if isinstance(chosen, Stop):
        return replace(chosen, outcome="step-aside", later=False)
    why = "it is the node that was asked for" if now.to else chosen.why
    size = now.good[0].size if now.good else 0
    return Plan(ROUTES[pod.owner_kind], chosen.node.name, _and_forgets(why, pod), source_uid=now.target.pod_uid,
                owner=pod.owner_name, size=size, kind=now.good[0].kind if now.good else "criu")  # fmt: skip


def _no_next(pod: PodView) -> Stop | None:
    """Why the next pod of this one's name would not come, or would be another program."""
    if pod.update_pending:
        return Stop("UpdatePending", f"{pod.owner_name} has another template by now ({pod.update_pending}), and the next pod may "
                    "be made of that", "roll the update out, or take it back, and ask again", "step-aside")  # fmt: skip
    if pod.finalizer and pod.owner_kind != "ReplicaSet":
        return Stop("NotMovable", f"its finalizer {pod.finalizer} keeps it once it is deleted, and the next pod needs its name",
                    "take the finalizer away", "step-aside")  # fmt: skip
    return None


def _away(now: Snapshot) -> Plan | Stop:
    """Off a node that is well, because it ended again soon after it was restored there: its memory may be the cause as well as
    its node. So it is moved with the checkpoint before the one that did not live, if there is one.
    """
    if stop := (_no_next(now.pod) if now.pod else None) or _leaves_behind(now.need):
        return stop
    older = tuple(good for good in now.good if good.checkpoint_id < now.restored_from)
    found = _elsewhere(replace(now, good=(*older, *(good for good in now.good if good not in older))))
    if isinstance(found, Stop) or not now.restored_from:
        return found
    return replace(found, why=f"it ended again soon after it was restored in place; {found.why}")


def _elsewhere(now: Snapshot) -> Plan | Stop:
    """Off a lost node."""
    pod = now.pod
    stop = may_go_on(now.target, pod, acts=True, fenced_by=now.fenced_by)
    if stop or pod is None:
        return stop or _gone()
    if stop := _immovable(now, pod):
        return stop
    found = next((good for good in now.good if good.checkpoint_id not in now.tried), None)
    if found is None:
        return _nothing_left(now)
    chosen = _onto(now, pod, now.nodes, found.need)
    if isinstance(chosen, Stop):
        return chosen
    why = f"{', '.join(now.tried)} did not come back: one further back, and {chosen.why}" if now.tried else chosen.why
    return _from(Plan(ROUTES[pod.owner_kind], chosen.node.name, _and_forgets(why, pod), owner=pod.owner_name), found, pod.uid)


def _immovable(now: Snapshot, pod: PodView) -> Stop | None:
    """What keeps it on its node, whatever other nodes there are: the same for a lost node and for a planned move."""
    if pod.protected > 1:
        return Stop("SeveralContainers", f"{pod.protected} containers of its pod are protected, and no checkpoint is of one "
                    "moment of them all: each would start cold", SEVERAL_REMEDY)  # fmt: skip
    if pod.owner_kind not in ROUTES:
        return Stop("OwnerNotSupported", f"a {pod.owner_kind}'s pod cannot be moved to another node", OWNER_REMEDY)
    if held := tied(pod.asks, now.target.node, alone=ROUTES[pod.owner_kind] == "same-name"):
        return Stop("NotMovable", f"its {held}", NOT_MOVABLE_REMEDY)
    return None


def _leaves_behind(need: Need) -> Stop | None:
    """Of what runs: it goes on where it is. What is lost with its node is tried all the same, and starts cold."""
    if not need.emptied:
        return None
    return Stop("NotMovable", f"it has a file open for writing on its emptyDir at {', '.join(need.emptied)}, which is empty on "
                "another node: CRIU would not restore it there",
                "keep that on the container's own file system, which comes along with a checkpoint")  # fmt: skip


def _onto(now: Snapshot, pod: PodView, nodes: tuple[NodeView, ...], need: Need) -> Choice | Stop:
    """The node that takes it: one on which the scheduler would put this very pod, and the checkpoint comes back."""
    chosen = choose_node(nodes, need, now.target.node, now.standby, dict(now.refused), pod.asks)
    if isinstance(chosen, Choice):
        return chosen
    remedy = "add a node that can, or make one of these able to"
    return Stop("NoStandby", f"no node can take it: {chosen}", remedy, later=True)


def _and_forgets(why: str, pod: PodView) -> str:
    lost = forgotten(pod.asks)
    return f"{why}; {lost}" if lost else why


def _from(plan: Plan, good: Good, pod_uid: str = "") -> Plan:
    """pod_uid: whose it is if nobody told."""
    return replace(plan, checkpoint_id=good.checkpoint_id, source_uid=good.pod_uid or pod_uid, size=good.size,
                   trace=good.traceparent, kind=good.kind)  # fmt: skip


def _nothing_left(now: Snapshot) -> Stop:
    if now.tried:
        message = f"{', '.join(now.tried)} did not come back, and there is no older checkpoint"
        if now.failed:
            return Stop(now.failed.reason, f"{message}: {now.failed.message}", now.failed.remedy)
        return Stop("RestoreFailed", message, LOG_REMEDY)
    if now.unfit:
        return Stop("Incompatible", f"no good checkpoint is of this pod's template: {now.unfit}; it starts cold",
                    "nothing, if its template was changed since: its next checkpoint fits")  # fmt: skip
    return Stop("NoCheckpoint", "there is no good checkpoint of this container yet: it starts cold",
                "see the workload's events for why none succeeded; `kubectl describe` it")  # fmt: skip


def may_go_on(  # noqa: PLR0911 one return per rule reads best
    target: Target, pod: PodView | None, *, acts: bool, fenced_by: str = ""
) -> Stop | None:
    """Asked before each step that acts, because the world goes on meanwhile: None is "carry on".

    acts: whether this failover changes anything; one that only watches the kubelet's own restart is in nobody's way.
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
    return None


def _gone() -> Stop:
    return Stop("PodGone", "the pod no longer exists", "nothing: its owner has replaced or removed it", "step-aside")


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


def misplaced(pod: PodView, saga: Saga) -> bool:
    """Whether the next pod of a name was put where it cannot be brought back: on the node that it was to leave (for 40 s the
    scheduler takes a lost one for a good one), or on another than was asked for.
    """
    return bool(pod.node) and (pod.node == saga.target.node or saga.to not in ("", pod.node))


def is_next(pod: PodView, saga: Saga) -> bool:
    """Whether the pod that has the name now is the one that goes on: this failover made it, or the old one's own controller did.
    Any other is somebody's own, however alike, and starts as they made it.
    """
    return pod.failover == saga.name or bool(saga.plan.owner and pod.owner_name == saga.plan.owner)


def changed(target: Target, pod: PodView | None) -> Stop | None:
    """Whether the process that a planned move is about is not the one that runs."""
    if pod and pod.container_id != target.container_id:
        return Stop("ContainerChanged", "its container was restarted meanwhile", "ask again", "step-aside", again=True)
    return None


HOLD_S = 20.0
HOLD_BYTES_S = 16 << 20


def hold_s(size: int) -> float:
    """How long a process may stand still for its move, not fenced yet: its dump must get into the store meanwhile.

    size: of the newest archive. Its node lets it run on after that, whatever became of us (I6).
    """
    return HOLD_S + size / HOLD_BYTES_S


def fetch_s(size: int) -> float:
    """How long a node may take for a checkpoint of this size that it has nothing of."""
    return size / HOLD_BYTES_S


def may_take(fence: Fence | None, number: int, saga: Saga) -> Stop | None:
    """Whether the pod's fence, which this number names, is this failover's to take (compare-and-set) or is its already.

    Only if nobody wrote it since the arbiter gave the node up, or since this failover let go of it: a node writes it
    before it thaws anything, so an instance that runs again is never joined by a second one (I1).
    """
    if fence and fence.holder == "restorer":
        return None if fence.failover_id == saga.failover_id else Stop(
            "OtherFailover", f"failover {fence.failover_id} has the pod's fence", "nothing", "hand-over")  # fmt: skip
    if number == saga.fence_revision:
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
    attempt = saga.attempt
    if stop.again and saga.moves and attempt.number < MOVE_ATTEMPTS:
        return Again(later=False, why=stop.message)
    if saga.planned:
        return None
    if stop.later and saga.moves and not saga.elsewhere and saga.delays < DELAYS:
        return Again(later=True, why=stop.message)
    if stop.poisoned and saga.moves and len(attempt.tried) < STEPS_BACK:
        return Again(later=False, why=stop.message)
    return None


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
        return record.at("plan", fence_revision=declared.fence_revision, judged_at=declared.declared_at)
    if record.step == "abandoned" and declared.fence_revision > record.fence_revision:
        return declared.at("plan", attempt=Attempt(record.attempt.number + 1))
    return None


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


def spent(record: Saga | Fence, pods: Iterable[PodNames], sagas: Iterable[Saga]) -> bool:
    """Whether nothing can ever ask for this record again: its pod is gone, and no failover of it runs.

    A UID never comes back. A fence keeps a node from thawing a pod that runs elsewhere; of one that the API server does not
    have, no node thaws anything (health-watcher's may_thaw), and no failover takes the fence (may_go_on): the record is needed
    only while there is a pod. A failover that waits for its node to be found lost again waits in vain: only what is there is.
    """
    uid = record.target.pod_uid if isinstance(record, Saga) else record.pod_uid
    return unneeded(uid, pods, sagas)


def unneeded(pod_uid: str, pods: Iterable[PodNames], sagas: Iterable[Saga]) -> bool:
    """Whether this pod is gone, and no failover of it, or that made it, runs."""
    running = [saga for saga in sagas if not saga.ended and saga.step != "wait"]
    made = [saga.attempt.restored.pod_uid for saga in running if saga.attempt.restored]
    busy = {*made, *(saga.target.pod_uid for saga in running)}
    return pod_uid not in busy and all(pod.uid != pod_uid for pod in pods)


def standing(pods: Iterable[PodNames], sagas: Iterable[Saga]) -> set[Workload]:
    """The workloads of which anything is left that could be moved to a standby."""
    return {pod.workload for pod in pods} | {saga.workload for saga in sagas if not saga.ended}
