"""What checkpointer needs from outside."""

from typing import Protocol

from reprise.checkpointer.decide import Failure
from reprise.contracts.model import Target


class Kubelet(Protocol):
    async def checkpoint(self, namespace: str, target: Target) -> str | Failure:
        """The archive's path on the node, or why there is none."""
        ...
