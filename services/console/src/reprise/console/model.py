"""What the console knows beside rows, frozen."""

from dataclasses import dataclass
from datetime import datetime

from reprise.contracts.events import Operation
from reprise.contracts.model import Workload
from ulid import ULID


@dataclass(frozen=True)
class Asked:
    """An operation. workload: of a node, events.node_subject(). node: where it runs, or the node itself.

    to: of a move; empty: any node. checkpoint_id: of a restore.
    """

    operation_id: str
    operation: Operation
    workload: Workload
    node: str
    user: str
    to: str = ""
    checkpoint_id: str = ""


PREFIX = "op-"


def new_id() -> str:
    """Of an operation: one that is asked for twice under the same id is done once."""
    return f"{PREFIX}{str(ULID()).lower()}"


def asked_at(operation_id: str) -> datetime:
    """When an id was made. Raises ValueError."""
    return ULID.from_str(operation_id.removeprefix(PREFIX).upper()).datetime
