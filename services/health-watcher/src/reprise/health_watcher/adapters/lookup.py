"""One pod, asked afresh of the API server: an informer may not have caught up when a node returns."""

from typing import Any

from kubernetes.aio import client
from reprise.contracts.annotations import FENCED_BY

TIMEOUT_S = 2


class KubernetesPods:
    """Implements ports.PodLookup."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core: Any = client.CoreV1Api(api)

    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        found = await self._read(namespace, name, uid)
        return found is not None and found.metadata.deletion_timestamp is None

    async def fenced_by(self, namespace: str, name: str, uid: str) -> str:
        found = await self._read(namespace, name, uid)
        return str((found.metadata.annotations or {}).get(FENCED_BY, "")) if found else ""

    async def _read(self, namespace: str, name: str, uid: str) -> Any:
        """None: this very pod is not there."""
        try:
            found = await self._core.read_namespaced_pod(name, namespace, _request_timeout=TIMEOUT_S)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return found if found.metadata.uid == uid else None
