"""What the console knows beside rows, frozen."""

from dataclasses import dataclass

from reprise.contracts.events import Operation
from reprise.contracts.model import Workload


@dataclass(frozen=True)
class Asked:
    """An operation. workload: of a node, events.node_subject(). node: where it runs, or the node itself.

    to: of a move; empty: any node.
    """

    operation_id: str
    operation: Operation
    workload: Workload
    node: str
    user: str
    to: str = ""
