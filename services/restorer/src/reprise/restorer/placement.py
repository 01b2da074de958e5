"""Whether the scheduler would let a pod run on a node, pure, and which of its volumes cannot come along.

A restored pod is created on its node by name, past the scheduler: whatever this lets through, only that node's kubelet
could still refuse, after the old instance was given up. Each refusal names what the pod asks and what the node has.
Source: Kubernetes pkg/scheduler/framework/plugins (nodeaffinity, tainttoleration, noderesources, nodeports, interpodaffinity),
staging/src/k8s.io/component-helpers/scheduling/corev1; preferences are left to whoever chooses among what is possible.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]
IMAGE_ID = re.compile(r"(sha256:)?[0-9a-f]{64}")
"""A runtime may tell a container's image by its id alone."""
MOST_LISTED_IMAGES = 50
"""A kubelet tells of so many images only (its nodeStatusMaxImages): from then on it says nothing that one is missing."""


@dataclass(frozen=True)
class Requirement:
    """Of one label (or field): operator is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.key} {self.operator}" + (f" {','.join(self.values)}" if self.values else "")

    def holds(self, labels: dict[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return _compares(value, self.operator, self.values)
        return False


def _compares(value: str | None, operator: str, values: tuple[str, ...]) -> bool:
    try:
        left, right = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right


Term = tuple[Requirement, ...]
"""All of them; a list of terms is met by any one. An empty term is met by nothing."""


@dataclass(frozen=True)
class Taint:
    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"{self.key}{f'={self.value}' if self.value else ''}:{self.effect}"


@dataclass(frozen=True)
class Toleration:
    """An empty key or effect tolerates every one."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.value == taint.value


@dataclass(frozen=True)
class Neighbours:
    """A required pod affinity's (or anti-affinity's) term. selector None selects nothing; namespaces empty: all."""

    topology_key: str
    selector: Term | None
    namespaces: tuple[str, ...]
    apart: bool

    def selects(self, pod: "Resident") -> bool:
        if self.selector is None or (self.namespaces and pod.namespace not in self.namespaces):
            return False
        return all(requirement.holds(dict(pod.labels)) for requirement in self.selector)


@dataclass(frozen=True)
class Volume:
    """tied: what keeps it on its node; empty if it can come along. terms: nodes that it can be used on; () for all.
    forgets: it comes along empty. follows: though it is tied, it comes along once no pod on its node uses it any more.
    """

    name: str
    tied: str = ""
    terms: tuple[Term, ...] = ()
    forgets: bool = False
    follows: bool = False


