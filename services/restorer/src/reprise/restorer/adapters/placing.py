"""The API server's pods, nodes and claims as placement sees them (placement.py)."""

from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity
from reprise.restorer.adapters.taints import PREFIX
from reprise.restorer.placement import (
    Labels,
    Neighbours,
    Placement,
    Requirement,
    Resident,
    Site,
    Taint,
    Term,
    Toleration,
    Volume,
)

COMES_ALONG = ("config_map", "secret", "projected", "downward_api", "nfs", "azure_file", "cephfs", "glusterfs", "image")
"""Kinds of volumes that any node has, by V1Volume's attributes."""
SHARED = ("ReadWriteMany", "ReadOnlyMany")
MOUNTED_BY_KUBELET = ("/etc/hosts", "/dev/termination-log")


def placement_of(pod: Any, container: str, claims: Mapping[str, Volume]) -> Placement:
    """claims: the pod's volumes that are PersistentVolumeClaims, by the volume's name."""
    spec = pod.spec
    own = next((c for c in spec.containers if c.name == container), None)
    terms = _required(spec)
    return Placement(
        uid=pod.metadata.uid,
        selector=labels_of(spec.node_selector),
        affinity=terms,
        tolerations=tuple(
            Toleration(t.key or "", t.operator or "Equal", t.value or "", t.effect or "") for t in spec.tolerations or []
        ),
        requests=tuple(sorted(requests_of(spec).items())),
        host_ports=tuple(ports_of(pod)),
        neighbours=tuple(_neighbours(spec, pod.metadata.namespace)),
        volumes=tuple(_volume(v, claims) for v in spec.volumes or [] if _used(spec, v.name)),
        mounts=_mounts(own) if own else (),
        never_pulls=bool(own and own.image_pull_policy == "Never"),
    )


def resident_of(pod: Any) -> Resident:
    return Resident(
        pod.metadata.uid, pod.metadata.namespace, labels_of(pod.metadata.labels), tuple(requests_of(pod.spec).items()),
        tuple(ports_of(pod)),
    )  # fmt: skip


def site_of(node: Any, residents: tuple[Resident, ...]) -> Site:
    """residents: all that are on the node and have not ended."""
    free = {name: float(_number(amount)) for name, amount in (node.status.allocatable or {}).items()}
    for resident in residents:
        for name, amount in (*resident.requests, ("pods", 1.0)):
            free[name] = free.get(name, 0.0) - amount
    return Site(
        name=node.metadata.name,
        labels=labels_of(node.metadata.labels),
        taints=tuple(Taint(t.key, t.value or "", t.effect) for t in node.spec.taints or [] if not t.key.startswith(PREFIX)),
        free=tuple(sorted(free.items())),
        images=frozenset(name for image in node.status.images or [] for name in image.names or []),
        residents=residents,
    )


def labels_of(labels: Mapping[str, str] | None) -> Labels:
    return tuple(sorted((labels or {}).items()))


def requests_of(spec: Any) -> dict[str, float]:
    """The sum of its containers' requests, or its largest init container's, whichever is more; and its overhead.

    Source: Kubernetes staging/src/k8s.io/component-helpers/resource, PodRequests. A limit without a request is the request.
    """
    total: dict[str, float] = {}
    for container in spec.containers:
        for name, amount in _wants(container).items():
            total[name] = total.get(name, 0.0) + amount
    for container in spec.init_containers or []:
        aside = container.restart_policy == "Always"  # a sidecar runs beside the others
        for name, amount in _wants(container).items():
            total[name] = total.get(name, 0.0) + amount if aside else max(total.get(name, 0.0), amount)
    for name, amount in (spec.overhead or {}).items():
        total[name] = total.get(name, 0.0) + float(_number(amount))
    return total


def _wants(container: Any) -> dict[str, float]:
    resources = container.resources
    if resources is None:
        return {}
    merged = dict(resources.limits or {}) | dict(resources.requests or {})
    return {name: float(_number(amount)) for name, amount in merged.items()}


def ports_of(pod: Any) -> list[tuple[str, int]]:
    """On the host. A pod in the host's network has all of its ports there."""
    own = bool(pod.spec.host_network)
    ports = [port for container in pod.spec.containers for port in container.ports or []]
    numbers = [(port.protocol or "TCP", port.host_port or (port.container_port if own else 0)) for port in ports]
    return [(protocol, number) for protocol, number in numbers if number]


