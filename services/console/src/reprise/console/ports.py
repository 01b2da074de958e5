"""What the console needs from outside, beside its database and NATS."""

from typing import Protocol

from reprise.archive.inspection import Inspection
from reprise.console.access import Right, Who
from reprise.contracts.errors import RepriseError
from reprise.contracts.model import Workload
from reprise.contracts.plans import Planned
from reprise.contracts.records import WrongAnnotations


class OperationError(RepriseError):
    """What was asked for could not be begun."""


class Accounts(Protocol):
    """Whoever vouches for tokens. Raises access.Unavailable while it does not answer."""

    async def identify(self, token: str) -> Who:
        """Raises access.Denied."""
        ...

    async def allowed(self, who: Who, right: Right) -> bool: ...


class Cluster(Protocol):
    """The API server, where operations are asked for. Each is idempotent by its id. Raises OperationError."""

    async def checkpoint_now(self, workload: Workload, operation_id: str) -> None: ...

    async def move(self, workload: Workload, to: str, operation_id: str) -> None:
        """to: a node's name; empty: any."""
        ...

    async def restore(self, workload: Workload, checkpoint_id: str, operation_id: str) -> None: ...

    async def cordon(self, node: str, cordoned: bool) -> None:
        """Whether it takes new pods."""
        ...


class Planner(Protocol):
    """The restorer."""

    async def plans(self, node: str) -> tuple[Planned, ...] | None:
        """What it would do if this node died now; None if it does not tell."""
        ...


class Annotations(Protocol):
    """The scheduler."""

    async def wrong(self) -> WrongAnnotations | None:
        """Those that have no effect; None if it cannot be told now."""
        ...


class Inspections(Protocol):
    """What stored checkpoints hold. Raises StoreError, BadArchive, KeyUnavailable."""

    async def inspect(self, workload: Workload, container: str, checkpoint_id: str) -> Inspection | None:
        """None if it is not stored any more."""
        ...
