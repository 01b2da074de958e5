"""The two ways to renew a node's lease: the KV bucket `leases`, and a Kubernetes Lease while NATS is away.

A node renews by compare-and-set on what it wrote last. The arbiter takes the lease away, also by compare-and-set, before it
gives the node up: so either the arbiter finds that the node has renewed, or the node's next renewal is refused, whatever its
clock says of the time between. The generation tells, by the other way, that the node has taken its lease anew since.
"""

from datetime import UTC, datetime
from typing import Any

from kubernetes.aio import client
from reprise.contracts.records import FORCE
from reprise.health_watcher.model import NodeLease
from reprise.health_watcher.ports import LeaseTaken
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key
from reprise.runtime.unreadable import UnreadableRecord

PREFIX = "reprise-node-"
ARBITER = "reprise-arbiter"
"""Who holds the Kubernetes Lease of a node that is given up."""
CONFLICT, MISSING = 409, 404
TRIES = 2
"""The answer to this node's last renewal may have been lost."""


class KvLeases:
    """Keys `node.<node>`."""

    def __init__(self, bus: Bus) -> None:
        self.bucket = Bucket(bus, "leases", NodeLease)
        self._revision: int | None = None
        """Of what this node wrote last; None: it has to look."""
        self._told = False
        """That what this node wrote is not there any more: its next renewal makes it anew."""

    async def renew(self, lease: NodeLease) -> None:
        """Raises LeaseTaken, also once if it was removed with its Node or cannot be read; TimeoutError if somebody else writes at
        the same time.
        """
        name = key("node", lease.node)
        revision, self._revision = self._revision, None
        written = await self.bucket.update(name, lease, revision) if revision else None
        for _ in range(TRIES if written is None else 0):
            revision = await self._look(name, lease.generation)
            written = await (self.bucket.update(name, lease, revision) if revision else self.bucket.create(name, lease))
            if written is not None:
                break
        if written is None:
            raise TimeoutError("somebody else writes this node's lease")
        self._revision, self._told = written, False

    async def _look(self, name: str, generation: int) -> int:
        """The revision to write on; 0: there is none. Raises LeaseTaken."""
        try:
            entry = await self.bucket.get(name)
        except UnreadableRecord:
            gone, revision = True, await self.bucket.revision(name)
        else:
            gone, revision = entry is None and await self.bucket.was_deleted(name), entry.revision if entry else 0
            if entry and entry.value.taken and entry.value.generation >= generation:
                raise LeaseTaken(entry.value.generation)
        if gone and not self._told:
            self._told = True
            raise LeaseTaken(generation)
        return revision

    async def take(self, lease: NodeLease, revision: int) -> int | None:
        """Take it away from its node. lease, revision: as they were judged. The revision since; None if the node has renewed."""
        name, taken = key("node", lease.node), lease.model_copy(update={"taken": True})
        try:
            entry = await self.bucket.get(name)
        except UnreadableRecord:  # whoever wrote that, the node has not renewed on it: its renewal would have been refused
            return await self.bucket.update(name, taken, await self.bucket.revision(name))
        if entry is None:  # NATS lost its data
            return await self.bucket.create(name, taken)
        if entry.revision != revision:
            return None
        return revision if entry.value.taken else await self.bucket.update(name, taken, revision)


class KubernetesLeases:
    """coordination.k8s.io Leases in our namespace; a second way to be seen alive, not a second truth.

    holderIdentity: the node's boot id, or ARBITER. leaseTransitions: the generation.
    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api: Any = client.CoordinationV1Api(api)
        self._core: Any = client.CoreV1Api(api)
        self._namespace = namespace
        self._version = ""
        """Of what this node wrote last; empty: it has to look."""
        self.forced_by = ""
        """As versions() found it last; empty: nobody ever asked."""

    async def renew(self, lease: NodeLease) -> None:
        """Raises LeaseTaken, and what the API server does."""
        name = PREFIX + lease.node
        spec = {
            "holderIdentity": lease.boot_id, "leaseTransitions": lease.generation,
            "renewTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }  # fmt: skip
        version, self._version = self._version, ""
        for _ in range(TRIES):
            if not version and (found := await self._read(name)):
                if found.spec.holder_identity == ARBITER and (found.spec.lease_transitions or 0) >= lease.generation:
                    raise LeaseTaken(found.spec.lease_transitions or 0)
                version = found.metadata.resource_version
            try:
                written = await (self._patch(name, spec, version) if version else self._create(name, spec))
            except client.ApiException as error:
                if error.status not in (CONFLICT, MISSING):
                    raise
                version = ""
                continue
            self._version = written.metadata.resource_version
            return
        raise TimeoutError("somebody else writes this node's Lease")

    async def take(self, lease: NodeLease, version: str) -> bool:
        """Take it away from its node. version: as it was judged; empty: there was none. False if the node has renewed."""
        name, spec = PREFIX + lease.node, {"holderIdentity": ARBITER, "leaseTransitions": lease.generation}
        try:
            await (self._patch(name, spec, version) if version else self._create(name, spec))
        except client.ApiException as error:
            if error.status not in (CONFLICT, MISSING):
                raise
            found = await self._read(name)
            if found is not None and found.spec.holder_identity != ARBITER:
                return False
            # Of a generation before, perhaps: since then the node has renewed by KV only.
            await (self._patch(name, spec, found.metadata.resource_version) if found else self._create(name, spec))
        return True

    async def versions(self) -> dict[str, str]:
        """The resourceVersion of the Lease of each node that holds it: a change is a renewal; clocks are not compared."""
        listed = await self._api.list_namespaced_lease(self._namespace, _request_timeout=2)
        self.forced_by = next((i.spec.holder_identity or "" for i in listed.items if i.metadata.name == FORCE), "")
        return {
            item.metadata.name.removeprefix(PREFIX): item.metadata.resource_version
            for item in listed.items
            if item.metadata.name.startswith(PREFIX) and item.spec.holder_identity != ARBITER
        }

    async def remove(self, node: str) -> None:
        """Nothing if there is none."""
        try:
            await self._api.delete_namespaced_lease(PREFIX + node, self._namespace, _request_timeout=2)
        except client.ApiException as error:
            if error.status != MISSING:
                raise

    async def nodes(self) -> frozenset[str]:
        """Names of the Nodes that there are."""
        listed = await self._core.list_node(_request_timeout=5)
        return frozenset(item.metadata.name for item in listed.items)

    async def _read(self, name: str) -> Any:
        """None: there is none."""
        try:
            return await self._api.read_namespaced_lease(name, self._namespace, _request_timeout=1)
        except client.ApiException as error:
            if error.status == MISSING:
                return None
            raise

    async def _patch(self, name: str, spec: dict[str, Any], version: str) -> Any:
        """Refused, as a conflict, unless it is at this version."""
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        return await self._api.patch_namespaced_lease(
            name, self._namespace, body, _content_type="application/merge-patch+json", _request_timeout=1
        )

    async def _create(self, name: str, spec: dict[str, Any]) -> Any:
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}
        return await self._api.create_namespaced_lease(self._namespace, body, _request_timeout=1)
