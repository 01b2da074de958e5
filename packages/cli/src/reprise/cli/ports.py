"""What the commands need of the world."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from reprise.archive.checker import Copies
from reprise.archive.repository import Repository
from reprise.contracts.errors import RepriseError


class ClusterError(RepriseError):
    """The cluster cannot be reached, refuses, or does not have what is asked for."""


class ConsoleError(RepriseError):
    """The console does not answer, or not what it should."""


class Cluster(Protocol):
    """Through the user's kubeconfig and rights. Raises ClusterError."""

    @property
    def namespace(self) -> str:
        """The context's."""
        ...

    def has_namespace(self, name: str) -> bool: ...

    def secret(self, namespace: str, name: str) -> dict[str, bytes]: ...

    def forward(self, namespace: str, service: str, port: int) -> AbstractContextManager[str]:
        """A port-forward of our own; gives host:port on this machine."""
        ...

    def copies(self, namespace: str) -> Copies:
        """Packs that the nodes' transfer pods still hold."""
        ...


@dataclass(frozen=True)
class Sent:
    """An event as it was sent. place: its sequence in the stream, to go on after it; event: the CloudEvent."""

    place: str
    event: dict[str, Any]


class Console(Protocol):
    """The console's answers. Filters that are empty are any. Raises ConsoleError."""

    def workloads(self, namespace: str | None) -> list[dict[str, Any]]: ...

    def rows(self, table: str, filters: Mapping[str, str], most: int) -> list[dict[str, Any]]:
        """The newest first. table: checkpoints, failovers or events."""
        ...

    def tail(self, filters: Mapping[str, str], after: str = "") -> Iterator[Sent]:
        """Events as they happen, after that place; ends only by raising."""
        ...


class Stream(Protocol):
    """The event stream itself. Raises ClusterError."""

    def replay(self, subject: str, since: datetime) -> Iterator[Sent]:
        """What it holds since then, oldest first; ends with what is the last one now."""
        ...


class Session(Protocol):
    """What a command is given."""

    def repository(self, *, keys: bool = False) -> AbstractContextManager[Repository]:
        """keys: what is stored is to be decrypted."""
        ...

    def copies(self) -> Copies: ...

    def console(self) -> AbstractContextManager[Console]: ...

    def stream(self) -> AbstractContextManager[Stream]: ...

    def namespace(self) -> str:
        """The one that is meant when none is named."""
        ...

    def require_namespace(self, name: str) -> None:
        """Raises ClusterError if the cluster is known and has no such namespace."""
        ...
