"""What the engine is to do when a protected container is created, and why the instance that runs must stand still, if it must.

Safety (I1), which this rule keeps together with the engine (docs/node-files.md) and the order in which reconciler.py acts:

1. A node whose lease has run out starts nothing: the engine compares `renewed_at_s` with `ttl_s` by itself, at each start.
2. As soon as the agent notices it, every verdict becomes `wait` (or stays `refuse`), *then* what runs is frozen.
3. A renewal that succeeds after that gets into node.json only when every verdict on disk is `wait` or `refuse` and everything
   that runs is frozen. So a lease that is held again never meets a verdict of the time before.
4. Each pod's fence is asked next. Whoever writes it first has the pod: if this node did, the verdict changes back, and only then
   the container is thawed. If the restorer did, the verdict is `refuse`, and the container stays frozen until it is ended.

Hence `restore` and `blank` need a lease that is held *and* a fence that is not somebody else's *and* no hold. A pod of which the
API server said, after the node's last isolation, that it did not exist yet, cannot have been given up: its fence is not asked,
so that new pods start while NATS is away (I6). An agent that starts anew goes by the verdicts that its predecessor left, if
they are of this boot, and asks the fences as soon as it can.
"""

from dataclasses import dataclass
from typing import Literal

from reprise.contracts.records import CRASH_LOOP, HAND_BACK
from reprise.health_watcher.model import Reason
from reprise.health_watcher.rules.on_failure import NEVER_COLD

Fence = Literal["unknown", "assumed", "ours", "theirs", "gone"]
"""Who has the pod. unknown: it has to be asked before anything of it starts or is thawed. assumed: as the verdict that was found
on disk says, not asked yet. theirs: a failover starts it elsewhere. gone: this pod is deleted, and may have been replaced.
"""


Next = Literal["", "unknown", "expected"]
"""Of a pod that may have the name of one that a failover deleted. unknown: it has to be asked. expected: it does, and is about to
be told what it starts from.
"""


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a pod was made to start from. missing: it does not lie on this node (yet). ahead: no failover needs the
    pod yet. distrust: why it is not believed to be this workload's.
    """

    slots: str
    checkpoint_id: str
    missing: bool = False
    ahead: bool = False
    distrust: str = ""


@dataclass(frozen=True)
class Snapshot:
    """All that decides about one protected container. stands: why the instance that runs stands still now."""

    slots: str
    lease_held: bool
    fence: Fence
    failover_id: str = ""
    hold: Literal["", "begun", "standing"] = ""
    """begun: its last checkpoint is asked for. standing: it was taken, and nothing has run since."""
    next: Next = ""
    origin: Origin | None = None
    released: bool = False
    restored_frozen: bool = False
    """The instance that runs was restored, and has not run yet."""
    cold: str = ""
    """Why its next start was announced to be a cold one."""
    rejected: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """The checkpoints that would be tried: the newest good one and the one before it."""
    stands: frozenset[Reason] = frozenset()
    deleting: bool = False
    hands_out: bool = False
    """Its checkpoints are states that it handed out itself: its agent hands them back, to a process that started plainly."""

    never_cold: bool = False
    """Its on-failure does not list cold."""


@dataclass(frozen=True)
class Verdict:
    """As docs/node-files.md has it."""

    verdict: Literal["restore", "blank", "refuse", "wait"]
    reason: str = ""
    slots: tuple[str, ...] = ()
    checkpoint_id: str = ""
    rejected: tuple[str, ...] = ()
    frozen: bool = False
    ahead: bool = False
    never_cold: bool = False


@dataclass(frozen=True)
class Decision:
    """frozen: why the instance that runs must stand still; empty: it runs. end: kill it where it stands."""

    verdict: Verdict
    frozen: frozenset[Reason] = frozenset()
    end: bool = False


def decide(of: Snapshot) -> Decision:
    """Return the verdict and the reasons; see the module for the argument."""
    frozen = _frozen(of)
    # What may never run again is killed while it is frozen: the kubelet and the runtime would let it run first, to end it.
    end = bool(frozen) and of.lease_held and (of.fence == "gone" or ("unreleased" in frozen and of.deleting))
    return Decision(_verdict(of), frozen, end)


def _verdict(of: Snapshot) -> Verdict:
    if why := _refused(of):
        return Verdict(verdict="refuse", reason=why)
    if why := _waits(of):
        return Verdict(verdict="wait", reason=why)
    return _pinned(of, of.origin) if of.origin and not of.released else _newest(of)


def _refused(of: Snapshot) -> str:
    if of.fence == "theirs":
        return f"restored elsewhere by {of.failover_id or 'a failover'}"
    if of.fence == "gone":
        return "its pod is deleted and may have been replaced already"
    return "its pod is being deleted" if of.deleting else ""


def _waits(of: Snapshot) -> str:
    if not of.lease_held:
        return "this node has no lease: it may have been given up"
    if of.fence == "unknown":
        return "this node asks first whether the pod was restored elsewhere"
    if of.next == "unknown":
        return "this node asks first whether a failover restores it"
    if of.next == "expected":
        return "a failover restores it, and is about to say from which checkpoint"
    return "it is being moved to another node" if of.hold else ""


def _pinned(of: Snapshot, origin: Origin) -> Verdict:
    """Nothing but that checkpoint, and it does not run before its failover is final (I9)."""
    if origin.distrust:
        return Verdict(verdict="refuse", reason=origin.distrust)
    if origin.missing:
        return Verdict(verdict="wait", reason=f"checkpoint {origin.checkpoint_id} is not on this node yet")
    slots = (of.slots, origin.slots)
    if of.hands_out and origin.ahead:
        return Verdict(verdict="wait", reason="it was made in case another node is given up, which is not decided")
    if of.hands_out:
        return Verdict(verdict="blank", reason=HAND_BACK, slots=slots, checkpoint_id=origin.checkpoint_id)
    return Verdict(verdict="restore", slots=slots, checkpoint_id=origin.checkpoint_id, frozen=True, ahead=origin.ahead)


def _newest(of: Snapshot) -> Verdict:
    if of.cold:
        return _cold(of, of.cold)
    if of.kept and set(of.kept) <= set(of.rejected):
        why = f"{CRASH_LOOP}its checkpoints did not live; see the end of its log for why"
        return _cold(of, why)
    slots = (of.slots, of.origin.slots) if of.origin else (of.slots,)
    if of.hands_out:
        return Verdict(
            verdict="blank", reason=HAND_BACK, slots=slots, rejected=of.rejected, never_cold=of.never_cold
        )  # fmt: skip
    return Verdict(verdict="restore", slots=slots, rejected=of.rejected, never_cold=of.never_cold)


def _cold(of: Snapshot, why: str) -> Verdict:
    if of.never_cold:
        return Verdict(verdict="refuse", reason=why.removeprefix(CRASH_LOOP) + NEVER_COLD)
    return Verdict(verdict="blank", reason=why, rejected=of.rejected)


def _frozen(of: Snapshot) -> frozenset[Reason]:
    found = set[Reason]()
    if of.fence in ("theirs", "gone"):
        found.add("fenced")
    elif not of.lease_held:
        found.add("isolated")
    elif of.fence == "unknown":
        found |= of.stands - {"unreleased", "held"}  # nothing is thawed before its fence was asked
        if of.stands and not found:
            found.add("isolated")
    if of.hold == "standing":
        found.add("held")
    if of.restored_frozen and of.origin and not of.released:
        found.add("unreleased")
    return frozenset(found)
