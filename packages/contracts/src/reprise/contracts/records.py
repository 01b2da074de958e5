"""Records in KV that more than one service has to do with, changed by compare-and-set. Not part of what subscribers read."""

from typing import Literal

from pydantic import BaseModel


class Fence(BaseModel):
    """Who may run a pod's containers: written by compare-and-set only, and kept, so that its revision tells of each writing.

    `restorer`: the pod's instance is given up, it may start elsewhere, and the node must never thaw it.
    `node`: the node came back first and runs on. `nobody`: a failover let go of it; whoever writes it next decides.
    """

    pod_uid: str
    holder: Literal["node", "restorer", "nobody"]
    failover_id: str = ""


class HoldRecord(BaseModel):
    """The last checkpoint of a process that is to go on from it: moved to another node, or armed. Under the checkpoint's id.

    restorer makes it `wanted` and removes it when it does not want it any more; the node takes it up (`begun`) and tells how
    it went. Whoever writes next decides whether the process may run on. A move: the pod's fence, of which fence_revision is the
    revision while the process stood still already. An arming, which needs no fence: this record, which restorer makes `taken`,
    or the node `failed`.
    """

    failover_id: str
    state: Literal["wanted", "begun", "held", "taken", "failed"] = "wanted"
    fence_revision: int = 0
    reason: str = ""
    message: str = ""
    remedy: str = ""


class StartRecord(BaseModel):
    """How the engine started a protected container, as its node's agent read it; under the container's id."""

    container_id: str
    pod_uid: str
    container: str
    outcome: Literal["restored", "blank", "cold", "refused"]
    checkpoint_id: str = ""
    frozen: bool = False
    """It does not run one instruction before failover.released."""
    reason: str = ""
    """Why it is blank, cold or refused."""


class Newest(BaseModel):
    """A workload's newest stored checkpoint of a container, of whichever pod and whosever clock named it."""

    checkpoint_id: str
