"""The pod condition `reprise.dev/Protected`. The kubelet leaves alone what is not its own (KEP-580, readiness gates)."""

from datetime import UTC, datetime
from typing import Any

from kubernetes.aio import client
from reprise.runtime.kube import PROTECTED, ProtectedPod
from reprise.runtime.telemetry import log
from reprise.scheduler.model import Protection

TIMEOUT_S = 5
STRATEGIC = "application/strategic-merge-patch+json"
GONE = (404, 409)
"""There is none of this name, or another than the one that is meant."""


class KubernetesConditions:
    """Implements ports.Conditions."""

    def __init__(self, api: client.ApiClient) -> None:
        self._core: Any = client.CoreV1Api(api)

    async def write(self, pod: ProtectedPod, found: Protection) -> bool:
        body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition(pod.condition[0], found, datetime.now(UTC))]}}
        try:
            await self._core.patch_namespaced_pod_status(
                pod.name, pod.namespace, body, _content_type=STRATEGIC, _request_timeout=TIMEOUT_S
            )
        except client.ApiException as error:
            if error.status not in GONE:
                log().warning(
                    "a pod's condition cannot be written, trying again", pod=pod.name, error=f"{error.status} {error.reason}"
                )
            return False
        except (OSError, TimeoutError) as error:
            log().debug("a pod's condition cannot be written, trying again", pod=pod.name, error=repr(error))
            return False
        return True


def condition(status_before: str, found: Protection, now: datetime) -> dict[str, str]:
    """As a patch: conditions are merged by their type, so what is left out stays as it is."""
    status = "True" if found.protected else "False"
    said = {"type": PROTECTED, "status": status, "reason": found.reason, "message": found.message[:1024]}
    return said if status == status_before else said | {"lastTransitionTime": now.isoformat(timespec="seconds")}
