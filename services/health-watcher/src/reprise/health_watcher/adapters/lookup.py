"""One pod, asked afresh of the API server: an informer may not have caught up when a node returns."""

from typing import Any

from kubernetes.aio import client

TIMEOUT_S = 2


class KubernetesPods:
    """Implements ports.PodLookup."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core: Any = client.CoreV1Api(api)

    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        try:
            found = await self._core.read_namespaced_pod(name, namespace, _request_timeout=TIMEOUT_S)
        except client.ApiException as error:
            if error.status == 404:
                return False
            raise
        return found.metadata.uid == uid and found.metadata.deletion_timestamp is None
