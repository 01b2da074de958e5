"""The rules of leases, of giving nodes up, of probes and gates: pure. rules/ has those of the node's own containers.

Safety (I1): a node freezes FREEZE_AFTER_S after the start of its last renewal that succeeded by *either* way (KV, or
a Kubernetes Lease), on its own CLOCK_BOOTTIME. The arbiter gives a node up only FREEZE_AFTER_S and a margin after it last
*saw* a renewal by either way, on its own CLOCK_BOOTTIME. A renewal is seen later than it started, so the node has the whole
margin to freeze before anyone may start a second instance. The margin is computed from how long freezing took on that node
(margin_s); a node that cannot freeze is never given up.
The arbiter reads the pods' fences first and takes both leases away after that, by compare-and-set on what it judged: a node
that thawed has renewed, then written the fence, then thawed, so either the renewal is seen, or what it writes later makes the
failover's compare-and-set fail.
A node may be paused as a whole (a hypervisor, a suspend, a host that stands still), and freezes nothing meanwhile. If its clock
sees that, it freezes as soon as it goes on; if its clock stood still too, it learns from its next renewal, which is refused, that
it was given up. How long what it runs may run beside its successor by then: window_s(), and docs/reliability.md.
Liveness (I6): losing only NATS, or only the API server, freezes nobody; an arbiter that does not see what it
writes itself among the leases, or cannot list the Kubernetes Leases, is blind: it judges nobody, and another replica leads.
"""

from dataclasses import dataclass, replace
from typing import Literal

from reprise.contracts.records import Fence, HoldRecord
from reprise.health_watcher.model import Gate, Held, Instance, LeaseView, ProbeCount

RENEW_EVERY_S = 1.0
FREEZE_AFTER_S = 3.0
FIRST_RENEWAL_S = 3.0
LEAST_MARGIN_S = 2.0
"""Also for a node that never had to freeze: then nothing is measured. 100 times what a small container takes."""
BEGIN_S = 0.5
"""From the moment that it must until freezing begins at the latest: the guard looks each 0.1 s."""
RESET_S = 1.0
"""Of a watchdog: it counts in whole seconds."""
SLOWER = 3.0
"""How much longer than ever measured freezing may take: a node that is cut off may be a busy one."""
LEAD_S = 3.0
"""So long before a silent node may be given up its kubelet is asked first. A powered-off one does not even refuse, which takes a
second to be known; the rest of the time is for what can be made ready, a pod and its restore."""
BLIND_AFTER_S = 2.5
FORGET_AFTER_S = 60.0
MOST_REPEAT_S = 60.0
FIRST_REPEAT_S = 5.0


def gate_of(instances: tuple[Instance, ...], before: str = "") -> Gate:
    """Whether a pod may be ready as far as its memory goes: all of its protected containers must. before: the condition's
    message; it names the instances that the gate was opened for, which an agent that restarts cannot know otherwise.
    """
    for one in instances:
        if not one.container_id:
            return Gate(False, "NotRunning", f"container {one.container} does not run")
        known = f"{one.container}={one.container_id[:12]}" in before
        if not (one.restored or one.first or one.cold or known):
            why = "was restarted without its memory; waits for its restore, or for a cold start to be announced"
            return Gate(False, "Blank", f"container {one.container} {why}")
    names = ", ".join(f"{one.container}={one.container_id[:12]}" for one in instances)
    if any(one.cold and not one.restored for one in instances):
        return Gate(True, "ColdStart", f"started without its memory, as was announced: {names}")
    if any(one.restored for one in instances):
        return Gate(True, "Restored", f"runs from a checkpoint: {names}")
    return Gate(True, "FirstStart", f"the pod's first instance: {names}")


def first_count(*, restored: bool) -> ProbeCount:
    """Of a container that is new. A restored process was healthy when it was checkpointed: once its grace is over, it counts."""
    return ProbeCount(was_healthy=restored)


def count_probe(count: ProbeCount, *, healthy: bool, frozen: bool) -> ProbeCount:
    """A failure while the container is frozen (a checkpoint is being taken) says nothing about the process."""
    if healthy:
        return ProbeCount(failures=0, was_healthy=True)
    return count if frozen else replace(count, failures=count.failures + 1)


def hangs(count: ProbeCount, failure_threshold: int) -> bool:
    """The pod's own threshold. A container that never was healthy is starting, not hanging: the kubelet judges it."""
    return count.was_healthy and count.failures >= failure_threshold


def cause_of_death(failures: int, failure_threshold: int) -> Literal["crash", "hang"]:
    """The kubelet runs the same probe beside ours and may be first: who ends one failure short of its threshold hung."""
    return "hang" if failures >= max(failure_threshold - 1, 1) else "crash"


def must_freeze(since_renewal_s: float, *, ever_renewed: bool) -> bool:
    """A node that never held a lease cannot be given up, so it need not freeze."""
    return ever_renewed and since_renewal_s >= FREEZE_AFTER_S


