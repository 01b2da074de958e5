"""The API server: pods, nodes, and the shadow-and-adopt moves on a ReplicaSet."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.aio import client
from reprise.contracts.annotations import AHEAD, CHECKPOINT_IMAGE, FENCED_BY, RESTORE_FROM, RESTORED_GATE
from reprise.contracts.errors import RecoveryError
from reprise.contracts.model import Target, Workload
from reprise.contracts.records import Question
from reprise.restorer.adapters.admission import objection
from reprise.restorer.adapters.placing import claimed, placement_of, resident_of, site_of
from reprise.restorer.model import Life, NodeFacts, NodeView, PodNames, PodView, Prepared
from reprise.restorer.placement import Placement, Resident, Volume, others_than
from reprise.restorer.ports import FAILOVER_ANNOTATION, REVISION_LABEL, shadow_name
from reprise.runtime.bus import Bus
from reprise.runtime.checkup import ask
from reprise.runtime.kube import LIST_TIMEOUT_S, ProtectedPods, is_gated, set_condition
from reprise.runtime.kv import Bucket, key
from reprise.runtime.owners import owner_of
from reprise.runtime.telemetry import log

HASH_LABEL = "pod-template-hash"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
NUDGED_ANNOTATION = "reprise.dev/nudged"
CHEAP = "-100"
OF_ONE_POD = (DELETION_COST, NUDGED_ANNOTATION, FAILOVER_ANNOTATION, RESTORE_FROM, CHECKPOINT_IMAGE, FENCED_BY)
REVISION = "deployment.kubernetes.io/revision"
LISTED_S = 30.0
MOST_PLACEMENTS = 10_000
WRITE_TIMEOUT_S = 5
DISCARD_GRACE_S = 1
"""Not 0: then the API server would forget the pod before its node has ended it, and nobody could say that it is gone."""
WAITS = ("PodInitializing", "ContainerCreating")
"""Why a container that nothing is wrong with is not started yet."""
STRATEGIC = "application/strategic-merge-patch+json"


class KubernetesCluster:
    """Implements ports.Cluster and ports.Pods. facts: what nodes say of themselves; criu: each node's version, if known."""

    def __init__(
        self, api: client.ApiClient, pods: ProtectedPods, bus: Bus, facts: Bucket[NodeFacts], criu: Mapping[str, str]
    ) -> None:
        self._api, self._bus, self._facts, self._criu = api, bus, facts, criu
        self._as_json: Any = api.sanitize_for_serialization
        self._known_features: dict[str, tuple[str, ...]] = {}
        self._core: Any = client.CoreV1Api(api)
        self._apps: Any = client.AppsV1Api(api)
        self._pods = pods
        self._on_node: dict[str, tuple[Resident, ...]] = {}
        self._listed_at = float("-inf")
        self._placements: dict[tuple[str, str], Placement] = {}

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
        owned = await self._owner(namespace, found, owner) if owner else Owned()
        return PodView(
            uid=found.metadata.uid,
            name=name,
            deleting=found.metadata.deletion_timestamp is not None,
            image=spec.image if spec else "",
            container_id=(status.container_id or "").rpartition("/")[2] if status else "",
            owner_kind=owner.kind if owner else "",
            owner_name=owner.name if owner else "",
            restored_from=(found.metadata.annotations or {}).get(RESTORE_FROM, "").partition("/")[0],
            evicted=_evicted(found),
            wanted=owned.wanted,
            outdated=owned.outdated,
            update_pending=owned.update_pending,
            protected=len(known.containers) if (known := self._pods.pods.get(found.metadata.uid)) else 1,
            asks=await self._asks(found, container),
            node=found.spec.node_name or "",
            finalizer=next(iter(found.metadata.finalizers or ()), ""),
            revision=(found.metadata.labels or {}).get(REVISION_LABEL, ""),
            failover=(found.metadata.annotations or {}).get(FAILOVER_ANNOTATION, ""),
        )

    async def placement(self, namespace: str, name: str, uid: str, container: str) -> Placement:
        known = self._placements.get((uid, container))
        if known:
            return known
        found = await self._read(namespace, name)
        return await self._asks(found, container) if found is not None and found.metadata.uid == uid else Placement()

    async def _asks(self, pod: Any, container: str) -> Placement:
        """Kept by the pod's UID: what a pod asks of its node does not change."""
        name = (pod.metadata.uid, container)
        if name not in self._placements:
            if len(self._placements) >= MOST_PLACEMENTS:
                self._placements.clear()
            wanted = [v for v in pod.spec.volumes or [] if v.persistent_volume_claim]
            claims = {v.name: await self._claim(pod.metadata.namespace, v) for v in wanted}
            self._placements[name] = placement_of(pod, container, claims)
        return self._placements[name]

    async def _claim(self, namespace: str, volume: Any) -> Volume:
        name = volume.persistent_volume_claim.claim_name
        try:
            claim = await self._core.read_namespaced_persistent_volume_claim(name, namespace)
            bound = claim.spec.volume_name
            return claimed(volume.name, claim, await self._core.read_persistent_volume(bound) if bound else None)
        except client.ApiException as error:
            if error.status == 404:
                return claimed(volume.name, None, None)
            if error.status == 403:
                return Volume(volume.name, tied=f"claim {name}, which the restorer may not read (see deploy/base/rbac.yaml)")
            raise RecoveryError(f"{error.reason}", subject=f"claim {namespace}/{name}", retryable=True) from error

    async def _owner(self, namespace: str, pod: Any, owner: Any) -> "Owned":
        read = {"ReplicaSet": self._apps.read_namespaced_replica_set, "StatefulSet": self._apps.read_namespaced_stateful_set}
        if owner.kind not in read:
            return Owned()
        try:
            found = await read[owner.kind](owner.name, namespace)
            mine = next((o for o in found.metadata.owner_references or [] if o.controller), None)
            outdated = owner.kind == "ReplicaSet" and mine is not None and await self._newer(namespace, found, mine.uid)
        except client.ApiException as error:
            if error.status == 404:
                return Owned(wanted=0)  # deleted: nobody wants its pods any more
            raise RecoveryError(f"{error.reason}", subject=f"{owner.kind} {namespace}/{owner.name}", retryable=True) from error
        if owner.kind == "ReplicaSet":
            return Owned(found.spec.replicas, outdated)
        if found.metadata.uid != owner.uid or not _among(found, pod.metadata.name):
            return Owned(wanted=0)
        return Owned(found.spec.replicas, update_pending=next_revision(found, pod))

    async def _newer(self, namespace: str, replica_set: Any, deployment_uid: str) -> bool:
        """The Deployment controller numbers its ReplicaSets; rolling back makes an old one the newest again."""
        selector = ",".join(f"{k}={v}" for k, v in (replica_set.spec.template.metadata.labels or {}).items() if k != HASH_LABEL)
        listed = await self._apps.list_namespaced_replica_set(namespace, label_selector=selector)
        siblings = [s for s in listed.items if any(o.uid == deployment_uid for o in s.metadata.owner_references or [])]
        return any(_revision(s) > _revision(replica_set) for s in siblings)

    async def everyone(self) -> tuple[PodNames, ...]:
        """Without a resource version the API server answers from its store, not from its watch cache."""
        try:
            listed = await self._core.list_pod_for_all_namespaces(_request_timeout=LIST_TIMEOUT_S)
        except (client.ApiException, OSError, TimeoutError) as error:
            raise RecoveryError(f"pods cannot be listed: {error!r}", subject="API server", retryable=True) from error
        return tuple(PodNames(owner_of(pod), pod.metadata.uid) for pod in listed.items)

    async def nodes(self) -> tuple[NodeView, ...]:
        listed = await self._core.list_node()
        hosted = [pod.node for pod in self._pods.pods.values()]
        pods = await self._pods_by_node()
        return tuple([await self._view(node, hosted.count(node.metadata.name), pods) for node in listed.items])

    async def _view(self, node: Any, protected_pods: int, pods: Mapping[str, tuple[Resident, ...]]) -> NodeView:
        name, info = node.metadata.name, node.status.node_info
        site = site_of(node, pods.get(name, ()))
        return NodeView(
            name=name,
            ready=any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or []),
            schedulable=not node.spec.unschedulable,
            architecture=info.architecture,
            protected_pods=protected_pods,
            runtime=info.container_runtime_version.partition(":")[0],
            free_bytes=int(dict(site.free)["memory"]),
            kernel=info.kernel_version,
            criu=self._criu.get(name, ""),
            cpu_features=await self._features(name),
            site=site,
        )

    async def cordoned(self) -> frozenset[str]:
        try:
            listed = await self._core.list_node(_request_timeout=LIST_TIMEOUT_S)
        except client.ApiException as error:
            raise RecoveryError(f"{error.reason}", subject="nodes", retryable=True) from error
        return frozenset(node.metadata.name for node in listed.items if node.spec.unschedulable)

    async def _features(self, node: str) -> tuple[str, ...]:
        if node not in self._known_features:
            entry = await self._facts.get(key(node))
            self._known_features[node] = entry.value.cpu_features if entry else ()
        return self._known_features[node]

    async def _pods_by_node(self) -> Mapping[str, tuple[Resident, ...]]:
        """Those that have not ended; at most LISTED_S old: it is asked for at each checkpoint."""
        if time.monotonic() - self._listed_at > LISTED_S:
            found: dict[str, list[Resident]] = {}
            listed = await self._core.list_pod_for_all_namespaces(field_selector="status.phase!=Succeeded,status.phase!=Failed")
            for pod in listed.items:
                # What was made ahead is not in the way of the failover that it was made for.
                if AHEAD not in (pod.metadata.annotations or {}):
                    found.setdefault(pod.spec.node_name or "", []).append(resident_of(pod))
            self._on_node, self._listed_at = {node: tuple(pods) for node, pods in found.items()}, time.monotonic()
            self._known_features.clear()
        return self._on_node

    async def nudge(self, namespace: str, pod: str, why: str) -> None:
        body = {"metadata": {"annotations": {NUDGED_ANNOTATION: why}}}
        try:
            await self._core.patch_namespaced_pod(pod, namespace, body, _content_type=STRATEGIC, _request_timeout=WRITE_TIMEOUT_S)
        except (client.ApiException, OSError, TimeoutError) as error:
            log().info("its kubelet is not told to look at the pod", pod=pod, error=repr(error))

    async def create_shadow(
        self, workload: Workload, name: str, owner: str, standby: str, annotations: dict[str, str], *, source: Target,
        gated: bool = False, ahead: bool = False,
    ) -> str:  # fmt: skip
        mark = {AHEAD: "true"} if ahead else {}
        body = await self._shadow(workload, name, owner, standby, source, annotations | mark, gated=gated)
        try:
            made = await self._core.create_namespaced_pod(workload.namespace, body, _request_timeout=WRITE_TIMEOUT_S)
        except client.ApiException as error:
            if error.status != 409:
                raise _not_created("the restored pod", str(workload), error) from error
            made = await self._read(workload.namespace, body.metadata.name)
            if made is None:
                raise RecoveryError("it went while it was looked at", subject=body.metadata.name, retryable=True) from error
            if not ahead and AHEAD in (made.metadata.annotations or {}):
                await self._take(made, body)
        return str(made.metadata.uid)

    async def _take(self, made: Any, wanted: Any) -> None:
        """Of a pod that was made ahead: from now on it starts. Deleting it names the version without this (discard_ahead), so one
        of the two fails. One that was made for another plan is in the way.
        """
        name, namespace = made.metadata.name, made.metadata.namespace
        fits = made.spec.node_name == wanted.spec.node_name and _origin(made) == _origin(wanted)
        if fits and made.metadata.deletion_timestamp is None:
            change = {"metadata": {"uid": made.metadata.uid, "annotations": {AHEAD: None}}}
            try:
                taken = await self._core.patch_namespaced_pod(
                    name, namespace, change, _content_type=STRATEGIC, _request_timeout=WRITE_TIMEOUT_S
                )
            except client.ApiException as error:
                raise RecoveryError(f"{error.reason}", subject=f"pod {namespace}/{name}", retryable=True) from error
            if taken.metadata.deletion_timestamp is None:
                return
        await self._delete(namespace, name, made.metadata.uid, grace_s=DISCARD_GRACE_S)
        message = "a pod of its name was made for another plan, and is about to be gone"
        raise RecoveryError(message, subject=f"pod {namespace}/{name}", retryable=True)

    async def discard_ahead(self, workload: Workload, name: str) -> bool:
        found = await self._read(workload.namespace, shadow_name(workload, name))
        if found is None or AHEAD not in (found.metadata.annotations or {}):
            return True
        meta = found.metadata
        await self._delete(meta.namespace, meta.name, meta.uid, grace_s=DISCARD_GRACE_S, version=meta.resource_version)
        return False

    async def _shadow(
        self, workload: Workload, name: str, owner: str, standby: str, source: Target, annotations: dict[str, str],
        *, gated: bool = False,
    ) -> Any:  # fmt: skip
        replica_set = await self._replica_set(workload.namespace, owner)
        if replica_set is None:
            raise RecoveryError("it is gone: somebody deleted it", subject=f"ReplicaSet {workload.namespace}/{owner}")
        old = await self._read(workload.namespace, source.pod)
        labels = old.metadata.labels if old is not None and old.metadata.uid == source.pod_uid else None
        shadow = shadow_name(workload, name)
        return shadow_of(replica_set.spec.template, shadow, standby, annotations, labels=labels, gated=gated)

    async def refuses_shadow(self, workload: Workload, name: str, owner: str, standby: str, source: Target) -> str:
        pod = await self._shadow(workload, name, owner, standby, source, {FAILOVER_ANNOTATION: name})
        return await objection(self._core, workload.namespace, pod, replaces=False)

    async def _replica_set(self, namespace: str, name: str) -> Any | None:
        try:
            return await self._apps.read_namespaced_replica_set(name, namespace)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise RecoveryError(f"{error.reason}", subject=f"ReplicaSet {namespace}/{name}", retryable=True) from error

    async def prepared(self, namespace: str, pod: str) -> Prepared:
        found = await self._read(namespace, pod)
        if found is None:
            return Prepared(False, "somebody removed it")
        status = found.status
        if found.metadata.deletion_timestamp is not None:
            return Prepared(False, "somebody deletes it")
        if status.phase in ("Failed", "Succeeded"):
            return Prepared(False, f"{status.reason or status.phase}: {status.message or 'its node did not say why'}")
        if any(c.type == "Initialized" and c.status == "True" for c in status.conditions or []):
            return Prepared(True)
        return Prepared(False, detail=_initializing(status))

    async def life(self, namespace: str, pod: str, target: Target, replaced: tuple[str, ...]) -> Life:
        found = await self._read(namespace, pod)
        if found is None:
            return Life(False, False, "the pod does not exist")
        if is_preparing(found):
            return Life(False, False, "its init containers have not ended", preparing=True)
        status = next((s for s in found.status.container_statuses or [] if s.name == target.container), None)
        if status is None or not found.status.pod_ip:
            return Life(False, False, f"the pod is {found.status.phase}")
        current = (status.container_id or "").rpartition("/")[2]
        if not (status.state and status.state.running) or current in replaced:
            waiting = status.state.waiting if status.state else None
            return Life(False, False, f"{waiting.reason}: {waiting.message}" if waiting else "the old container is shown")
        spec = next(c for c in found.spec.containers if c.name == target.container)
        question = Question(pod_uid=found.metadata.uid, container=target.container, container_id=current)
        told = await ask(self._bus, found.spec.node_name, question, spec.liveness_probe, spec.readiness_probe)
        return Life(True, told.healthy, told.detail, grace_s=told.grace_s)

    async def other_images(self, node: str, image: str) -> frozenset[str]:
        try:
            found = await self._core.read_node(node, _request_timeout=WRITE_TIMEOUT_S)
        except (client.ApiException, OSError, TimeoutError):
            return frozenset()
        return others_than(image, [tuple(each.names or ()) for each in found.status.images or []])

    async def opens_gate(self, namespace: str, pod: str, checkpoint_id: str) -> bool:
        found = await self._read(namespace, pod)
        if found is None or not is_gated(found):
            return True
        conditions = {c.type: c.status for c in found.status.conditions or []}
        if conditions.get(RESTORED_GATE) != "True":
            status = next(iter(found.status.container_statuses or []), None)
            runs = f"{status.name}={(status.container_id or '').rpartition('/')[2][:12]}" if status else ""
            try:
                await set_condition(
                    self._api, namespace, pod, RESTORED_GATE, True, "Restored", f"runs from checkpoint {checkpoint_id}: {runs}"
                )
            except client.ApiException as error:
                raise RecoveryError(f"{error.reason}", subject=f"pod {namespace}/{pod}", retryable=error.status != 403) from error
        return conditions.get("Ready") == "True"

    async def adopted(self, workload: Workload, name: str) -> bool | None:
        shadow = await self._read(workload.namespace, shadow_name(workload, name))
        if shadow is None or shadow.metadata.deletion_timestamp is not None:
            return None
        return any(o.controller for o in shadow.metadata.owner_references or [])

    async def adopt(self, target: Target, workload: Workload, name: str, owner: str) -> bool:
        replica_set = await self._replica_set(workload.namespace, owner)
        if replica_set is None:
            return False
        await self.step_back(target, workload.namespace, name)
        try:
            label = {"metadata": {"labels": {HASH_LABEL: (replica_set.spec.template.metadata.labels or {}).get(HASH_LABEL)}}}
            await self._core.patch_namespaced_pod(shadow_name(workload, name), workload.namespace, label, _content_type=STRATEGIC)
        except client.ApiException as error:
            if error.status != 404:  # it is gone: who looks next sees that
                raise RecoveryError(f"{error.reason}", subject=str(workload), retryable=True) from error
        return True

    async def fence(self, target: Target, namespace: str, failover_id: str) -> str:
        found = await self._read(namespace, target.pod)
        if found is None or found.metadata.uid != target.pod_uid:
            return failover_id
        if holder := (found.metadata.annotations or {}).get(FENCED_BY):
            return str(holder)
        await self.mark(namespace, target.pod, target.pod_uid, {FENCED_BY: failover_id})
        return failover_id

    async def unfence(self, target: Target, namespace: str, failover_id: str) -> None:
        found = await self._read(namespace, target.pod)
        if found and found.metadata.uid == target.pod_uid and (found.metadata.annotations or {}).get(FENCED_BY) == failover_id:
            await self.mark(namespace, target.pod, target.pod_uid, {FENCED_BY: None})

    async def step_back(self, target: Target, namespace: str, name: str) -> None:
        """Of two pods a ReplicaSet removes the one that is not Ready, then the cheaper one, then the newer one. Fenced, the old
        one is not Ready, but a lost node's pod is shown as Ready for 40 s, and the restored one not before its first probe
        (kubernetes/pkg/controller/controller_utils.go, ActivePodsWithRanks).
        """
        old = await self._read(namespace, target.pod)
        if old is None or old.metadata.uid != target.pod_uid or old.metadata.deletion_timestamp is not None:
            return
        try:
            if any((c.type, c.status) == ("Ready", "True") for c in old.status.conditions or []):
                message = f"fenced by failover {name}: the restored pod takes its place"
                await set_condition(self._api, namespace, target.pod, "Ready", False, "Fenced", message)
            if (old.metadata.annotations or {}).get(DELETION_COST) != CHEAP:
                await self.mark(namespace, target.pod, target.pod_uid, {DELETION_COST: CHEAP})
        except client.ApiException as error:
            if error.status != 404:
                raise RecoveryError(f"{error.reason}", subject=f"pod {namespace}/{target.pod}", retryable=True) from error

    async def end(self, target: Target, namespace: str) -> None:
        await self._delete(namespace, target.pod, target.pod_uid, grace_s=DISCARD_GRACE_S)

    async def _delete(self, namespace: str, name: str, uid: str, *, grace_s: int, version: str | None = None) -> None:
        """This very pod; version: only as it was then."""
        only = client.V1Preconditions(uid=uid, resource_version=version)
        options = client.V1DeleteOptions(grace_period_seconds=grace_s, preconditions=only)
        try:
            await self._core.delete_namespaced_pod(name, namespace, body=options, _request_timeout=WRITE_TIMEOUT_S)
        except client.ApiException as error:
            if error.status not in (404, 409):
                raise RecoveryError(f"{error.reason}", subject=f"pod {namespace}/{name}", retryable=True) from error

    async def body(self, namespace: str, name: str, uid: str, annotations: dict[str, str]) -> str | None:
        found = await self._read(namespace, name)
        if found is None or found.metadata.uid != uid:
            return None
        return json.dumps(next_of(self._as_json(found), annotations))

    async def unacceptable(self, namespace: str, body: str, node: str) -> str:
        return await objection(self._core, namespace, _pod_on(node, body), replaces=True)

    async def end_for_good(self, target: Target, namespace: str) -> None:
        await self._delete(namespace, target.pod, target.pod_uid, grace_s=0)

    async def recreate(self, namespace: str, body: str, node: str) -> None:
        pod = _pod_on(node, body)
        try:
            await self._core.create_namespaced_pod(namespace, pod, _request_timeout=WRITE_TIMEOUT_S)
        except client.ApiException as error:
            if error.status != 409:
                raise _not_created("the next pod", f"pod {namespace}/{pod.metadata.name}", error) from error

    async def carry(self, namespace: str, name: str, uid: str, body: str) -> None:
        found = await self._read(namespace, name)
        if found is not None and found.metadata.uid == uid and (change := carried(json.loads(body), self._as_json(found))):
            await self._patch(namespace, name, {"metadata": {"uid": uid, **change}})

    async def mark(self, namespace: str, name: str, uid: str, annotations: Mapping[str, str | None]) -> None:
        await self._patch(namespace, name, {"metadata": {"uid": uid, "annotations": dict(annotations)}})

    async def _patch(self, namespace: str, name: str, body: dict[str, Any]) -> None:
        """Nothing if it is gone, or another pod has its name."""
        try:
            await self._core.patch_namespaced_pod(
                name, namespace, body, _content_type=STRATEGIC, _request_timeout=WRITE_TIMEOUT_S
            )
        except client.ApiException as error:
            if error.status not in (404, 409):
                raise RecoveryError(f"{error.reason}", subject=f"pod {namespace}/{name}", retryable=True) from error

    async def discard_shadow(self, workload: Workload, name: str) -> bool:
        shadow = shadow_name(workload, name)
        try:
            await self._core.delete_namespaced_pod(shadow, workload.namespace, grace_period_seconds=DISCARD_GRACE_S)
        except client.ApiException as error:
            if error.status == 404:
                return True
            raise RecoveryError(f"{error.reason}", subject=f"pod {workload.namespace}/{shadow}", retryable=True) from error
        return False


