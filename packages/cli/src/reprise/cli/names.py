"""How a user names things: `[NAMESPACE/][KIND/]WORKLOAD[@CHECKPOINT]`. Pure."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from reprise.contracts.model import Workload

KINDS = {
    **dict.fromkeys(("deployment", "deployments", "deploy"), "Deployment"),
    **dict.fromkeys(("statefulset", "statefulsets", "sts"), "StatefulSet"),
    **dict.fromkeys(("pod", "pods", "po"), "Pod"),
}


def address(workload: Workload) -> str:
    """As a user writes it, whole."""
    return f"{workload.namespace}/{workload.kind.lower()}/{workload.name}"


class BadName(ValueError):
    """It cannot be a workload's name; the message says how to write one."""


@dataclass(frozen=True)
class WorkloadName:
    """namespace, kind, checkpoint: empty where the user left them out."""

    name: str
    namespace: str = ""
    kind: str = ""
    checkpoint: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.namespace, self.kind.lower(), self.name) if part)


def parse(text: str) -> WorkloadName:
    """Raises BadName."""
    address, at, checkpoint = text.partition("@")
    parts = address.split("/")
    if not all(parts) or len(parts) > 3 or (at and not checkpoint):
        raise BadName(f"{text!r} is no workload: write NAMESPACE/NAME, KIND/NAME or NAMESPACE/KIND/NAME")
    *before, name = parts
    kind = KINDS.get(before[-1].lower(), "") if before else ""
    if kind:
        before = before[:-1]
    if len(before) > 1:
        raise BadName(f"{text!r}: {before[-1]!r} is no kind: write deployment, statefulset or pod")
    return WorkloadName(name, before[0] if before else "", kind, checkpoint)


def suggestion(wanted: str, known: Iterable[str]) -> str:
    """A remedy: the names that are near, or what there is."""
    names = sorted(set(known))
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5) or [name for name in names if wanted in name][:3]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there is: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}" if names else ""
