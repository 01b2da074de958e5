"""How long a recovery would take, pure. One place for what was measured and where it comes from."""

from dataclasses import dataclass

CRASH_BASE_S = 1.0
"""`make bench ONLY=recovery.crash` on two slow cores: a killed process of 30 MiB served again after 1.00 s, median of 20."""
NODE_LOSS_BASE_S = 7.6
"""`make bench ONLY=recovery.node_loss`: without power, its workload staged on the standby: served after 7.56 s, median of 10."""
RESTORE_BYTES_PER_S = 1_000_000_000
"""CRIU read 1 GiB back in 1.19 s (`make bench ONLY=recovery.large`); a slow disk is slower."""
COLD_BYTES_PER_S = 80_000_000
"""Fetching a checkpoint that is not there yet: 12.9 s for 1 GB on two cores; not measured again since the engine came."""


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
