"""What a planned move needs of the API server."""

from collections.abc import Callable
from typing import Any

from kubernetes import client
from reprise.cli.ports import Hosted, Told
from reprise.contracts.annotations import parse

TIMEOUT_S = (5, 20)  # connect, read


class KubeMover:
    """Implements ports.Mover. ask: runs a call about something, and turns its error into a ClusterError."""

    def __init__(self, api: client.ApiClient, ask: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._apps, self._core, self._ask = client.AppsV1Api(api), client.CoreV1Api(api), ask

    def annotations(self, namespace: str, deployment: str) -> dict[str, str]:
        read = self._apps.read_namespaced_deployment
        found = self._ask(
            f"Deployment {deployment} in {namespace}", lambda: read(deployment, namespace, _request_timeout=TIMEOUT_S)
        )
        return dict(found.metadata.annotations or {})

    def annotate(self, namespace: str, deployment: str, annotations: dict[str, str]) -> None:
        body, patch = {"metadata": {"annotations": annotations}}, self._apps.patch_namespaced_deployment
        self._ask(
            f"Deployment {deployment} in {namespace}", lambda: patch(deployment, namespace, body, _request_timeout=TIMEOUT_S)
        )

    def told(self, namespace: str, deployment: str) -> list[Told]:
        selector = f"involvedObject.kind=Deployment,involvedObject.name={deployment}"
        found = self._ask(
            f"events in {namespace}",
            lambda: self._core.list_namespaced_event(namespace, field_selector=selector, _request_timeout=TIMEOUT_S),
        )
        ordered = sorted(found.items, key=lambda event: event.metadata.creation_timestamp)
        return [Told(event.metadata.name, event.reason or "", event.message or "") for event in ordered]

    def nodes(self) -> dict[str, bool]:
        found = self._ask("nodes", lambda: self._core.list_node(_request_timeout=TIMEOUT_S))
        return {node.metadata.name: bool(node.spec.unschedulable) for node in found.items}

    def cordon(self, node: str) -> None:
        body = {"spec": {"unschedulable": True}}
        self._ask(f"node {node}", lambda: self._core.patch_node(node, body, _request_timeout=TIMEOUT_S))

    def hosted(self, node: str) -> list[Hosted]:
        pods = self._ask(
            f"pods on {node}",
            lambda: self._core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}", _request_timeout=TIMEOUT_S),
        )
        listed = self._ask("Deployments", lambda: self._apps.list_deployment_for_all_namespaces(_request_timeout=TIMEOUT_S))
        protected = {
            (d.metadata.namespace, d.metadata.name) for d in listed.items if parse(d.metadata.annotations or {}).policy.protects
        }
        owned = [(pod, _deployment(pod)) for pod in pods.items if pod.metadata.deletion_timestamp is None]
        return [
            Hosted(pod.metadata.namespace, name, pod.metadata.name, node)
            for pod, name in owned
            if (pod.metadata.namespace, name) in protected
        ]


def _deployment(pod: Any) -> str:
    owner = next((o for o in pod.metadata.owner_references or [] if o.controller and o.kind == "ReplicaSet"), None)
    label = (pod.metadata.labels or {}).get("pod-template-hash", "")
    return str(owner.name).removesuffix(f"-{label}") if owner else ""