def terms_of(selector: Any) -> tuple[Term, ...]:
    """Of a V1NodeSelector; fields and labels of a term count together."""
    return tuple(
        tuple(
            Requirement(e.key, e.operator, tuple(e.values or ())) for e in (*(t.match_expressions or []), *(t.match_fields or []))
        )
        for t in selector.node_selector_terms or []
    )


def _required(spec: Any) -> tuple[Term, ...] | None:
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return terms_of(required) if required else None


def _neighbours(spec: Any, namespace: str) -> Iterable[Neighbours]:
    for kind, apart in (("pod_affinity", False), ("pod_anti_affinity", True)):
        rules = getattr(spec.affinity, kind) if spec.affinity else None
        for term in (rules.required_during_scheduling_ignored_during_execution or []) if rules else []:
            # A selector of namespaces needs their labels: taken for all of them where pods are to be apart.
            everywhere = term.namespace_selector is not None and apart
            names = () if everywhere else tuple(term.namespaces or (namespace,))
            yield Neighbours(term.topology_key, _selector(term.label_selector), names, apart)


def _selector(selector: Any) -> Term | None:
    if selector is None:
        return None
    equal = [Requirement(key, "In", (value,)) for key, value in (selector.match_labels or {}).items()]
    return (*equal, *(Requirement(e.key, e.operator, tuple(e.values or ())) for e in selector.match_expressions or []))


def _used(spec: Any, volume: str) -> bool:
    containers = [*spec.containers, *(spec.init_containers or [])]
    mounted = (m.name == volume for c in containers for m in c.volume_mounts or [])
    return any(mounted) or any(d.name == volume for c in containers for d in c.volume_devices or [])


def _volume(volume: Any, claims: Mapping[str, Volume]) -> Volume:
    if volume.host_path:
        return Volume(volume.name, tied=f"hostPath {volume.host_path.path}")
    if volume.empty_dir:
        return Volume(volume.name, forgets=True)
    if volume.persistent_volume_claim:
        return claims.get(volume.name, Volume(volume.name, tied=f"claim {volume.persistent_volume_claim.claim_name}, unknown"))
    if volume.ephemeral:
        # Its claim would wait for the scheduler, which a restored pod goes past.
        return Volume(volume.name, tied="a generic ephemeral volume")
    if volume.csi or any(getattr(volume, kind, None) for kind in COMES_ALONG):
        return Volume(volume.name)
    kinds = [name for name in volume.attribute_map if name != "name" and getattr(volume, name)]
    return Volume(volume.name, tied=f"of the kind {', '.join(kinds) or 'unknown'}, which one node has at a time")


def claimed(name: str, claim: Any | None, volume: Any | None) -> Volume:
    """A PersistentVolumeClaim and its volume as the API server has them; None if it has not."""
    if claim is None:
        return Volume(name, tied="a claim that does not exist")
    modes = claim.status.access_modes or claim.spec.access_modes or []
    title = f"claim {claim.metadata.name}"
    local = volume is not None and bool(volume.spec.local or volume.spec.host_path)
    required = volume.spec.node_affinity.required if volume is not None and volume.spec.node_affinity else None
    terms = terms_of(required) if required else ()
    if not any(mode in SHARED for mode in modes):
        # Bound already: the scheduler, which a restored pod goes past, has nothing to do with it any more.
        follows = volume is not None and not local
        return Volume(
            name, tied=f"{title} ({', '.join(modes) or 'no access mode'})", terms=terms if follows else (), follows=follows
        )
    if local:
        return Volume(name, tied=f"{title}, a local volume")
    return Volume(name, terms=terms)


def _mounts(container: Any) -> tuple[str, ...]:
    own = [m.mount_path.rstrip("/") or "/" for m in container.volume_mounts or []]
    log = container.termination_message_path
    return tuple(dict.fromkeys((*own, *MOUNTED_BY_KUBELET, *([log] if log else []))))


def _number(quantity: Any) -> Any:
    return parse_quantity(quantity)  # type: ignore[no-untyped-call]
