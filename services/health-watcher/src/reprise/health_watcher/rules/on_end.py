"""What to do about a protected container that ended: declare a failover, and clear the kubelet's way.

The kubelet restarts a container at once the first time, and backs off from the second on within BACKOFF_S
(pkg/kubelet/kuberuntime, doBackOff: by the dead container's finish time). Only then the dead container is removed, which ends the
back-off; the damping of a fast crash loop is ours instead.
"""

from dataclasses import dataclass

BACKOFF_S = 600.0
SOON_S = 10.0
FREE_RESTARTS = 2
MOST_DELAY_S = 60.0


@dataclass(frozen=True)
class Death:
    """A protected container that ended. superseded: its successor was created already. told: an agent before this one, or long
    ago, told of it. expected: we ended it, so that it is restored. fenced: its pod is restored elsewhere.
    unnoticed: its process is gone, and the runtime takes it to run: CRI-O may for ever, if it ended during its checkpoint.
    since_last_end_s: since an instance of the same container ended here before; None: none did.
    """

    restart_policy: str
    exit_code: int
    pod_deleting: bool = False
    superseded: bool = False
    told: bool = False
    expected: bool = False
    fenced: bool = False
    unnoticed: bool = False
    since_last_end_s: float | None = None
    soon_in_a_row: int = 0


@dataclass(frozen=True)
class OnEnd:
    """remove_after_s: None: the dead container is left to the kubelet. final: it is not started again."""

    declare: bool
    final: bool
    remove_after_s: float | None
    why: str


def on_end(death: Death) -> OnEnd:
    """Return what to do; a container whose end is final, or whose pod is deleted, is nobody's failover."""
    final = is_final(death.restart_policy, death.exit_code)
    if why := _nobodys(death, final=final):
        # The kubelet waits for it, and its pod would stay.
        return OnEnd(False, final, 0.0 if death.unnoticed and death.pod_deleting else None, why)
    if death.superseded:
        return OnEnd(not death.expected, False, None, "the kubelet restarted it already")
    backs_off = death.since_last_end_s is not None and death.since_last_end_s < BACKOFF_S
    if death.expected:
        return OnEnd(False, False, 0.0 if backs_off else None, "it was ended for its restore")
    remove_after_s = removal_delay_s(death.soon_in_a_row) if backs_off else None
    return OnEnd(True, False, remove_after_s, "the kubelet would back off" if backs_off else "the kubelet restarts it at once")


def _nobodys(death: Death, *, final: bool) -> str:
    if death.pod_deleting:
        return "its pod is being deleted"
    if death.fenced:
        return "its pod is restored elsewhere"
    if death.superseded and death.told:
        return "its successor was started already"
    return f"restartPolicy {death.restart_policy}: its end is final" if final and not death.expected else ""


def is_final(restart_policy: str, exit_code: int) -> bool:
    """Whether the kubelet does not start it again."""
    return restart_policy == "Never" or (restart_policy == "OnFailure" and exit_code == 0)


def removal_delay_s(soon_in_a_row: int) -> float:
    """Return how long a dead container keeps its successor from starting. soon_in_a_row: instances that ended within SOON_S,
    this one included.
    """
    return min(2.0 ** (soon_in_a_row - FREE_RESTARTS - 1), MOST_DELAY_S) if soon_in_a_row > FREE_RESTARTS else 0.0
