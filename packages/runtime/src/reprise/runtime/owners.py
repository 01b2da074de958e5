"""Which workload a pod belongs to. Imports no Kubernetes client: the CLI has another one than the services."""

from typing import Any

from reprise.contracts.model import Workload


def owner_of(pod: Any) -> Workload:
    """Return the workload of a V1Pod: a ReplicaSet's Deployment by the pod-template-hash in its name; the pod itself if neither a
    Deployment nor a StatefulSet owns it.
    """
    meta = pod.metadata
    owner = next((o for o in meta.owner_references or [] if o.controller), None)
    kind, name = "Pod", meta.name
    if owner and owner.kind == "ReplicaSet":
        hash_label = (meta.labels or {}).get("pod-template-hash", "")
        kind, name = "Deployment", owner.name.removesuffix(f"-{hash_label}")
    elif owner and owner.kind == "StatefulSet":
        kind, name = "StatefulSet", owner.name
    return Workload.model_construct(namespace=meta.namespace, kind=kind, name=name)
