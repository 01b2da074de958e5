"""What scheduler needs from outside."""

from typing import Protocol

from reprise.runtime.kube import ProtectedPod
from reprise.scheduler.model import Protection


class Conditions(Protocol):
    """The pods' own conditions, at the API server. Never raises."""

    async def write(self, pod: ProtectedPod, found: Protection) -> bool:
        """False if it could not be written, or there is no such pod any more."""
        ...
