"""What the commands need of the world."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from reprise.archive.damage import Copies
from reprise.archive.repository import Repository
from reprise.cli.rotation import Seen
from reprise.contracts.errors import RepriseError
from reprise.contracts.model import Workload


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

    def forward(self, namespace: str, service: str, port: int, local: int = 0) -> AbstractContextManager[str]:
        """A port-forward of our own; gives host:port on this machine. local: the port here; 0: any."""
        ...

    def copies(self, namespace: str) -> Copies:
        """Packs that the nodes' transfer pods still hold."""
        ...

    def mover(self) -> "Mover": ...

    def objects(self) -> "Objects": ...

    def key_secret(self, namespace: str, name: str) -> "KeySecret": ...

    def support(self, namespace: str) -> "Support": ...


@dataclass(frozen=True)
class Told:
    """A Kubernetes Event on a workload. name: its own; reason: CamelCase."""

    name: str
    reason: str
    message: str


@dataclass(frozen=True)
class Hosted:
    """A pod whose workload is protected."""

    workload: Workload
    pod: str
    node: str

    @property
    def keeps_name(self) -> bool:
        """Off its node goes the next pod of its name; of a Deployment's the other one is made first."""
        return self.workload.kind != "Deployment"


class Mover(Protocol):
    """What a planned move needs of the cluster, with the user's rights. Raises ClusterError."""

    def told(self, workload: Workload) -> list[Told]:
        """Kubernetes Events on it, oldest first."""
        ...

    def nodes(self) -> dict[str, bool]:
        """By name: whether it is cordoned."""
        ...

    def cordon(self, node: str) -> None: ...

    def uncordon(self, node: str) -> None: ...

    def hosted(self, node: str) -> list[Hosted]:
        """The protected pods on a node that have not ended and are not being deleted."""
        ...

    def force_failovers(self, namespace: str, request: str) -> None:
        """Have the arbiter give up the lost nodes that its brake holds back. namespace: Reprise's; request: names the asking."""
        ...


@dataclass(frozen=True)
class Claimed:
    """A workload as it is in the cluster. spec: its pods', as JSON; selector: their labels. template: annotations of its pod
    template, which nobody reads.
    """

    workload: Workload
    annotations: dict[str, str]
    spec: dict[str, Any]
    replicas: int
    selector: dict[str, str]
    template: dict[str, str] = field(default_factory=dict)

    @property
    def containers(self) -> list[dict[str, Any]]:
        return list(self.spec.get("containers") or [])


@dataclass(frozen=True)
class PodFacts:
    """A pod that is not being deleted. ready, image_ids, images: by container."""

    name: str
    uid: str
    node: str
    phase: str
    ready: dict[str, bool]
    image_ids: dict[str, str]
    images: dict[str, str]


@dataclass(frozen=True)
class NodeFacts:
    """What a node says of itself. runtime: such as `cri-o://1.34.0`."""

    name: str
    ready: bool
    kubelet: str
    runtime: str
    kernel: str
    architecture: str
    os: str
    pressure: tuple[str, ...] = ()
    """Such as DiskPressure."""


class Objects(Protocol):
    """Workloads, pods and nodes, with the user's rights. Raises ClusterError."""

    def names(self, namespace: str) -> list[tuple[str, str]]:
        """Kind and name of all that can be protected."""
        ...

    def labelled(self, namespace: str | None, selector: str) -> list[tuple[str, str, str]]:
        """Namespace, kind and name of all with these labels; namespace None: of all."""
        ...

    def read(self, workload: Workload) -> Claimed: ...

    def annotate(self, workload: Workload, annotations: Mapping[str, str | None]) -> None:
        """None removes one."""
        ...

    def merge(self, workload: Workload, spec: Mapping[str, Any]) -> None:
        """Apply a strategic merge patch to the spec of its pod template, which replaces its pods."""
        ...

    def pods(self, claimed: Claimed) -> list[PodFacts]: ...

    def nodes(self) -> list[NodeFacts]: ...

    def configz(self, node: str) -> dict[str, Any]:
        """The kubelet's configuration; needs the right to get nodes/proxy."""
        ...

    def cgroup(self, node: str) -> int | None:
        """1 or 2, as its kubelet's metrics tell from Kubernetes 1.31; None if they do not. Needs the right to get nodes/proxy."""
        ...

    def may(self, account: str, namespace: str, verb: str, resource: str, subresource: str = "") -> bool:
        """Whether a service account has a right; needs the right to create subjectaccessreviews."""
        ...

    def running(self, namespace: str) -> list[tuple[str, str, bool]]:
        """Reprise's pods: service, node, whether it is ready."""
        ...

    def now(self) -> datetime:
        """By the cluster's clock."""
        ...


