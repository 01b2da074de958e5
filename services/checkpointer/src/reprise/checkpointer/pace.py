"""How much of a node its checkpoints may take, pure (I6: being protected is never worse than not being protected).

On a node whose programs have to wait for a CPU, checkpoints take at most SHARE of its capacity: they are taken one after the
other, and rest in between. On a node with CPUs to spare nothing is held back. Checkpoints that somebody waits for (a move, a
drain, `reprise checkpoint`) never rest; what they cost is made up for by the rest of the others.

Pressure is the kernel's own figure (PSI): the share of time in which a task that could run waited for a CPU, 0 to 1.
"""

from dataclasses import dataclass

AT_ONCE = 2
"""Checkpoints that are under way at once, on the largest node too: each pause grows with what else the disk is to write."""
SHARE = 0.25
"""Of a busy node's CPUs. The rest belongs to the workloads, the kubelet, the runtime, and the agents that renew the lease."""
COST = 2.0
"""Seconds of one core that a checkpoint costs for each second of the kubelet's call: while it lasts, CRIU, the runtime or the
kubelet keep about one core busy; afterwards transfer reads, compresses, encrypts and uploads. On containerd a small process costs
1 to 2 s of a core; that the call is half of it is an estimate. On a node that is busy a call takes longer, so it errs on the safe
side."""
CALM, BUSY = 0.7, 0.9
"""Pressure up to which nothing is held back, and from which the share holds. In between the rest grows in proportion, so that the
pace does not swing between the two. For two cores they are roughly 85 and 95 % of use (M/M/2: a task waits if three can run).
Less use than that harms nobody, and a checkpoint that is held back costs work if the program crashes."""
MOST_COUNTED_S = 20.0
"""Of one checkpoint. What takes longer mostly waits, for a disk or a program that does not answer: no other rests for that."""
MOST_WAITING = 128
"""On one node. Each is a message in hand, and NATS gives out no more than 256 of them: a move's must always be among them."""

Container = tuple[str, str]
"""A pod's UID and the container's name."""


@dataclass(frozen=True)
class Claim:
    """One due checkpoint that waits for its turn.

    demanded: somebody waits for it. first: the container has none yet. due_s: when it came due by this node's monotonic clock,
    one interval after the last one ended; -inf if none was taken here.
    """

    container: Container
    checkpoint_id: str
    demanded: bool
    first: bool
    due_s: float

    @property
    def order(self) -> tuple[bool, bool, float]:
        """Whose turn is first: what is demanded, then first checkpoints, then what is overdue for longest. As each of N others
        comes before it once at most, nobody waits for longer than N checkpoints and rests take, whatever the intervals are.
        """
        return not self.demanded, not self.first, self.due_s


def gives_way(waiting: Claim, newcomer: Claim) -> bool:
    """Whether one that waits is not worth its turn any more, because a newer one of its container is due or demanded."""
    if waiting.demanded or waiting.container != newcomer.container or waiting.checkpoint_id == newcomer.checkpoint_id:
        return False
    return newcomer.demanded or newcomer.checkpoint_id > waiting.checkpoint_id


def allowance(cores: int) -> float:
    """Seconds of checkpoints in each second that make up the SHARE of a node of so many cores."""
    return SHARE * cores / COST


def rest(pressure: float | None, cores: int) -> float:
    """How many seconds a node rests for each second that a checkpoint took there, without what may be under way at once.

    pressure: None if the kernel does not tell. Then the share always holds: the safe side, which on eight cores and more costs
    nothing but the second one at once.
    """
    strength = 1.0 if pressure is None else min(1.0, max(0.0, (pressure - CALM) / (BUSY - CALM)))
    return strength * max(0.0, 1.0 / allowance(cores) - 1.0)


def at_once(pressure: float | None, cores: int) -> int:
    """How many may be under way, if nobody waits for any of them."""
    if pressure is not None and pressure <= CALM:
        return AT_ONCE
    return max(1, min(AT_ONCE, int(allowance(cores))))


def owed_after(owed_s: float, passed_s: float, rest_per_s: float) -> float:
    """What is left of the seconds that a node has not rested for yet, after so much time."""
    return max(0.0, owed_s - passed_s / rest_per_s) if rest_per_s > 0 else 0.0


def may_start(claim: Claim, *, under_way: int, owed_s: float, pressure: float | None, cores: int) -> bool:
    """Whether the first in order may start now. owed_s: of what ended before, as owed_after() has it."""
    if claim.demanded:
        return under_way < AT_ONCE
    return under_way < at_once(pressure, cores) and owed_s <= 0.0
