"""The API server. The console changes annotations, and whether a node takes pods; nothing else, and it may nothing else.

Which annotation asks for what is for the scheduler and the restorer to read (contracts.annotations).
"""

from collections.abc import Awaitable
from typing import Any

from kubernetes.aio import client
from reprise.console.model import asked_at
from reprise.console.ports import OperationError
from reprise.contracts.annotations import ANY_NODE, CHECKPOINT_NOW, MOVE_ID, MOVE_TO, RESTORE_ID, RESTORE_TO
from reprise.contracts.model import Workload

TIMEOUT_S = 5
MERGE = "application/merge-patch+json"


class KubernetesCluster:
    """Implements ports.Cluster."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core: Any = client.CoreV1Api(api)
        self._apps: Any = client.AppsV1Api(api)

    async def checkpoint_now(self, workload: Workload, operation_id: str) -> None:
        await self._annotate(workload, {CHECKPOINT_NOW: asked_at(operation_id).isoformat(timespec="milliseconds")})

    async def move(self, workload: Workload, to: str, operation_id: str) -> None:
        await self._annotate(workload, {MOVE_TO: to or ANY_NODE, MOVE_ID: operation_id})

    async def restore(self, workload: Workload, checkpoint_id: str, operation_id: str) -> None:
        await self._annotate(workload, {RESTORE_TO: checkpoint_id, RESTORE_ID: operation_id})

    async def cordon(self, node: str, cordoned: bool) -> None:
        body = {"spec": {"unschedulable": cordoned or None}}
        await self._patched(self._core.patch_node(node, body, _content_type=MERGE, _request_timeout=TIMEOUT_S), f"node {node}")

    async def _annotate(self, workload: Workload, annotations: dict[str, str]) -> None:
        patch = {
            "Deployment": self._apps.patch_namespaced_deployment,
            "StatefulSet": self._apps.patch_namespaced_stateful_set,
            "Pod": self._core.patch_namespaced_pod,
        }[workload.kind]
        body = {"metadata": {"annotations": annotations}}
        call = patch(workload.name, workload.namespace, body, _content_type=MERGE, _request_timeout=TIMEOUT_S)
        await self._patched(call, str(workload))

    async def _patched(self, call: Awaitable[Any], subject: str) -> None:
        try:
            await call
        except client.ApiException as error:
            if error.status == 404:
                raise OperationError("it is not there any more", reason="NotFound", subject=subject, remedy="nothing") from error
            if error.status == 403:
                remedy = "give the service account reprise-console the rights of deploy/base/rbac.yaml"
                message = "the API server does not let the console change it"
                raise OperationError(message, reason="Forbidden", subject=subject, remedy=remedy) from error
            raise _away(subject, f"{error.status} {error.reason}") from error
        except (TimeoutError, OSError) as error:
            raise _away(subject, repr(error)) from error


def _away(subject: str, message: str) -> OperationError:
    remedy = "ask again in a moment; if it stays so, see the API server"
    return OperationError(message, reason="ApiServer", subject=subject, remedy=remedy, retryable=True)