def patience_s(since_renewal_s: float, *, ever_renewed: bool, freeze_s: float) -> float:
    """How long an agent that starts tries to renew before it may freeze: what runs well is not to stand still for each update of
    its agent, but no node may be given up before it froze. So until freezing is due, as ever, if it is not yet; else for as much
    of the margin as freezing does not need. If no agent ran when that ended, only a node that was cut off just then is in danger:
    the double fault of docs/adr/0008, for which an agent that starts is too late anyway.
    """
    if not ever_renewed or since_renewal_s >= lost_after_s(freeze_s):
        return FIRST_RENEWAL_S
    due_s = FREEZE_AFTER_S if since_renewal_s < FREEZE_AFTER_S else lost_after_s(freeze_s) - needed_s(freeze_s)
    return max(0.0, due_s - since_renewal_s)


@dataclass(frozen=True)
class Judgement:
    """What the arbiter thinks of a node."""

    verdict: Literal["alive", "ask-kubelet", "suspected", "lost", "spared"]
    why: str


def margin_s(freeze_s: float) -> float:
    """How long a node is given to freeze. freeze_s: the longest that it took there since it booted; 0 if it never had to."""
    return max(LEAST_MARGIN_S, needed_s(freeze_s))


def needed_s(freeze_s: float) -> float:
    """How long freezing may take, from the moment that it is due."""
    return BEGIN_S + SLOWER * freeze_s


def lost_after_s(freeze_s: float, watchdog_s: float = 0.0) -> float:
    """Without a renewal for so long a node may be given up. With a hardware watchdog not before that has reset it: then it is
    safe also if its agent died at the same moment.
    """
    reset_s = watchdog_s + RESET_S if watchdog_s else 0.0
    return max(FREEZE_AFTER_S + margin_s(freeze_s), reset_s)


def window_s(freeze_s: float, *, clock_sees: bool) -> float:
    """For how long a node that was paused for longer than lost_after_s() runs what it ran, once it goes on, at the most.

    clock_sees: whether its CLOCK_BOOTTIME counted the pause. If not, its lease seems to last on: a renewal is refused within
    RENEW_EVERY_S and a round trip, and without an answer the lease runs out.
    """
    return (0.0 if clock_sees else FREEZE_AFTER_S) + needed_s(freeze_s)


def may_pet(since_renewal_s: float, *, ever_renewed: bool, all_frozen: bool) -> bool:
    """Whether the hardware watchdog is to leave this node running: nothing runs here that may run elsewhere soon."""
    return all_frozen or not must_freeze(since_renewal_s, ever_renewed=ever_renewed)


def judge(view: LeaseView) -> Judgement:
    """Lost only if silent for longer than the node needs to freeze itself, *and* its kubelet is unreachable.

    Suspected if only the time is missing: nothing may be started then, but what a failover would need may be made.
    """
    lost_after = lost_after_s(view.freeze_s, view.watchdog_s)
    if view.silent_s < (lost_after - LEAD_S if view.can_freeze else lost_after):
        return Judgement("alive", f"renewed {view.silent_s:.1f} s ago")
    if not view.can_freeze:
        return Judgement("spared", "its agent said that it cannot freeze containers: a second instance would be unsafe")
    if view.kubelet_reachable is None:
        return Judgement("ask-kubelet", f"no renewal seen for {view.silent_s:.1f} s")
    if view.kubelet_reachable:
        return Judgement("spared", "its kubelet answers: an agent that is dead or cut off is not a lost node")
    if view.silent_s < lost_after:
        return Judgement("suspected", f"no renewal seen for {view.silent_s:.1f} s, and its kubelet does not answer")
    return Judgement("lost", f"no renewal seen for {view.silent_s:.1f} s and its kubelet does not answer")


def sees(own_record_age_s: float, listing_age_s: float) -> bool:
    """Whether both ways of renewal are in view. Ages count from when our own record's writing, and the listing, *began*."""
    return own_record_age_s < BLIND_AFTER_S and listing_age_s < BLIND_AFTER_S


def is_vestige(silent_s: float, *, there: bool) -> bool:
    """Whether a node's lease is to be removed: the API server has no such Node any more, and nobody renews it."""
    return not there and silent_s >= FORGET_AFTER_S


def repeat_after_s(times: int) -> float:
    """When a node that stays lost is judged again, for what could not be failed over: with back-off."""
    return min(FIRST_REPEAT_S * 2.0**times, MOST_REPEAT_S)


@dataclass(frozen=True)
class Thaw:
    """Whether a container may run on: then the fence is written first (compare-and-set), and only then it is thawed."""

    may: bool
    why: str
    over: bool = False
    """It never may: it is to be ended where it stands, before its kubelet lets it run to end it."""


def may_thaw(fence: Fence | None, *, wanted: bool) -> Thaw:
    """wanted: the API server has this very pod, and it is not being deleted: else its owner may have replaced it already."""
    if fence and fence.holder == "restorer":
        return Thaw(False, f"failover {fence.failover_id} starts it elsewhere", over=not wanted)
    if not wanted:
        return Thaw(False, "its pod is gone or being deleted: it may have been replaced", over=True)
    return Thaw(True, "nobody else may start it")


def holds(held: Held, record: HoldRecord | None, now_s: float) -> bool:
    """Whether a container goes on standing still without being asked about. Afterwards may_thaw() rules: a move that has the
    fence by then keeps it, one that has not can never take it (its revision is another). What goes elsewhere after it ended
    is held back before there is a record.
    """
    if now_s >= held.until_s:
        return False
    return record.state in ("begun", "held") if record else held.goes_elsewhere and not held.standing