class KeySecret(Protocol):
    """The Secret of the key-encryption keys. Raises ClusterError."""

    def read(self) -> Seen: ...

    def pending(self) -> str:
        """The id of the key that a rotation is bringing in; empty without one."""
        ...

    def add(self, key_id: str, key: bytes) -> None:
        """Beside the others, and pending."""
        ...

    def switch(self, key_id: str) -> None:
        """Make it the active one."""
        ...

    def finish(self) -> None:
        """Nothing is pending any more."""
        ...

    def pods(self) -> dict[str, Seen | None]:
        """What each pod that mounts it has of it; None: it does not answer."""
        ...


@dataclass(frozen=True)
class Sent:
    """An event as it was sent. place: its sequence in the stream, to go on after it; event: the CloudEvent."""

    place: str
    event: dict[str, Any]


class Console(Protocol):
    """The console's answers. Filters that are empty are any. Raises ConsoleError."""

    def workloads(self, namespace: str | None) -> list[dict[str, Any]]: ...

    def forecast(self, node: str) -> dict[str, Any]:
        """What would happen to what it runs if it were lost or drained. Raises ConsoleError if it is not known."""
        ...

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


class Support(Protocol):
    """What a support bundle is made of, in Reprise's namespace. Raises ClusterError. Never asks for a Secret."""

    def version(self) -> dict[str, Any]:
        """The API server's."""
        ...

    def nodes(self) -> list[dict[str, Any]]: ...

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        """By kind: pods, Deployments, DaemonSets, StatefulSets, ConfigMaps' names and Leases, as the API has them."""
        ...

    def events(self) -> list[dict[str, Any]]: ...

    def logs(self, pod: str, container: str, *, previous: bool, since_s: int) -> str:
        """Empty if there is none."""
        ...

    def metrics(self, pod: str, port: int) -> str: ...

    def node_files(self, pod: str) -> str:
        """JSON: what the agent's node has below /run/reprise and which slots, without any content of these."""
        ...


class Session(Protocol):
    """What a command is given. named_namespace: that of -n; empty without."""

    named_namespace: str

    def choose(self, kubeconfig: str, context: str, namespace: str) -> None:
        """Which cluster and namespace; empty: as it was."""
        ...

    def repository(self, *, keys: bool = False) -> AbstractContextManager[Repository]:
        """keys: what is stored is to be decrypted."""
        ...

    def copies(self) -> Copies: ...

    def key_secret(self) -> KeySecret | None:
        """None: the environment names the keys."""
        ...

    def objects(self) -> Objects: ...

    def support(self) -> "Support": ...

    def console_address(self, local: int) -> AbstractContextManager[str]:
        """A URL for a browser, for as long as this lasts. local: the port on this machine; 0: any."""
        ...

    def console(self) -> AbstractContextManager[Console]: ...

    def stream(self) -> AbstractContextManager[Stream]: ...

    @property
    def system_namespace(self) -> str:
        """Where Reprise is deployed."""
        ...

    def mover(self) -> Mover: ...

    def namespace(self) -> str:
        """The one that is meant when none is named."""
        ...

    def require_namespace(self, name: str) -> None:
        """Raises ClusterError if the cluster is known and has no such namespace."""
        ...
