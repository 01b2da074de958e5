"""Which checkpoint a pod was made to start from, and whether that is its workload's own (I8)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reprise.contracts.annotations import AHEAD, RESTORE_FROM
from reprise.contracts.model import Workload

FAILOVER = "reprise.dev/failover"
"""On a shadow: the failover (and its attempt) that made it; its name ends with it (restorer, shadow_name)."""
NAMED_AT_MOST = 40
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """slots: `<namespace>/<pod uid>`, in the pod's own namespace: another one cannot be named."""

    slots: str
    checkpoint_id: str
    broken: str = ""


def wanted(namespace: str, annotations: Mapping[str, str]) -> Wanted | None:
    """Return what the annotation names; None: there is none."""
    text = annotations.get(RESTORE_FROM)
    if text is None:
        return None
    uid, _, checkpoint_id = text.partition("/")
    if not PLAIN.fullmatch(uid) or not PLAIN.fullmatch(checkpoint_id):
        return Wanted("", "", f"{RESTORE_FROM} is not `<pod uid>/<checkpoint id>`: {text[:100]!r}")
    return Wanted(f"{namespace}/{uid}", checkpoint_id)


def is_ahead(annotations: Mapping[str, str]) -> bool:
    """Whether the pod was made in case its node is given up, and no failover has taken it yet."""
    return AHEAD in annotations


def distrust(workload: Workload, pod: str, annotations: Mapping[str, str], slot_namespace: str, slot_pod: str) -> str:
    """Return why a slot is not believed to be of this pod's workload; empty: it is. A pod's name begins with its workload's; a
    shadow, which nobody owns yet, is named after it too.
    """
    stem = workload.name if workload.kind != "Pod" else pod.removesuffix(f"-{annotations.get(FAILOVER, '')}")
    of_workload = slot_pod in (stem, pod) or slot_pod.startswith(f"{stem[:NAMED_AT_MOST]}-")
    if slot_namespace == workload.namespace and of_workload:
        return ""
    return f"{RESTORE_FROM} names a checkpoint of pod {slot_pod} in {slot_namespace}, which is not of {stem}"
