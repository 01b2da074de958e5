"""References of checkpoint images at the node-local registry.

`localhost:5797/<namespace>/<live id>/<container>:live` moves: it is one pod's own newest checkpoint, and the
live id (the pod's UID, or the failover's id for a pod that a failover made) is never shared or used again:
a stale name under IfNotPresent would bring back another process's memory.
"""

import re

REGISTRY = "localhost:5797"
LIVE_TAG = "live"
LIVE_ID_ANNOTATION = "reprise.dev/live-id"
"""On a pod that a failover made: the live id that its image names, since its UID was not known before."""

_LIVE = re.compile(rf"{re.escape(REGISTRY)}/([^/]+)/([^/]+)/([^/:@]+):{LIVE_TAG}")


def live_reference(namespace: str, live_id: str, container: str) -> str:
    return f"{REGISTRY}/{namespace}/{live_id}/{container}:{LIVE_TAG}"


def parse_live(reference: str) -> tuple[str, str, str] | None:
    """Namespace, live id and container of a live reference; None for any other image."""
    match = _LIVE.fullmatch(reference)
    return (match[1], match[2], match[3]) if match else None
