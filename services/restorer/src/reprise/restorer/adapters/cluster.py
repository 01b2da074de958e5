"""The API server: pods, nodes, and the shadow-and-adopt moves on a ReplicaSet."""

import time
from typing import Any

from kubernetes.aio import client
from kubernetes.utils.quantity import parse_quantity
from reprise.contracts.errors import RecoveryError
from reprise.contracts.images import LIVE_ID_ANNOTATION, parse_live
from reprise.contracts.model import Target, Workload
from reprise.restorer.model import NodeView, PodView
from reprise.restorer.ports import shadow_name
from reprise.runtime.kube import ProtectedPods, protected
from reprise.runtime.probe import Verdict, check

HASH_LABEL = "pod-template-hash"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
FAILOVER_ANNOTATION = "reprise.dev/failover"
REQUESTED_S = 30.0
STRATEGIC = "application/strategic-merge-patch+json"


class KubernetesCluster:
    """Implements ports.Cluster."""

    def __init__(self, api: client.ApiClient, pods: ProtectedPods) -> None:
        self._core: Any = client.CoreV1Api(api)
        self._apps: Any = client.AppsV1Api(api)
        self._pods = pods
        self._requested_bytes: dict[str, int] = {}
        self._requested_at = float("-inf")

    async def _read(self, namespace: str, name: str) -> Any | None:
        try:
            return await self._core.read_namespaced_pod(name, namespace)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise RecoveryError(f"{error.reason}", subject=f"pod {namespace}/{name}", retryable=True) from error

    async def pod(self, namespace: str, name: str, container: str) -> PodView | None:
        found = await self._read(namespace, name)
        if found is None:
            return None
        spec = next((c for c in found.spec.containers if c.name == container), None)
        status = next((s for s in found.status.container_statuses or [] if s.name == container), None)
        owner = next((o for o in found.metadata.owner_references or [] if o.controller), None)
        return PodView(
            uid=found.metadata.uid,
            name=name,
            deleting=found.metadata.deletion_timestamp is not None,
            image=spec.image if spec else "",
            container_id=(status.container_id or "").rpartition("/")[2] if status else "",
            owner_kind=owner.kind if owner else "",
            owner_name=owner.name if owner else "",
            live_id=(found.metadata.annotations or {}).get(LIVE_ID_ANNOTATION, found.metadata.uid),
        )

    async def nodes(self) -> tuple[NodeView, ...]:
        listed = await self._core.list_node()
        hosted = [pod.node for pod in self._pods.pods.values()]
        taken = await self._requested()
        return tuple(
            NodeView(
                name=node.metadata.name,
                ready=any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or []),
                schedulable=not node.spec.unschedulable,
                architecture=node.status.node_info.architecture,
                protected_pods=hosted.count(node.metadata.name),
                runtime=node.status.node_info.container_runtime_version.partition(":")[0],
                free_bytes=_bytes(node.status.allocatable["memory"]) - taken.get(node.metadata.name, 0),
            )
            for node in listed.items
        )

    async def _requested(self) -> dict[str, int]:
        """Bytes of memory that the pods of each node request; at most REQUESTED_S old: it is asked for at each checkpoint."""
        if time.monotonic() - self._requested_at > REQUESTED_S:
            found: dict[str, int] = {}
            listed = await self._core.list_pod_for_all_namespaces(field_selector="status.phase!=Succeeded,status.phase!=Failed")
            for pod in listed.items:
                requests = [c.resources.requests or {} for c in pod.spec.containers if c.resources]
                total = sum(_bytes(r["memory"]) for r in requests if "memory" in r)
                found[pod.spec.node_name or ""] = found.get(pod.spec.node_name or "", 0) + total
            self._requested_bytes, self._requested_at = found, time.monotonic()
        return self._requested_bytes

    async def set_image(self, namespace: str, pod: str, container: str, image: str) -> None:
        body = {"spec": {"containers": [{"name": container, "image": image}]}}
        try:
            await self._core.patch_namespaced_pod(pod, namespace, body, _content_type=STRATEGIC)
        except client.ApiException as error:
            raise RecoveryError(
                f"its image could not be set: {error.reason}", subject=f"pod {namespace}/{pod}",
                retryable=error.status in (409, 429) or (error.status or 0) >= 500,
            ) from error  # fmt: skip

    async def create_shadow(self, target: Target, workload: Workload, failover_id: str, standby: str, image: str) -> None:
        old = await self._read(workload.namespace, target.pod)
        if old is None:
            raise RecoveryError("it is gone: its owner has replaced it", subject=f"pod {workload.namespace}/{target.pod}")
        owner = next(o for o in old.metadata.owner_references if o.controller)
        replica_set = await self._apps.read_namespaced_replica_set(owner.name, workload.namespace)
        body = shadow_of(replica_set.spec.template, workload, target, failover_id, standby, image)
        try:
            await self._core.create_namespaced_pod(workload.namespace, body)
        except client.ApiException as error:
            if error.status == 409:
                return
            raise RecoveryError(
                f"the restored pod could not be created: {error.reason} {str(error.body)[:300]}",
                subject=str(workload), retryable=(error.status or 0) >= 500,
            ) from error  # fmt: skip

    async def healthy(self, namespace: str, pod: str, target: Target) -> Verdict:
        found = await self._read(namespace, pod)
        if found is None:
            return Verdict(False, "the pod does not exist")
        status = next((s for s in found.status.container_statuses or [] if s.name == target.container), None)
        if status is None or not found.status.pod_ip:
            return Verdict(False, f"the pod is {found.status.phase}")
        current = (status.container_id or "").rpartition("/")[2]
        if not (status.state and status.state.running) or current == target.container_id:
            waiting = status.state.waiting if status.state else None
            return Verdict(False, f"{waiting.reason}: {waiting.message}" if waiting else "the old container is shown")
        view = protected(found, Workload(namespace=namespace, kind="Pod", name=pod), _any_policy(target.container))
        container = view.containers[0]
        probe = container.liveness or container.readiness
        return await check(probe, view.ip, container.ports) if probe else Verdict(True, "running; it has no probe")

    async def adopt(self, target: Target, workload: Workload, failover_id: str) -> bool:
        """The old pod is made the cheapest to delete first: with both Ready the newer one would go otherwise."""
        shadow = await self._read(workload.namespace, shadow_name(workload, failover_id))
        if shadow is None:
            raise RecoveryError("the restored pod is gone", subject=shadow_name(workload, failover_id))
        if any(o.controller for o in shadow.metadata.owner_references or []):
            return True
        old = await self._read(workload.namespace, target.pod)
        if old is not None and old.metadata.uid == target.pod_uid and HASH_LABEL in (old.metadata.labels or {}):
            await self._annotate(workload.namespace, target.pod, {DELETION_COST: "-100"})
            label = {"metadata": {"labels": {HASH_LABEL: old.metadata.labels[HASH_LABEL]}}}
            await self._core.patch_namespaced_pod(shadow.metadata.name, workload.namespace, label, _content_type=STRATEGIC)
        return False

    async def _annotate(self, namespace: str, pod: str, annotations: dict[str, str]) -> None:
        body = {"metadata": {"annotations": annotations}}
        await self._core.patch_namespaced_pod(pod, namespace, body, _content_type=STRATEGIC)

    async def discard_shadow(self, workload: Workload, failover_id: str) -> None:
        try:
            await self._core.delete_namespaced_pod(shadow_name(workload, failover_id), workload.namespace, grace_period_seconds=0)
        except client.ApiException as error:
            if error.status != 404:
                raise


def _bytes(quantity: str) -> int:
    return int(parse_quantity(quantity))  # type: ignore[no-untyped-call]


def shadow_of(template: Any, workload: Workload, target: Target, failover_id: str, standby: str, image: str) -> Any:
    """The ReplicaSet's own template, without the hash that would make the ReplicaSet count it, on the standby."""
    spec = template.spec
    for container in spec.containers:
        if container.name == target.container:
            container.image, container.image_pull_policy = image, "IfNotPresent"
    spec.node_name = standby
    labels = {k: v for k, v in (template.metadata.labels or {}).items() if k != HASH_LABEL}
    annotations = dict(template.metadata.annotations or {})
    named = parse_live(image)
    annotations |= {LIVE_ID_ANNOTATION: named[1] if named else failover_id, FAILOVER_ANNOTATION: failover_id}
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=shadow_name(workload, failover_id), labels=labels, annotations=annotations),
        spec=spec,
    )


def _any_policy(container: str) -> Any:
    from reprise.contracts.annotations import Policy

    return Policy(mode="criu", containers=(container,))
