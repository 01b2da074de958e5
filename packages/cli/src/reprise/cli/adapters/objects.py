"""Workloads and nodes as the API server has them, with the user's rights."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, cast

from kubernetes import client
from reprise.cli.ports import Claimed, NodeFacts, PodFacts
from reprise.contracts.model import Workload

TIMEOUT_S = (5, 20)  # connect, read
Ask = Callable[[str, Callable[[], Any]], Any]
KINDS = ("Deployment", "StatefulSet", "Pod")


class KubeObjects:
    """Implements ports.Objects. ask: runs a call about something, and turns its error into a ClusterError."""

    def __init__(self, api: client.ApiClient, ask: Ask) -> None:
        self._api, self._ask = api, ask
        self._core, self._apps = client.CoreV1Api(api), client.AppsV1Api(api)

    def names(self, namespace: str) -> list[tuple[str, str]]:
        found = []
        for kind, listing in zip(KINDS, self._listings(), strict=True):
            page = self._ask(f"{kind}s in {namespace}", partial(listing, namespace, _request_timeout=TIMEOUT_S))
            # A pod that somebody owns is not what is annotated.
            found += [(kind, item.metadata.name) for item in page.items if kind != "Pod" or not item.metadata.owner_references]
        return found

    def labelled(self, namespace: str | None, selector: str) -> list[tuple[str, str, str]]:
        apps, core = self._apps, self._core
        everywhere = (
            apps.list_deployment_for_all_namespaces, apps.list_stateful_set_for_all_namespaces, core.list_pod_for_all_namespaces,
        )  # fmt: skip
        listings: Any = everywhere if namespace is None else [partial(each, namespace) for each in self._listings()]
        found = []
        for kind, listing in zip(KINDS, listings, strict=True):
            listed = partial(listing, label_selector=selector, _request_timeout=TIMEOUT_S)
            page = self._ask(f"{kind}s with {selector}", listed)
            found += [(item.metadata.namespace, kind, item.metadata.name) for item in page.items]
        return found

    def _listings(self) -> tuple[Any, Any, Any]:
        apps, core = self._apps, self._core
        return apps.list_namespaced_deployment, apps.list_namespaced_stateful_set, core.list_namespaced_pod

    def read(self, workload: Workload) -> Claimed:
        read: Any = {
            "Deployment": self._apps.read_namespaced_deployment, "StatefulSet": self._apps.read_namespaced_stateful_set,
            "Pod": self._core.read_namespaced_pod,
        }[workload.kind]  # fmt: skip
        found = self._ask(str(workload), lambda: read(workload.name, workload.namespace, _request_timeout=TIMEOUT_S))
        pod, as_json = workload.kind == "Pod", cast(Any, self._api).sanitize_for_serialization
        return Claimed(
            workload=workload,
            annotations=dict(found.metadata.annotations or {}),
            spec=as_json(found.spec if pod else found.spec.template.spec),
            replicas=1 if pod else found.spec.replicas or 0,
            selector={} if pod else dict(found.spec.selector.match_labels or {}),
            template={} if pod or not found.spec.template.metadata else dict(found.spec.template.metadata.annotations or {}),
        )

    def annotate(self, workload: Workload, annotations: Mapping[str, str | None]) -> None:
        self._patch(workload, {"metadata": {"annotations": dict(annotations)}})

    def merge(self, workload: Workload, spec: Mapping[str, Any]) -> None:
        """A strategic merge, as the client sends it of itself."""
        self._patch(workload, {"spec": {"template": {"spec": dict(spec)}}})

    def _patch(self, workload: Workload, body: dict[str, Any]) -> None:
        patch: Any = {
            "Deployment": self._apps.patch_namespaced_deployment, "StatefulSet": self._apps.patch_namespaced_stateful_set,
            "Pod": self._core.patch_namespaced_pod,
        }[workload.kind]  # fmt: skip
        self._ask(str(workload), lambda: patch(workload.name, workload.namespace, body, _request_timeout=TIMEOUT_S))

    def pods(self, claimed: Claimed) -> list[PodFacts]:
        workload, listing = claimed.workload, self._core.list_namespaced_pod
        labels = ",".join(f"{name}={value}" for name, value in claimed.selector.items())
        field = f"metadata.name={workload.name}"
        options: Any = {"field_selector": field} if workload.kind == "Pod" else {"label_selector": labels}
        page = self._ask(f"pods of {workload}", lambda: listing(workload.namespace, _request_timeout=TIMEOUT_S, **options))
        return [self._pod(pod) for pod in page.items if pod.metadata.deletion_timestamp is None]

    def _pod(self, pod: Any) -> PodFacts:
        states = pod.status.container_statuses or []
        return PodFacts(
            name=pod.metadata.name,
            uid=pod.metadata.uid,
            node=pod.spec.node_name or "",
            phase=pod.status.phase or "",
            ready={state.name: bool(state.ready) for state in states},
            image_ids={state.name: state.image_id or "" for state in states},
            images={container.name: container.image or "" for container in pod.spec.containers},
        )

    def nodes(self) -> list[NodeFacts]:
        page = self._ask("nodes", lambda: self._core.list_node(_request_timeout=TIMEOUT_S))
        return [_node(item) for item in page.items]

    def configz(self, node: str) -> dict[str, Any]:
        get: Any = self._core.connect_get_node_proxy_with_path
        answer = self._ask(
            f"configuration of the kubelet of {node}",
            lambda: get(node, "configz", _request_timeout=TIMEOUT_S, _preload_content=False),
        )
        told = json.loads(answer.data)
        return dict(told.get("kubeletconfig") or {}) if isinstance(told, dict) else {}

    def cgroup(self, node: str) -> int | None:
        get: Any = self._core.connect_get_node_proxy_with_path
        answer = self._ask(
            f"metrics of the kubelet of {node}", lambda: get(node, "metrics", _request_timeout=TIMEOUT_S, _preload_content=False)
        )
        told = re.search(rb"^kubelet_cgroup_version (\d)", answer.data, re.MULTILINE)
        return int(told[1]) if told else None

    def may(self, account: str, namespace: str, verb: str, resource: str, subresource: str = "") -> bool:
        attributes = client.V1ResourceAttributes(verb=verb, resource=resource, subresource=subresource or None)
        user = f"system:serviceaccount:{namespace}:{account}"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        spec = client.V1SubjectAccessReviewSpec(user=user, groups=groups, resource_attributes=attributes)
        review = client.V1SubjectAccessReview(spec=spec)
        create = client.AuthorizationV1Api(self._api).create_subject_access_review
        return bool(self._ask(f"rights of {account}", lambda: create(review, _request_timeout=TIMEOUT_S)).status.allowed)

    def running(self, namespace: str) -> list[tuple[str, str, bool]]:
        listing = self._core.list_namespaced_pod
        selector = "app.kubernetes.io/part-of=reprise"
        page = self._ask(f"pods in {namespace}", lambda: listing(namespace, label_selector=selector, _request_timeout=TIMEOUT_S))
        return [
            ((pod.metadata.labels or {}).get("app.kubernetes.io/name", ""), pod.spec.node_name or "", _ready(pod))
            for pod in page.items
        ]

    def now(self) -> datetime:
        """The API server's clock, to the second; this machine's if it does not say."""
        version = client.VersionApi(self._api)
        _, _, headers = self._ask("API server", lambda: version.get_code_with_http_info(_request_timeout=TIMEOUT_S))
        try:
            return parsedate_to_datetime(str((headers or {}).get("Date") or "")).astimezone(UTC)
        except ValueError:
            return datetime.now(UTC)


def _ready(pod: Any) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])


def _node(item: Any) -> NodeFacts:
    info = item.status.node_info
    return NodeFacts(
        name=item.metadata.name,
        ready=_ready(item),
        kubelet=info.kubelet_version,
        runtime=info.container_runtime_version,
        kernel=info.kernel_version,
        architecture=info.architecture,
        os=info.operating_system,
        pressure=tuple(c.type for c in item.status.conditions or [] if c.type.endswith("Pressure") and c.status == "True"),
    )
