"""What checkpointer needs from outside."""

from collections.abc import Mapping
from typing import IO, Any, Protocol

from reprise.checkpointer.decide import Failure, Refusal
from reprise.contracts.model import Target
from reprise.contracts.state import StateApi
from reprise.runtime.nodefiles import DumpFile, RequestFile, StartFile
from reprise.runtime.stateapi import Access


class Kubelet(Protocol):
    async def checkpoint(self, namespace: str, target: Target) -> str | Refusal | Failure:
        """The archive's path on the node; what the kubelet answered instead; or why it did not answer."""
        ...


class Files(Protocol):
    """What the node's engine reads and writes (docs/node-files.md). Raises OSError."""

    def write_request(self, container_id: str, file: RequestFile) -> None: ...

    def remove_request(self, container_id: str) -> None: ...

    def read_dump(self, container_id: str) -> DumpFile | None: ...


class Freezer(Protocol):
    """The node's cgroup freezer; raises OSError."""

    def freeze(self, container_id: str) -> bool:
        """The container's whole pod; False if no process of the container is left."""
        ...

    def thaw(self, container_id: str) -> None: ...

    def thaw_alone(self, container_id: str) -> None:
        """Without its pod."""
        ...

    def is_frozen(self, container_id: str) -> bool:
        """Itself or by its pod."""
        ...


class Accesses(Protocol):
    """How a program that hands out its state is reached."""

    async def of(self, api: StateApi, namespace: str, ip: str) -> Access:
        """Raises CheckpointError."""
        ...


class Starts(Protocol):
    """How the node's engine started a container."""

    def read_start(self, container_id: str) -> StartFile | None: ...


class Slots(Protocol):
    """The node's slots; a home is `<namespace>/<pod uid>/<container>`. Raises OSError."""

    def live(self, home: str) -> str: ...

    def begin(self, home: str, checkpoint_id: str) -> IO[bytes]: ...

    def commit(self, home: str, checkpoint_id: str, state: IO[bytes], told: Mapping[str, Any]) -> None: ...

    def drop(self, home: str, checkpoint_id: str) -> None: ...
