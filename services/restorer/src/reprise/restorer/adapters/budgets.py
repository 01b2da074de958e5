"""PodDisruptionBudgets that Reprise makes: they allow no eviction until it says so."""

import time
from typing import Any

from kubernetes.aio import client
from reprise.contracts.annotations import GUARD_LABEL
from reprise.contracts.errors import RecoveryError
from reprise.contracts.model import Workload
from reprise.restorer.ports import guard_name
from reprise.runtime.telemetry import log

TIMEOUT_S = 5
HASH_LABEL = "pod-template-hash"
FOREIGN_S = 60.0
MERGE = "application/merge-patch+json"


class KubernetesBudgets:
    """Implements ports.Budgets."""

    def __init__(self, api: client.ApiClient) -> None:
        self._policy: Any = client.PolicyV1Api(api)
        self._apps: Any = client.AppsV1Api(api)
        self._foreign: dict[Workload, float] = {}

    async def guards(self) -> dict[Workload, bool]:
        listed = await self._policy.list_pod_disruption_budget_for_all_namespaces(
            label_selector=GUARD_LABEL, _request_timeout=TIMEOUT_S
        )
        return {_workload(found): found.spec.max_unavailable != 0 for found in listed.items}

    async def create(self, workload: Workload) -> None:
        if time.monotonic() - self._foreign.get(workload, float("-inf")) < FOREIGN_S:
            return
        try:
            deployment = await self._apps.read_namespaced_deployment(workload.name, workload.namespace)
            if await self._has_another(workload, deployment):
                # Kubernetes refuses to evict a pod that two budgets select, with an error that no drain survives.
                log().info("its own PodDisruptionBudget rules: no guard is made", workload=str(workload))
                self._foreign[workload] = time.monotonic()
                return
            body = guard_of(workload, deployment)
            await self._policy.create_namespaced_pod_disruption_budget(workload.namespace, body, _request_timeout=TIMEOUT_S)
        except client.ApiException as error:
            if error.status not in (403, 404, 409):  # a namespace or workload that is being deleted; another replica's
                raise _told(workload, error) from error

    async def _has_another(self, workload: Workload, deployment: Any) -> bool:
        listed = await self._policy.list_namespaced_pod_disruption_budget(workload.namespace, _request_timeout=TIMEOUT_S)
        labels = deployment.spec.template.metadata.labels or {}
        others = [found for found in listed.items if GUARD_LABEL not in (found.metadata.labels or {})]
        return any(selects(found.spec.selector, labels) for found in others)

    async def set(self, workload: Workload, *, allows: bool) -> bool:
        body = {"spec": {"maxUnavailable": "100%" if allows else 0}}
        try:
            await self._policy.patch_namespaced_pod_disruption_budget(
                guard_name(workload), workload.namespace, body, _content_type=MERGE, _request_timeout=TIMEOUT_S
            )
        except client.ApiException as error:
            if error.status == 404:
                return False
            raise _told(workload, error) from error
        return True

    async def remove(self, workload: Workload) -> None:
        try:
            await self._policy.delete_namespaced_pod_disruption_budget(
                guard_name(workload), workload.namespace, _request_timeout=TIMEOUT_S
            )
        except client.ApiException as error:
            if error.status != 404:
                raise _told(workload, error) from error


def guard_of(workload: Workload, deployment: Any) -> Any:
    """Of the ReplicaSet's own pods only: a shadow that is not adopted yet would make one of two seem dispensable."""
    own = [
        *(deployment.spec.selector.match_expressions or []),
        client.V1LabelSelectorRequirement(key=HASH_LABEL, operator="Exists"),
    ]
    owner = client.V1OwnerReference(
        api_version="apps/v1", kind="Deployment", name=workload.name, uid=deployment.metadata.uid, block_owner_deletion=False
    )
    return client.V1PodDisruptionBudget(
        metadata=client.V1ObjectMeta(
            name=guard_name(workload), namespace=workload.namespace, labels={GUARD_LABEL: "deployment"}, owner_references=[owner]
        ),
        spec=client.V1PodDisruptionBudgetSpec(
            max_unavailable=0,
            selector=client.V1LabelSelector(match_labels=deployment.spec.selector.match_labels, match_expressions=own),
        ),
    )


def selects(selector: Any, labels: dict[str, str]) -> bool:
    """As Kubernetes does; no selector selects nothing, an empty one everything."""
    if selector is None:
        return False
    exact = all(labels.get(name) == value for name, value in (selector.match_labels or {}).items())
    return exact and all(_meets(each, labels) for each in selector.match_expressions or [])


def _meets(requirement: Any, labels: dict[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in (requirement.values or [])
        case "NotIn":
            return value not in (requirement.values or [])
        case "Exists":
            return value is not None
    return value is None


def _workload(found: Any) -> Workload:
    owner = next((o.name for o in found.metadata.owner_references or []), "")
    name = owner or found.metadata.name.removeprefix("reprise-guard-")
    return Workload.model_construct(namespace=found.metadata.namespace, kind="Deployment", name=name)


def _told(workload: Workload, error: client.ApiException) -> RecoveryError:
    return RecoveryError(f"its PodDisruptionBudget: {error.reason}", subject=str(workload), retryable=True)