@dataclass(frozen=True)
class Placement:
    """What a pod asks of a node. requests: resources in their base unit, devices by their resource's name."""

    uid: str = ""
    selector: Labels = ()
    affinity: tuple[Term, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()
    requests: tuple[tuple[str, float], ...] = ()
    host_ports: tuple[tuple[str, int], ...] = ()
    neighbours: tuple[Neighbours, ...] = ()
    volumes: tuple[Volume, ...] = ()
    mounts: tuple[str, ...] = ()
    """Paths at which the container in question mounts something."""
    never_pulls: bool = False
    """The container's imagePullPolicy is Never."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Extended resources: the only ones with a domain in their name besides hugepages and Kubernetes' own."""
        return tuple(name for name, _ in self.requests if "/" in name)


@dataclass(frozen=True)
class Resident:
    """A pod that a node has already."""

    uid: str
    namespace: str
    labels: Labels
    requests: tuple[tuple[str, float], ...] = ()
    host_ports: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Site:
    """A node as placement sees it. free: what is allocatable less what its pods request; empty: unknown."""

    name: str = ""
    labels: Labels = ()
    taints: tuple[Taint, ...] = ()
    free: tuple[tuple[str, float], ...] = ()
    images: frozenset[str] = field(default_factory=frozenset)
    residents: tuple[Resident, ...] = ()

    def lacks_image(self, name: str) -> bool:
        """For certain."""
        return bool(self.images) and len(self.images) < MOST_LISTED_IMAGES and not any(same_image(i, name) for i in self.images)


def refused(asks: Placement, site: Site, everywhere: Iterable[Site] = ()) -> str:
    """Why this pod cannot run on this node; empty if it can. everywhere: all nodes, for topologies wider than a node."""
    rules: tuple[Callable[[], str], ...] = (
        lambda: _labels(asks, site),
        lambda: _taints(asks, site),
        lambda: _resources(asks, site),
        lambda: _ports(asks, site),
        lambda: _volumes(asks, site),
        lambda: _neighbours(asks, site, tuple(everywhere) or (site,)),
    )
    return next((why for rule in rules if (why := rule())), "")


def _labels(asks: Placement, site: Site) -> str:
    labels = dict(site.labels)
    for key, value in asks.selector:
        if labels.get(key) != value:
            return f"has {_shown(labels, key)}, the pod's nodeSelector wants {key}={value}"
    if asks.affinity is not None and not _meets(asks.affinity, site):
        return f"has {_has(asks.affinity, labels)}, the pod's nodeAffinity wants {_told(asks.affinity)}"
    return ""


def _meets(terms: tuple[Term, ...], site: Site) -> bool:
    labels = dict(site.labels) | {"metadata.name": site.name}
    return any(term and all(requirement.holds(labels) for requirement in term) for term in terms)


def _told(terms: tuple[Term, ...]) -> str:
    return " or ".join(" and ".join(map(str, term)) for term in terms) or "what no node has"


def _has(terms: tuple[Term, ...], labels: dict[str, str]) -> str:
    return ", ".join(dict.fromkeys(_shown(labels, r.key) for term in terms for r in term)) or "none of it"


def _shown(labels: dict[str, str], key: str) -> str:
    return f"{key}={labels[key]}" if key in labels else f"no {key}"


def _taints(asks: Placement, site: Site) -> str:
    """PreferNoSchedule is a preference. A cordoned node's own taint is told as that (decide.limitation)."""
    for taint in site.taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not any(t.tolerates(taint) for t in asks.tolerations):
            return f"has the taint {taint}, which the pod does not tolerate"
    return ""


def _resources(asks: Placement, site: Site) -> str:
    free = dict(site.free)
    if not free:
        return ""
    for name, wanted in asks.requests:
        if wanted > free.get(name, 0.0):
            return f"has {_amount(name, free.get(name, 0.0))} of {name} to give, the pod requests {_amount(name, wanted)}"
    return "" if free.get("pods", 1.0) >= 1 else "runs as many pods as it may, the pod is one more"


def _amount(name: str, amount: float) -> str:
    return f"{int(amount) >> 20} MiB" if name in ("memory", "ephemeral-storage") else f"{max(amount, 0):g}"


def _ports(asks: Placement, site: Site) -> str:
    used = {port for pod in site.residents if pod.uid != asks.uid for port in pod.host_ports}
    taken = [f"{port}/{protocol}" for protocol, port in asks.host_ports if (protocol, port) in used]
    return f"has its port {', '.join(taken)} in use, the pod wants it as hostPort" if taken else ""


def _volumes(asks: Placement, site: Site) -> str:
    for volume in asks.volumes:
        if volume.terms and not _meets(volume.terms, site):
            has = _has(volume.terms, dict(site.labels))
            return f"has {has}, the pod's volume {volume.name} can be used only where {_told(volume.terms)}"
    return ""


def _neighbours(asks: Placement, site: Site, everywhere: tuple[Site, ...]) -> str:
    """The pod itself does not count: it is to be replaced. Nor does the anti-affinity of others against it."""
    for term in asks.neighbours:
        value = dict(site.labels).get(term.topology_key)
        near = [each for each in everywhere if value is not None and dict(each.labels).get(term.topology_key) == value]
        met = any(term.selects(pod) for each in near for pod in each.residents if pod.uid != asks.uid)
        where = f"{term.topology_key}={value}" if value is not None else f"no {term.topology_key}"
        pods = " and ".join(map(str, term.selector or ())) or "any pod"
        if term.apart and met:
            return f"has, with {where}, a pod with {pods}, from which the pod's podAntiAffinity wants to be apart"
        if not term.apart and not met:
            return f"has, with {where}, no pod with {pods}, which the pod's podAffinity wants near"
    return ""


def tied(asks: Placement, node: str, *, alone: bool = False) -> str:
    """What keeps the pod on its node, whatever other nodes have; empty if nothing does. alone: it is gone there before another
    one starts elsewhere.
    """
    held = [f"volume {v.name} is {v.tied}" for v in asks.volumes if v.tied and not (alone and v.follows)]
    return f"{'; '.join(held)}: that stays on {node}, no other node has it" if held else ""


def forgotten(asks: Placement) -> str:
    """Volumes whose content is not moved, for the plan's reason; a process that has a file open there is not restored."""
    names = [v.name for v in asks.volumes if v.forgets]
    return f"what is in its volume{'s' if len(names) > 1 else ''} {', '.join(names)} is not moved" if names else ""


def same_image(one: str, other: str) -> bool:
    """Whether two names may mean one image. A tag, a digest and an image's id cannot be compared, so they may; nor can a short
    name's domain.
    """
    if not one or not other or IMAGE_ID.fullmatch(one) or IMAGE_ID.fullmatch(other):
        return True
    (name, tag, digest), (name2, tag2, digest2) = _parsed(one), _parsed(other)
    if digest and digest2:
        return digest == digest2
    same_name = name == name2 or name.endswith(f"/{name2}") or name2.endswith(f"/{name}")
    return same_name and (bool(digest or digest2) or tag == tag2)


def others_than(image: str, listed: Iterable[tuple[str, ...]]) -> frozenset[str]:
    """Names of images that are another one than this. listed: each image's names; if this is not among them nothing is known."""
    images = list(listed)
    mine = {name for names in images if any(_is(name, image) for name in names) for name in names}
    return frozenset(name for names in images for name in names) - mine if mine else frozenset()


def _is(name: str, image: str) -> bool:
    """Certainly the same name; a tag is not a digest."""
    return same_image(name, image) and ("@" in name) == ("@" in image)


def _parsed(image: str) -> tuple[str, str, str]:
    name, _, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    return f"{head}{slash}{base}", tag or "latest", digest