def is_preparing(pod: Any) -> bool:
    """Whether init containers are at work; not once one of them has failed: that may never end."""
    initialized = next((c.status for c in pod.status.conditions or [] if c.type == "Initialized"), "True")
    states = [s.state for s in pod.status.init_container_statuses or [] if s.state]
    failed = any((s.terminated and s.terminated.exit_code) or (s.waiting and s.waiting.reason not in WAITS) for s in states)
    return bool(pod.spec.init_containers) and initialized != "True" and not failed


@dataclass(frozen=True)
class Owned:
    """What a pod's owner says of it: replicas that it wants, 0 if not this one; and as PodView has it."""

    wanted: int | None = None
    outdated: bool = False
    update_pending: str = ""


def next_revision(stateful_set: Any, pod: Any) -> str:
    """The revision that the next pod of this name would be of, if that is another than this one's; empty if it is not.

    Source: Kubernetes pkg/controller/statefulset/stateful_set_utils.go, newVersionedStatefulSetPod: only a rolling update's
    partition keeps an ordinal at the old revision.
    """
    new, own = stateful_set.status.update_revision or "", (pod.metadata.labels or {}).get(REVISION_LABEL, "")
    strategy = stateful_set.spec.update_strategy
    rolling = strategy.rolling_update if strategy and strategy.type != "OnDelete" else None
    ordinal = pod.metadata.name.removeprefix(f"{stateful_set.metadata.name}-")
    held_back = rolling is not None and ordinal.isdigit() and int(ordinal) < (rolling.partition or 0)
    return new if new and own and new != own and not held_back else ""


