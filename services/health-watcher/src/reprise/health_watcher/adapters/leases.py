"""The two ways to renew a node's lease: the KV bucket `leases`, and a Kubernetes Lease while NATS is away."""

from datetime import UTC, datetime
from typing import Any

from kubernetes.aio import client
from reprise.health_watcher.model import NodeLease
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key

PREFIX = "reprise-node-"


class KvLeases:
    """Keys `node.<node>`."""

    def __init__(self, bus: Bus) -> None:
        self.bucket = Bucket(bus, "leases", NodeLease)

    async def renew(self, lease: NodeLease) -> None:
        await self.bucket.put(key("node", lease.node), lease)


class KubernetesLeases:
    """coordination.k8s.io Leases in our namespace; a second way to be seen alive, not a second truth."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api: Any = client.CoordinationV1Api(api)
        self._namespace = namespace

    async def renew(self, lease: NodeLease) -> None:
        name = PREFIX + lease.node
        spec = {"holderIdentity": lease.boot_id, "renewTime": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}
        try:
            await self._api.patch_namespaced_lease(
                name, self._namespace, {"spec": spec}, _content_type="application/merge-patch+json", _request_timeout=1
            )
        except client.ApiException as error:
            if error.status != 404:
                raise
            await self._api.create_namespaced_lease(self._namespace, body, _request_timeout=1)

    async def versions(self) -> dict[str, str]:
        """Each node's Lease and its resourceVersion: a change is a renewal; clocks are not compared."""
        listed = await self._api.list_namespaced_lease(self._namespace, _request_timeout=2)
        return {
            item.metadata.name.removeprefix(PREFIX): item.metadata.resource_version
            for item in listed.items
            if item.metadata.name.startswith(PREFIX)
        }
