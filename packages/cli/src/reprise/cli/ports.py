"""What the commands need of the world."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
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

    def mover(self) -> "Mover": ...


@dataclass(frozen=True)
class Told:
    """A Kubernetes Event on a workload. name: its own; reason: CamelCase."""

    name: str
    reason: str
    message: str


@dataclass(frozen=True)
class Hosted:
    """A pod whose workload is protected."""

    namespace: str
    deployment: str
    pod: str
    node: str


class Mover(Protocol):
    """What a planned move needs of the cluster, with the user's rights. Raises ClusterError."""

    def annotations(self, namespace: str, deployment: str) -> dict[str, str]: ...

    def annotate(self, namespace: str, deployment: str, annotations: dict[str, str]) -> None: ...

    def told(self, namespace: str, deployment: str) -> list[Told]:
        """Kubernetes Events on it, oldest first."""
        ...

    def nodes(self) -> dict[str, bool]:
        """By name: whether it is cordoned."""
        ...

    def cordon(self, node: str) -> None: ...

    def hosted(self, node: str) -> list[Hosted]:
        """The protected pods of Deployments on a node that are not being deleted."""
        ...


class Workloads(Protocol):
    """The console's answer. Raises ConsoleError."""

    def __call__(self, namespace: str | None) -> list[dict[str, Any]]: ...


class Session(Protocol):
    """What a command is given."""

    def repository(self, *, keys: bool = False) -> AbstractContextManager[Repository]:
        """keys: what is stored is to be decrypted."""
        ...

    def copies(self) -> Copies: ...

    def console(self) -> AbstractContextManager[Workloads]: ...

    def mover(self) -> Mover: ...

    def namespace(self) -> str:
        """The one that is meant when none is named."""
        ...

    def require_namespace(self, name: str) -> None:
        """Raises ClusterError if the cluster is known and has no such namespace."""
        ...
