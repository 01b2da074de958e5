"""How long a recovery would take, pure. One place for what was measured and where it comes from."""

from dataclasses import dataclass

CRASH_BASE_S = 0.9
"""A killed 30 MiB process served again after 0.87 s, as measured before the engine."""
NODE_LOSS_BASE_S = 6.7
"""A node without power, its workload staged on the standby: 6.72 s until it served, as measured before the engine."""
RESTORE_BYTES_PER_S = 1_000_000_000
"""CRIU reads pages back at about the speed of memory and page cache; assumed, a slow disk is slower."""
COLD_BYTES_PER_S = 80_000_000
"""Fetching a checkpoint that is not there yet: 12.9 s for 1 GB on two cores, as measured before the engine."""


@dataclass(frozen=True)
class Expected:
    """Seconds from the fault until it serves with its state; None: there is nothing to recover from."""

    crash: float | None
    node_loss: float | None
    how: str


def expected_recovery(size_bytes: int | None, *, warm: bool, movable: bool = True) -> Expected:
    """size_bytes: of the newest stored checkpoint, None if there is none. warm: the standby holds it.
    movable: off a lost node.
    """
    if size_bytes is None:
        return Expected(None, None, "no checkpoint is stored yet: it would start blank")
    restore_s = size_bytes / RESTORE_BYTES_PER_S
    cold_s = 0.0 if warm else size_bytes / COLD_BYTES_PER_S
    rate = f"{RESTORE_BYTES_PER_S / 1e6:.0f} MB/s to restore"
    if movable and not warm:
        rate += f", and {COLD_BYTES_PER_S / 1e6:.0f} MB/s to fetch it on node loss"
    crash = round(CRASH_BASE_S + restore_s, 1)
    if not movable:
        return Expected(crash, None, f"{CRASH_BASE_S} s after a crash, plus its size at {rate}; it is not moved off a lost node")
    how = f"{CRASH_BASE_S} s after a crash, {NODE_LOSS_BASE_S} s after a lost node, plus its size at {rate}"
    return Expected(crash, round(NODE_LOSS_BASE_S + restore_s + cold_s, 1), how)
