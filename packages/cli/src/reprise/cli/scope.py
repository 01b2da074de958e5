"""Which workloads a listing is about: a namespace or all, and labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from reprise.cli.ports import Session

Key = tuple[str, str, str]
"""Namespace, kind, name."""


@dataclass(frozen=True)
class Scope:
    """namespace: None for all. chosen: those that the labels fit; None: no labels were named."""

    namespace: str | None
    chosen: frozenset[Key] | None = None

    def takes(self, namespace: str, kind: str, name: str) -> bool:
        return self.namespace in (None, namespace) and (self.chosen is None or (namespace, kind, name) in self.chosen)

    def rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of the console's."""
        return [row for row in rows if self.takes(row["namespace"], row["kind"], row["workload"])]

    def event(self, event: Mapping[str, Any]) -> bool:
        """event: a CloudEvent. One that is of no workload, as a node's, passes if neither namespace nor labels were named."""
        workload = (event.get("data") or {}).get("workload") or {}
        if not workload:
            return self.namespace is None and self.chosen is None
        return self.takes(str(workload.get("namespace")), str(workload.get("kind")), str(workload.get("name")))


def scope(session: Session, *, everywhere: bool, selector: str, default_all: bool = False) -> Scope:
    """default_all: all namespaces if none is named. Raises ClusterError, typer.BadParameter."""
    named = session.named_namespace
    if named and everywhere:
        raise typer.BadParameter("-n and -A exclude each other")
    if named:
        session.require_namespace(named)
    space = None if everywhere or (default_all and not named) else named or session.namespace()
    return Scope(space, frozenset(session.objects().labelled(space, selector)) if selector else None)