def _origin(pod: Any) -> str:
    return str((pod.metadata.annotations or {}).get(RESTORE_FROM, ""))


def _pod_on(node: str, body: str) -> Any:
    """node: empty for where the scheduler puts it."""
    made = json.loads(body)
    if node:
        made["spec"]["nodeName"] = node
    return client.V1Pod.from_dict(made)


def _said(error: client.ApiException) -> str:
    return f"{error.reason} {str(error.body)[:300]}"


def _not_created(what: str, subject: str, error: client.ApiException) -> RecoveryError:
    return RecoveryError(f"{what} could not be created: {_said(error)}", subject=subject, retryable=(error.status or 0) >= 500)


def _among(stateful_set: Any, pod: str) -> bool:
    """Whether its replicas are so many that this pod is one of them."""
    ordinal = pod.removeprefix(f"{stateful_set.metadata.name}-")
    start = (stateful_set.spec.ordinals.start or 0) if stateful_set.spec.ordinals else 0
    return ordinal.isdigit() and start <= int(ordinal) < start + (stateful_set.spec.replicas or 0)


def _initializing(status: Any) -> str:
    """Which init container is not done yet, as far as it is known."""
    for each in status.init_container_statuses or []:
        state = each.state
        if state and state.waiting and state.waiting.reason != "PodInitializing":
            return f"its init container {each.name} waits: {state.waiting.reason}: {state.waiting.message}"
        if state and state.running:
            return f"its init container {each.name} runs"
    return "its kubelet has not begun"


