"""What health-watcher needs from outside."""

from collections.abc import AsyncIterator
from typing import Protocol

from reprise.contracts.model import RestoreStats
from reprise.health_watcher.model import Exit


class Freezer(Protocol):
    """The cgroup freezer."""

    def limitation(self) -> str:
        """Why the containers of this node cannot be frozen from here; empty if they can."""
        ...

    def freeze(self, container_id: str) -> bool:
        """With its pod, whatever the kubelet does. True once it is frozen; False if no process is there. Raises OSError if it
        cannot be done.
        """
        ...

    def freeze_alone(self, container_id: str) -> bool:
        """Without its pod: whoever ends it may let it run for a moment. As freeze()."""
        ...

    def thaw(self, container_id: str) -> None:
        """Its pod too."""
        ...

    def thaw_alone(self, container_id: str) -> None: ...

    def is_gone(self, container_id: str) -> bool:
        """Whether the kernel has no process of it any more."""
        ...

    def thaw_pod(self, pod_uid: str) -> None:
        """Whatever is left of it."""
        ...

    def seal(self, pod_uid: str) -> None:
        """For good: no process is started in this pod any more. Raises OSError if that cannot be seen to."""
        ...

    def kill(self, container_id: str) -> None:
        """So that no instruction of it runs any more. Where its pod is frozen it ends once that is thawed. Raises OSError."""
        ...

    def runs(self, container_id: str) -> bool:
        """Whether it has a process that is not frozen."""
        ...

    def is_frozen(self, container_id: str) -> bool: ...

    def waiting_tracers(self, container_id: str) -> frozenset[int]:
        """The processes that trace one of this frozen container, and sleep in the kernel where no signal wakes them."""
        ...


class Exits(Protocol):
    """What tells of containers' ends first."""

    def follow(self) -> AsyncIterator[Exit]:
        """Those from now on. Raises OSError, also where there is no such thing."""
        ...


class RestoreFiles(Protocol):
    """What CRIU says of the restores on this node."""

    def follow(self) -> AsyncIterator[tuple[str, RestoreStats]]:
        """By container, from now on. Raises OSError, also where there is no such thing."""
        ...


class PodLookup(Protocol):
    """The API server, asked afresh. Raises while it does not answer."""

    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        """Whether this very pod is there and is not being deleted."""
        ...
