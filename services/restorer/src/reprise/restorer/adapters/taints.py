"""Taints of nodes by which the scheduler puts nothing there for a while."""

from typing import Any

from kubernetes.aio import client
from reprise.contracts.errors import RecoveryError
from reprise.runtime.telemetry import log

PREFIX = "failover.reprise.dev/"
TIMEOUT_S = 5
TRIES = 5
MERGE = "application/merge-patch+json"


class KubernetesTaints:
    """Implements ports.Taints. Each failover's has a key of its own: they come and go without regard to each other."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core: Any = client.CoreV1Api(api)
        self._as_json: Any = api.sanitize_for_serialization

    async def keep_off(self, node: str, failover_id: str) -> None:
        await self._change(node, failover_id, [{"key": PREFIX + failover_id, "effect": "NoSchedule"}])

    async def let_on(self, node: str, failover_id: str) -> None:
        await self._change(node, failover_id, [])

    async def kept_off(self) -> list[tuple[str, str]]:
        try:
            listed = await self._core.list_node(_request_timeout=TIMEOUT_S)
        except client.ApiException as error:
            raise RecoveryError(f"{error.reason}", subject="nodes", retryable=True) from error
        return [
            (node.metadata.name, taint.key.removeprefix(PREFIX))
            for node in listed.items
            for taint in node.spec.taints or []
            if taint.key.startswith(PREFIX)
        ]

    async def _change(self, node: str, failover_id: str, wanted: list[dict[str, str]]) -> None:
        """A list is patched as a whole: only the one that was read, or it is read again."""
        for _ in range(TRIES):
            try:
                found = await self._core.read_node(node, _request_timeout=TIMEOUT_S)
                taints: list[Any] = self._as_json(found.spec.taints or [])
                others = [taint for taint in taints if taint["key"] != PREFIX + failover_id]
                if len(others) + len(wanted) == len(taints):
                    return
                body = {"metadata": {"resourceVersion": found.metadata.resource_version}, "spec": {"taints": others + wanted}}
                await self._core.patch_node(node, body, _content_type=MERGE, _request_timeout=TIMEOUT_S)
                return
            except client.ApiException as error:
                if error.status == 404:
                    return
                if error.status != 409:  # whatever is not the server's trouble (a webhook's no is 400) stays so
                    later = (error.status or 500) >= 500 or error.status == 429
                    raise RecoveryError(
                        f"its taints cannot be changed: {error.reason}", subject=f"node {node}", retryable=later
                    ) from error
        log().warning("taints change too often, left as they are", of_node=node, failover=failover_id)