def _evicted(pod: Any) -> str:
    """Why Kubernetes itself ends it: the kubelet's eviction, or the condition DisruptionTarget (KEP-3329)."""
    if pod.status.phase == "Failed":
        return pod.status.reason or "Failed"
    found = next((c for c in pod.status.conditions or [] if c.type == "DisruptionTarget" and c.status == "True"), None)
    return (found.reason or "DisruptionTarget") if found and pod.metadata.deletion_timestamp is not None else ""


def _revision(replica_set: Any) -> int:
    text = (replica_set.metadata.annotations or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def next_of(pod: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    """The next pod of a name, of the one that has it now as JSON: what its owner wrote, without what servers set and what was
    said of this very pod. It has the same owner, so that a StatefulSet takes it for the one that it would have made.
    """
    meta, spec = pod["metadata"], dict(pod["spec"])
    for name in ("nodeName", "priority", "ephemeralContainers"):
        spec.pop(name, None)
    kept = {name: meta[name] for name in ("name", "namespace", "labels", "finalizers") if name in meta}
    said = {name: text for name, text in meta.get("annotations", {}).items() if name not in OF_ONE_POD}
    owners = [owner | {"blockOwnerDeletion": False} for owner in meta.get("ownerReferences", [])]
    metadata = {**kept, "annotations": said | annotations, **({"ownerReferences": owners} if owners else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def carried(body: dict[str, Any], made: dict[str, Any]) -> dict[str, dict[str, str | None]]:
    """What to change of a pod that its owner made, so that its labels and annotations are those of the pod before it (next_of):
    a strategic merge patch of its metadata; empty if nothing. A label that was taken off, to keep it out of a Service, is taken
    off again; annotations of its own are kept: its node's network may have written them.
    """
    before, now = body["metadata"], made["metadata"]
    labels, had = before.get("labels", {}), now.get("labels", {})
    told, says = before.get("annotations", {}), now.get("annotations", {})
    change: dict[str, dict[str, str | None]] = {
        "labels": {
            **{name: text for name, text in labels.items() if had.get(name) != text},
            **dict.fromkeys(had.keys() - labels),
        },
        "annotations": {name: text for name, text in told.items() if says.get(name) != text and name not in OF_ONE_POD},
    }
    return {field: changes for field, changes in change.items() if changes}


def shadow_of(
    template: Any, name: str, standby: str, annotations: dict[str, str], *, labels: dict[str, str] | None = None,
    gated: bool = False,
) -> Any:  # fmt: skip
    """The ReplicaSet's own template as it is, without the hash that would make the ReplicaSet count it, on the standby.

    labels: of the pod whose place it takes, as they are now: somebody may have set some since; None if it is gone. gated: no
    Service may send anybody there before it has its state.
    """
    spec = template.spec
    gates = spec.readiness_gates or []
    if gated and all(gate.condition_type != RESTORED_GATE for gate in gates):
        spec.readiness_gates = [*gates, client.V1PodReadinessGate(condition_type=RESTORED_GATE)]
    spec.node_name = standby
    kept = {k: v for k, v in ((template.metadata.labels if labels is None else labels) or {}).items() if k != HASH_LABEL}
    return client.V1Pod(
        metadata=client.V1ObjectMeta(
            name=name, labels=kept, annotations={**(template.metadata.annotations or {}), **annotations}
        ),
        spec=spec,
    )
