"""What the cluster is made of: its container runtime, the cgroup version that its nodes see, its Kubernetes, and how many nodes
it has. Chosen at `up`.
"""

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from reprise_lab import versions
from reprise_lab.paths import BIN, CGROUP, COUNTS, KIND, NETNS, NODES_VARIABLE, set_nodes
from reprise_lab.shell import LabError

FILE = KIND


class Runtime(StrEnum):
    CRIO = "crio"
    CONTAINERD = "containerd"


class Cgroup(StrEnum):
    V1 = "v1"
    V2 = "v2"


class Kubernetes(StrEnum):
    V1_34 = "1.34"
    V1_37 = "1.37"

    @property
    def version(self) -> str:
        return versions.KUBERNETES if self is Kubernetes.V1_34 else versions.KUBERNETES_NEWEST

    @property
    def folder(self) -> str:
        """Of its programs, below bin/ on the host and /lab/bin on a node."""
        return "" if self is Kubernetes.V1_34 else f"kubernetes-{self}"


RUNTIME_VARIABLE = "REPRISE_LAB_RUNTIME"
CGROUP_VARIABLE = "REPRISE_LAB_CGROUP"
KUBERNETES_VARIABLE = "REPRISE_LAB_KUBERNETES"


@dataclass(frozen=True)
class Kind:
    """One choice of all."""

    runtime: Runtime = Runtime.CONTAINERD
    cgroup: Cgroup = Cgroup.V2
    kubernetes: Kubernetes = Kubernetes.V1_34
    nodes: int = COUNTS[0]

    def __str__(self) -> str:
        more = f", {self.nodes} nodes" if self.nodes != COUNTS[0] else ""
        return f"{self.runtime}, cgroup {self.cgroup} and Kubernetes {self.kubernetes}{more}"

    @property
    def replicated(self) -> bool:
        """Whether NATS and the store are on every node, and any node may be powered off."""
        return self.nodes >= 3

    @property
    def programs(self) -> Path:
        """Kubernetes' own, on the host."""
        return BIN / self.kubernetes.folder

    @property
    def socket(self) -> str:
        """Of the CRI, on a node."""
        return f"/run/{self.runtime}/{self.runtime}.sock"

    def pods(self, node: str) -> Path:
        """The host's folder below which a node's pods have their cgroups, one folder per container."""
        return CGROUP / ("unified" if self.cgroup is Cgroup.V2 else "freezer") / NETNS / node

    def container_folder(self, container_id: str) -> str:
        return f"crio-{container_id}" if self.runtime is Runtime.CRIO else container_id


DEFAULT = Kind()
"""What most clusters have."""


def recorded() -> Kind | None:
    """Of the lab that is up; None if there is none."""
    try:
        told = json.loads(FILE.read_text())
        # A lab that was booted before there was a choice of Kubernetes, or of nodes, has the default.
        kubernetes = Kubernetes(told.get("kubernetes", DEFAULT.kubernetes))
        return Kind(Runtime(told["runtime"]), Cgroup(told["cgroup"]), kubernetes, int(told.get("nodes", DEFAULT.nodes)))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise LabError(f"{FILE} cannot be read ({error}): `reprise-lab down`, then `up`") from error


def current() -> Kind:
    """Of the lab that is up; while it is down, what `up` would boot."""
    return recorded() or choose(None, None)


def choose(
    runtime: Runtime | None, cgroup: Cgroup | None, kubernetes: Kubernetes | None = None, nodes: int | None = None
) -> Kind:  # fmt: skip
    """What `up` is to boot: as told, else as the environment says, else what runs already, else the default."""
    running = recorded()
    base = running or DEFAULT
    try:
        chosen = Kind(
            runtime or Runtime(os.environ.get(RUNTIME_VARIABLE) or base.runtime),
            cgroup or Cgroup(os.environ.get(CGROUP_VARIABLE) or base.cgroup),
            kubernetes or Kubernetes(os.environ.get(KUBERNETES_VARIABLE) or base.kubernetes),
            _count(nodes or os.environ.get(NODES_VARIABLE) or base.nodes),
        )
    except ValueError as error:
        allowed = (
            f"{RUNTIME_VARIABLE} is crio or containerd, {CGROUP_VARIABLE} is v1 or v2, "
            f"{KUBERNETES_VARIABLE} is {' or '.join(Kubernetes)}, {NODES_VARIABLE} is {' or '.join(map(str, COUNTS))}"
        )
        raise LabError(f"{error}: {allowed}") from None
    if chosen.replicated and chosen.cgroup is Cgroup.V1:
        raise LabError(f"a lab of {chosen.nodes} nodes has cgroup v2 only: leave out --cgroup v1, or take two nodes")
    if running and chosen != running:
        raise LabError(f"the lab is up with {running}, not with {chosen}: `reprise-lab down` first")
    return chosen


def _count(told: int | str) -> int:
    """Raises ValueError."""
    if int(told) not in COUNTS:
        raise ValueError(f"{told} nodes")
    return int(told)


def record(kind: Kind) -> None:
    set_nodes(kind.nodes)
    new = FILE.with_suffix(".new")
    new.write_text(json.dumps(asdict(kind)))
    new.rename(FILE)
