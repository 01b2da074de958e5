"""What checkpointer needs from outside."""

from typing import Protocol

from reprise.checkpointer.decide import Failure
from reprise.contracts.model import Target


class Kubelet(Protocol):
    async def checkpoint(self, namespace: str, target: Target) -> str | Failure:
        """The archive's path on the node, or why there is none."""
        ...


class Freezer(Protocol):
    """The node's cgroup freezer; raises OSError."""

    def hold(self, container_id: str) -> bool:
        """Of a container that is paused: whether it stays so, without a break, when the pause is ended."""
        ...

    def thaw(self, container_id: str) -> None: ...


class Dumps(Protocol):
    def mark(self, container_id: str) -> object:
        """Of the newest dump of this container; differs once CRIU has finished another one."""
        ...
