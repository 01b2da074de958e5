"""What health-watcher needs from outside."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from reprise.contracts.state import StateApi
from reprise.health_watcher.model import Exit, NodeLease
from reprise.runtime.cri import ContainerEvent as RuntimeEvent
from reprise.runtime.cri import RunningContainer, Status
from reprise.runtime.cri.client import State
from reprise.runtime.stateapi import Access


@dataclass(frozen=True)
class Look:
    """One listing of the runtime's containers. born: the ids of those that are new in it."""

    containers: tuple[RunningContainer, ...]
    born: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ended:
    """A container as it was when its end was noticed. lived_s: None if it ran before this agent did. witnessed: this agent saw it
    run.
    """

    container: RunningContainer
    noticed_after_s: float
    lived_s: float | None
    superseded: bool
    witnessed: bool


ContainerEvent = Look | Ended


class FreezerState(Protocol):
    """What the cgroup freezer shows. Anybody may look."""

    def runs(self, container_id: str) -> bool:
        """Whether it has a process that is not frozen."""
        ...

    def is_frozen(self, container_id: str) -> bool: ...

    def waiting_tracers(self, container_id: str) -> frozenset[int]:
        """The processes that trace one of this frozen container, and sleep in the kernel where no signal wakes them."""
        ...


class Freezer(FreezerState, Protocol):
    """The cgroup freezer. Only the reconciler touches it."""

    def limitation(self) -> str:
        """Why the containers of this node cannot be frozen from here; empty if they can."""
        ...

    def freeze(self, container_id: str) -> bool:
        """With its pod, whatever the kubelet does. True once it is frozen; False if no process is there. Raises OSError if it
        cannot be done.
        """
        ...

    def thaw(self, container_id: str) -> None:
        """Its pod too."""
        ...

    def thaw_alone(self, container_id: str) -> None:
        """Its own cgroup, and not its pod. Raises OSError."""
        ...

    def is_gone(self, container_id: str) -> bool:
        """Whether the kernel has no process of it any more."""
        ...

    def thaw_pod(self, pod_uid: str) -> None:
        """Whatever is left of it."""
        ...

    def kill(self, container_id: str) -> None:
        """So that no instruction of it runs any more. Where its pod is frozen it ends once that is thawed. Raises OSError."""
        ...


class Exits(Protocol):
    """What tells of containers' ends first."""

    def follow(self) -> AsyncIterator[Exit]:
        """Those from now on. Raises OSError, also where there is no such thing."""
        ...


class Runtime(Protocol):
    """The container runtime. Raises CriError."""

    async def list_containers(self, state: State | None = None) -> list[RunningContainer]: ...

    def events(self) -> AsyncIterator[RuntimeEvent]: ...

    async def status(self, container_id: str) -> Status: ...

    async def stop_container(self, container_id: str, grace_s: int = 0) -> None: ...

    async def remove_container(self, container_id: str) -> None: ...


class ResetTimer(Protocol):
    """The hardware watchdog."""

    armed_s: float
    """Its timeout; 0 while it is not armed."""


class LeaseTaken(Exception):
    """The arbiter has taken the node's lease of this generation away: the node was given up."""

    def __init__(self, generation: int) -> None:
        super().__init__(f"the lease of generation {generation} was taken away: this node was given up")
        self.generation = generation


class Renewal(Protocol):
    """One way to renew the node's lease. Raises LeaseTaken, and anything else if nobody knows whether it was renewed."""

    async def renew(self, lease: NodeLease) -> None: ...


class Listener(Protocol):
    """Who is told of the node's containers, in the order in which agent.py names them."""

    async def on_container(self, event: ContainerEvent) -> None: ...


class Logs(Protocol):
    """The containers' logs."""

    def tail(self, log_path: str) -> str:
        """The end of one; empty if it cannot be read."""
        ...


class Execs(Protocol):
    """Runs a command in a container: its exit code and output. Raises CriError."""

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: float) -> tuple[int, str]: ...


class Accesses(Protocol):
    """How a program that hands out its state is reached."""

    async def of(self, api: StateApi, namespace: str, ip: str) -> Access:
        """Raises CheckpointError."""
        ...


class PodLookup(Protocol):
    """The API server, asked afresh. Raises while it does not answer."""

    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        """Whether this very pod is there and is not being deleted."""
        ...

    async def fenced_by(self, namespace: str, name: str, uid: str) -> str:
        """The failover that this very pod says has it; empty: none."""
        ...
