"""What the restorer would do if a node died now: `GET /plans/NODE` of any of its replicas."""

from pydantic import AwareDatetime
from reprise.contracts.model import Frozen, Target, Workload


class Planned(Frozen):
    """Of one container: its planner's decision from what is so at this moment, and why.

    standby is empty if it would not be moved; then later tells whether that is tried again once a node can.
    """

    workload: Workload
    target: Target
    standby: str = ""
    checkpoint_id: str = ""
    why: str
    reason: str = ""
    remedy: str = ""
    later: bool = False
    at: AwareDatetime
