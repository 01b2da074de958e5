"""Asks the API server whether it would take a pod, by a dry run of its creation: quotas, policies, webhooks and defaults all have
their say, and nothing is made.
"""

import json
import re
from typing import Any

from kubernetes.aio import client
from kubernetes.utils.quantity import parse_quantity
from reprise.contracts.errors import RecoveryError

TIMEOUT_S = 5
OVER = re.compile(r"exceeded quota: [^,]+, requested: \S+, used: (?P<used>\S+), limited: (?P<limited>\S+)")
"""Kubernetes staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go"""


async def objection(core: Any, namespace: str, pod: Any, *, replaces: bool) -> str:
    """Why the API server would not take the pod; empty if it would. replaces: another one of its name and size goes first.

    Raises RecoveryError (retryable) while that is not known: the API server, or a webhook that must be asked, is down.
    """
    try:
        await core.create_namespaced_pod(namespace, pod, dry_run="All", _request_timeout=TIMEOUT_S)
    except client.ApiException as error:
        said = message_of(error)
        if error.status == 409 or "does not support dry run" in said:
            return ""  # its name is found taken last; a webhook that cannot be tried is asked when it counts
        if (error.status or 0) >= 500:
            raise RecoveryError(said, subject=f"pod {namespace}/{pod.metadata.name}", retryable=True) from error
        return "" if replaces and fits_once_replaced(said) else said
    return ""


def message_of(error: client.ApiException) -> str:
    try:
        message = json.loads(error.body or "")["message"]
        return f"{error.reason}: {message[:600]}"
    except (TypeError, ValueError, KeyError):
        return f"{error.reason} {str(error.body)[:300]}"


def fits_once_replaced(said: str) -> bool:
    """Whether a quota was exceeded only because the pod that goes first counts too: it asks for as much."""
    found = OVER.search(said)
    if not found:
        return False
    used, limited = (_amounts(found[part]) for part in ("used", "limited"))
    return all(used[name] <= limit for name, limit in limited.items() if name in used)


def _amounts(text: str) -> dict[str, Any]:
    pairs = (pair.partition("=") for pair in text.rstrip(",").split(","))
    return {name: parse_quantity(amount) for name, _, amount in pairs}  # type: ignore[no-untyped-call]
