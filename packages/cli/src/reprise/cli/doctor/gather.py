"""Collects the evidence, as far as the user's rights reach: what may not be seen is told as such, and is no error."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from reprise.archive.inspection import Inspection
from reprise.archive.inspector import inspect_file
from reprise.cli.archives import opened
from reprise.cli.claims import claimed
from reprise.cli.doctor.evidence import Evidence, since_good
from reprise.cli.ports import Claimed, ClusterError, Console, NodeFacts, PodFacts, Session
from reprise.contracts import spelling
from reprise.contracts.annotations import parse, unread
from reprise.contracts.errors import RepriseError

CHECKPOINTS, WRONG = 200, 500
T = TypeVar("T")


class Gatherer:
    """deep: read the newest checkpoint too, for its sockets, locks and devices."""

    def __init__(self, session: Session, *, deep: bool) -> None:
        self._session, self._deep = session, deep
        self._objects, self._hidden = session.objects(), dict[str, str]()
        self._nodes = {node.name: node for node in self._seen("nodes", self._objects.nodes) or []}

    def about(self, subject: str) -> list[Evidence]:
        """subject: a node, a workload, or empty for all nodes. One piece for each node in question."""
        if not subject and not self._nodes:
            raise ClusterError("no node can be seen", subject="nodes", remedy="name a workload: `reprise doctor NAMESPACE/NAME`")
        if not subject:
            return [self._of_node(node) for node in self._nodes.values()]
        if subject in self._nodes:
            return [self._of_node(self._nodes[subject])]
        return self._of_workload(claimed(self._session, subject))

    def before_install(self, name: str) -> list[Evidence]:
        """Of this node, or of all: what can be seen without Reprise. Raises ClusterError."""
        if not self._nodes or (name and name not in self._nodes):
            why = "there is no such node" if self._nodes else self._hidden.get("nodes", "no node can be seen")
            raise ClusterError(why, subject=f"node {name}" if name else "nodes", remedy="`kubectl get nodes` lists them")
        chosen = [self._nodes[name]] if name else list(self._nodes.values())
        return [
            Evidence(node=node, kubelet=self._kubelet(node), cgroup=self._cgroup(node), hidden=self._hidden) for node in chosen
        ]

    def _kubelet(self, node: NodeFacts) -> dict[str, Any] | None:
        return self._seen("kubelet", lambda: self._objects.configz(node.name))

    def _cgroup(self, node: NodeFacts) -> int | None:
        return self._seen("cgroup", lambda: self._objects.cgroup(node.name))

    def _of_node(self, node: NodeFacts) -> Evidence:
        return Evidence(
            node=node, kubelet=self._kubelet(node), rights=self._rights(), services=self._services(node),
            engine_missing=self._engine_missing(node), hidden=self._hidden,
        )  # fmt: skip

    def _engine_missing(self, node: NodeFacts) -> dict[str, Any] | None:
        """By the console: its runtime's newest word, if that was that it has no engine."""

        def ask() -> dict[str, Any] | None:
            with self._session.console() as console:
                failed = console.rows("events", {"type": "checkpoint.failed", "node": node.name}, CHECKPOINTS)
                taken = console.rows("events", {"type": "checkpoint.taken", "node": node.name}, 1)
            found = next((row for row in failed if (row.get("data") or {}).get("reason") == "EngineMissing"), None)
            return None if found is None or (taken and str(taken[0]["at"]) > str(found["at"])) else found

        return self._seen("console", ask)

    def _rights(self) -> bool | None:
        system = self._session.system_namespace
        return self._seen("rights", lambda: self._objects.may("reprise-checkpointer", system, "create", "nodes", "checkpoint"))

    def _services(self, node: NodeFacts) -> dict[str, bool] | None:
        running = self._seen("services", lambda: self._objects.running(self._session.system_namespace))
        return None if running is None else {name: ready for name, where, ready in running if where == node.name}

    def _of_workload(self, found: Claimed) -> list[Evidence]:
        pods = self._objects.pods(found)
        told = self._told(found)
        inspection = self._inspection(found) if self._deep and told.get("good") else None
        nodes = sorted({pod.node for pod in pods if pod.node in self._nodes})
        made = [self._joined(found, pods, told, inspection, self._nodes[name]) for name in nodes]
        return made or [self._joined(found, pods, told, inspection, None)]

    def _joined(
        self, found: Claimed, pods: list[PodFacts], told: dict[str, Any], inspection: Inspection | None, node: NodeFacts | None
    ) -> Evidence:
        of = self._of_node(node) if node else Evidence(hidden=self._hidden)
        told_by = parse(found.annotations)
        return Evidence(
            node=node, kubelet=of.kubelet, rights=of.rights, services=of.services, workload=found,
            engine_missing=of.engine_missing,
            policy=told_by.policy, problems=(*told_by.problems, *unread(_misplaced(found))),
            pods=tuple(pod for pod in pods if node is None or pod.node == node.name),
            inspection=inspection, hidden=self._hidden, **told,
        )  # fmt: skip

    def _told(self, found: Claimed) -> dict[str, Any]:
        """By the console; nothing if it does not answer."""

        def ask() -> dict[str, Any]:
            with self._session.console() as console:
                return _history(console, found)

        return self._seen("console", ask) or {}

    def _inspection(self, found: Claimed) -> Inspection | None:
        workload = found.workload

        def read() -> Inspection:
            with opened(self._session, f"{workload.namespace}/{workload.kind.lower()}/{workload.name}", "") as archive:
                return inspect_file(archive.file, archive.name)

        return self._seen("checkpoint", read)

    def _seen(self, what: str, look: Callable[[], T]) -> T | None:
        if what in self._hidden:
            return None
        try:
            return look()
        except RepriseError as error:
            self._hidden[what] = f"{error.message}"[:120]
            return None

    def wrong(self) -> list[dict[str, Any]]:
        """Annotations that have no effect, on whatever object: the console's rows; none if they cannot be seen."""

        def ask() -> list[dict[str, Any]]:
            with self._session.console() as console:
                return console.rows("annotations", {}, WRONG)

        return self._seen("annotations", ask) or []

    @property
    def hidden(self) -> dict[str, str]:
        """What could not be seen, and why."""
        return dict(self._hidden)


def _misplaced(found: Claimed) -> tuple[spelling.Wrong, ...]:
    return spelling.misplaced(found.template, spelling.on_template(found.workload.kind))


def _history(console: Console, found: Claimed) -> dict[str, Any]:
    workload = found.workload
    filters = {"namespace": workload.namespace, "workload": workload.name, "kind": workload.kind}
    good, failures = since_good(console.rows("checkpoints", filters, CHECKPOINTS))
    told: dict[str, Any] = {"good": good, "failures": failures}
    told["failover"] = next(iter(console.rows("failovers", filters, 1)), None)
    with suppress(RepriseError):
        every = console.workloads(workload.namespace)
        whose = (workload.kind, workload.name)
        told["row"] = next((row for row in every if (row.get("kind"), row.get("workload")) == whose), None)
    paused = console.rows("events", {"type": "checkpoint.paused", "namespace": workload.namespace, "workload": workload.name}, 1)
    newest = good["at"] if good else ""
    told["paused"] = next((event for event in paused if str(event.get("at")) > str(newest)), None)
    return told
