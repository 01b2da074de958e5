"""Records in KV that more than one service writes, by compare-and-set. Not part of what subscribers read."""

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
    """A planned move's last checkpoint, under the checkpoint's id.

    restorer makes it `wanted` and removes it when it does not want it any more; the node takes it up (`begun`) and tells how
    it went. fence_revision: of the pod's fence while the process stood still already: whoever writes the fence next decides.
    """

    failover_id: str
    state: Literal["wanted", "begun", "held", "failed"] = "wanted"
    fence_revision: int = 0
    reason: str = ""
    message: str = ""
    remedy: str = ""
