"""What scheduler needs from outside."""

from typing import Protocol

from reprise.contracts.model import Workload
from reprise.runtime.kube import ProtectedPod
from reprise.runtime.kv import key
from reprise.scheduler.model import Protection


class Conditions(Protocol):
    """The pods' own conditions, at the API server. Never raises."""

    async def write(self, pod: ProtectedPod, found: Protection) -> bool:
        """False if it could not be written, or there is no such pod any more."""
        ...


def newest_key(workload: Workload, container: str) -> str:
    """In the bucket `newest`."""
    return key(workload.namespace, workload.kind, workload.name, container)
