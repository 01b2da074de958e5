"""Records in KV that more than one service has to do with, changed by compare-and-set. Not part of what subscribers read."""

import secrets
from typing import ClassVar, Literal

from pydantic import BaseModel
from reprise.contracts.model import Workload


class Fence(BaseModel):
    """Who may run a pod's containers: written by compare-and-set only, and kept, so that its number tells of each writing.

    `restorer`: the pod's instance is given up, it may start elsewhere, and the node must never thaw it.
    `node`: the node came back first and runs on. `nobody`: a failover let go of it; whoever writes it next decides.
    """

    pod_uid: str
    holder: Literal["node", "restorer", "nobody"]
    failover_id: str = ""
    number: int = 0
    """Of this writing of it; 0: an older version wrote it, and its revision counts instead. A revision is no name: a NATS that
    was set back (a power loss, a restored disk) gives the same ones again, to others.
    """

    def named(self, revision: int) -> int:
        """What events and sagas call `fence_revision`. revision: that it was read at."""
        return self.number or revision


def next_number(before: int) -> int:
    """Of the next writing of a fence: greater than the one before, and never given twice, whatever was forgotten in between.
    before: 0 if there is none. Fits a double's 53 bits.
    """
    return ((before >> RANDOM_BITS) + 1 << RANDOM_BITS) | secrets.randbits(RANDOM_BITS)


RANDOM_BITS = 32


FORCE = "reprise-failover-force"
"""A Kubernetes Lease in Reprise's namespace: its holder names the newest request to fail over in spite of the brake."""


class HoldRecord(BaseModel):
    """The last checkpoint before a move, from which the process goes on elsewhere. Under the checkpoint's id.

    Of a container that has ended, and goes elsewhere with a checkpoint that is there (FailoverDeclared.elsewhere), its node makes
    the record, as `held` and under the failover's name, and restorer removes it.

    restorer makes it `wanted` and removes it when it does not want it any more; the node takes it up (`begun`) and tells how it
    went (`held` or `failed`). Whoever writes the pod's fence next decides whether the process may run on; fence_revision is the
    fence's number while the process already stood still.
    """

    failover_id: str
    state: Literal["wanted", "begun", "held", "failed"] = "wanted"
    fence_revision: int = 0
    reason: str = ""
    message: str = ""
    remedy: str = ""


UNREADABLE_HOLD = HoldRecord(
    failover_id="", state="failed", reason="RecordUnreadable", message="the record of its last checkpoint cannot be read",
    remedy="see docs/runbooks.md#repriserecordunreadable, and ask again",
)  # fmt: skip
"""What counts instead: nothing stands still for a record that nobody can read. Its fence decides whether it may run."""

CRASH_LOOP = "CrashLoop: "
"""How the reason of a start begins that is cold because what was restored ended again and again. The rest is what happened, `; `,
and what to do. Through the engine's files it passes as text (docs/node-files.md).
"""


HAND_BACK = "it starts plainly; its state is handed back through its own API"
"""The reason of a verdict `blank`, and so of a start, of a container of mode http. Nobody counts such a start before its node's
agent has settled what came of that (docs/node-files.md).
"""


class StartRecord(BaseModel):
    """How the engine started a protected container, as its node's agent read it; under the container's id."""

    container_id: str
    pod_uid: str
    container: str
    outcome: Literal["restored", "blank", "cold", "refused", "starting"]
    """starting, of mode http: it runs, and has not been given its state back yet; the record is written again."""
    checkpoint_id: str = ""
    frozen: bool = False
    """It does not run one instruction before failover.released."""
    reason: str = ""
    """Why it is blank, cold or refused."""


class ResumeRecord(BaseModel):
    """The next pod of this name goes on from a checkpoint of the one before it; under `<namespace>.<pod>`. Written before that
    one is deleted, so that no node starts the next one blank before it was told what to start from.
    """

    pod_uid: str
    """Of the pod that is deleted: any other of this name is the next one."""
    checkpoint_id: str
    workload: Workload
    failover_id: str
    body: str = ""
    """The next pod as it is to be created: JSON, made of the pod that is deleted."""
    wait_s: float = 300.0
    """After so long a next pod of which nobody has said what it starts from starts without it."""


class Newest(BaseModel):
    """A workload's newest stored checkpoint of a container, of whichever pod and whosever clock named it."""

    checkpoint_id: str


class RollbackRecord(BaseModel):
    """A checkpoint that is gone back to, on its pod's own node; in bucket `wanted` by the workload's container, until that is
    done or given up. What is taken meanwhile is of the instance that is given up: it is stored, and not restored.
    """

    failover_id: str
    node: str
    checkpoint_id: str
    ready: bool = False
    """It is live on the node."""


NOTHING_WANTED = RollbackRecord(failover_id="", node="", checkpoint_id="")
"""What counts instead of one that cannot be read."""


class Question(BaseModel):
    """Asked of a node's agent over NATS, without the stream: is this container healthy? container_id: the instance that is meant;
    empty: whichever runs. What is run for it is never in the question: the agent knows the pod's own probes.
    """

    pod_uid: str
    container: str
    container_id: str = ""


class Checkup(BaseModel):
    """What the agent answers. told: False if it did not."""

    healthy: bool
    detail: str
    runs: bool = True
    grace_s: float = 0.0
    """For so long its livenessProbe does not count yet, by its own spec."""
    tolerated_s: float = 0.0
    """For so long its kubelet lets it fail its livenessProbe before it ends it; 0: it has none, so it does not end it."""
    told: bool = True


class WrongAnnotation(BaseModel):
    """An annotation that could not be used or that nobody reads, and the object that it is on, of whatever kind."""

    namespace: str
    kind: str
    name: str
    annotation: str
    value: str
    message: str


class WrongAnnotations(BaseModel):
    """All that are there now; scheduler writes them, under ALL, for the console. left_out: how many more there are."""

    ALL: ClassVar[str] = "all"
    found: tuple[WrongAnnotation, ...] = ()
    left_out: int = 0
