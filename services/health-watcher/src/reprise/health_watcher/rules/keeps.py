"""Whether a process that was started without its state, while its node's agent was away, keeps what it has done since.

What it did counts if it may have served: handing its state back would undo that. Nobody was sent to it if the readiness gate was
closed since before it started. What it did within one interval is no more than what a crash costs at any time. A pod that a
failover made has to have that very checkpoint, and where on-failure has no `cold` nothing counts that is done without its state.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Unwatched:
    """alone_s: for so long it ran before an agent saw it. gate_closed: since before it started. must_have_it: as above."""

    alone_s: float
    interval_s: float
    gate_closed: bool = False
    must_have_it: bool = False


def may_keep(of: Unwatched) -> bool:
    """If it answers at once, too: what has not answered yet has not served."""
    return of.alone_s > of.interval_s and not of.gate_closed and not of.must_have_it
