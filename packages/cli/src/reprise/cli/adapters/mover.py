"""What a planned move needs of the API server."""

from collections.abc import Callable
from typing import Any

from kubernetes import client
from reprise.cli.ports import ClusterError, Hosted, Told
from reprise.contracts.annotations import parse
from reprise.contracts.model import Workload
from reprise.contracts.records import FORCE
from reprise.runtime.owners import owner_of

TIMEOUT_S = (5, 20)  # connect, read
ENDED = ("Succeeded", "Failed")


class KubeMover:
    """Implements ports.Mover. ask: runs a call about something, and turns its error into a ClusterError."""

    def __init__(self, api: client.ApiClient, ask: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._api = api
        self._apps, self._core, self._ask = client.AppsV1Api(api), client.CoreV1Api(api), ask

    def told(self, workload: Workload) -> list[Told]:
        selector = f"involvedObject.kind={workload.kind},involvedObject.name={workload.name}"
        found = self._ask(
            f"events in {workload.namespace}",
            lambda: self._core.list_namespaced_event(workload.namespace, field_selector=selector, _request_timeout=TIMEOUT_S),
        )
        ordered = sorted(found.items, key=lambda event: event.metadata.creation_timestamp)
        return [Told(event.metadata.name, event.reason or "", event.message or "") for event in ordered]

    def nodes(self) -> dict[str, bool]:
        found = self._ask("nodes", lambda: self._core.list_node(_request_timeout=TIMEOUT_S))
        return {node.metadata.name: bool(node.spec.unschedulable) for node in found.items}

    def cordon(self, node: str) -> None:
        self._mark(node, unschedulable=True)

    def uncordon(self, node: str) -> None:
        self._mark(node, unschedulable=False)

    def _mark(self, node: str, *, unschedulable: bool) -> None:
        body = {"spec": {"unschedulable": unschedulable}}
        self._ask(f"node {node}", lambda: self._core.patch_node(node, body, _request_timeout=TIMEOUT_S))

    def hosted(self, node: str) -> list[Hosted]:
        pods = self._ask(
            f"pods on {node}",
            lambda: self._core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}", _request_timeout=TIMEOUT_S),
        )
        protected = self._protected()
        living = [pod for pod in pods.items if pod.metadata.deletion_timestamp is None and pod.status.phase not in ENDED]
        return [
            Hosted(workload, pod.metadata.name, node)
            for pod, workload in [(pod, owner_of(pod)) for pod in living]
            if workload in protected or (workload.kind == "Pod" and parse(pod.metadata.annotations or {}).policy.protects)
        ]

    def force_failovers(self, namespace: str, request: str) -> None:
        leases: Any = client.CoordinationV1Api(self._api)
        what = f"Lease {FORCE} in {namespace}"
        body = {"metadata": {"name": FORCE}, "spec": {"holderIdentity": request}}
        try:
            self._ask(what, lambda: leases.patch_namespaced_lease(FORCE, namespace, body, _request_timeout=TIMEOUT_S))
        except ClusterError as error:
            if error.reason != "NotFound":
                raise
            self._ask(what, lambda: leases.create_namespaced_lease(namespace, body, _request_timeout=TIMEOUT_S))

    def _protected(self) -> set[Workload]:
        deployments, sets = self._apps.list_deployment_for_all_namespaces, self._apps.list_stateful_set_for_all_namespaces
        listed = [
            ("Deployment", self._ask("Deployments", lambda: deployments(_request_timeout=TIMEOUT_S))),
            ("StatefulSet", self._ask("StatefulSets", lambda: sets(_request_timeout=TIMEOUT_S))),
        ]
        return {
            Workload.model_validate({"namespace": each.metadata.namespace, "kind": kind, "name": each.metadata.name})
            for kind, page in listed
            for each in page.items
            if parse(each.metadata.annotations or {}).policy.protects
        }
