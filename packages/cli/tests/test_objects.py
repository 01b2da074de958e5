"""Workloads, pods and nodes as a real API server words them, and what `protect` and `doctor` make of them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes import client
from reprise.cli.adapters.cluster import KubeCluster
from reprise.cli.adapters.objects import KubeObjects
from reprise.cli.ports import ClusterError, Objects
from reprise.contracts.model import Workload

META: dict[str, Any] = {"name": "cart", "namespace": "shop", "annotations": {"reprise.dev/mode": "criu"}}
OWNER = {"kind": "ReplicaSet", "name": "r", "apiVersion": "apps/v1", "uid": "r"}
POD: dict[str, Any] = {
    "metadata": {
        "name": "cart-1",
        "uid": "u1",
        "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "apiVersion": "v1", "uid": "r"}],
    },
    "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "app:1"}]},
    "status": {
        "phase": "Running",
        "containerStatuses": [
            {"name": "app", "ready": True, "image": "app:1", "imageID": "sha256:1", "restartCount": 0, "started": True}
        ],
    },
}
BARE = POD | {"metadata": {"name": "bare", "uid": "b"}}
GONE = POD | {"metadata": {"name": "cart-0", "uid": "u0", "deletionTimestamp": "2026-11-24T10:00:00Z"}}
SETS = {"kind": "StatefulSet", "name": "db", "apiVersion": "apps/v1", "uid": "s", "controller": True}
JOB = {"kind": "Job", "name": "once", "apiVersion": "batch/v1", "uid": "j", "controller": True}
OF_CART = {"kind": "ReplicaSet", "name": "cart-abc", "apiVersion": "apps/v1", "uid": "r", "controller": True}


def on_n1(name: str, owner: dict[str, Any] | None, phase: str = "Running", **meta: Any) -> dict[str, Any]:
    owners = {"ownerReferences": [owner]} if owner else {}
    return POD | {"metadata": {"name": name, "namespace": "shop", "uid": name} | owners | meta, "status": {"phase": phase}}


ANNOTATED: dict[str, Any] = {"annotations": META["annotations"]}
ON_N1 = [
    on_n1("cart-abc-1", OF_CART, labels={"pod-template-hash": "abc"}), on_n1("db-0", SETS), on_n1("bare", None, **ANNOTATED),
    on_n1("once-1", JOB, **ANNOTATED), on_n1("plain", None), on_n1("over", None, "Succeeded", **ANNOTATED),
    on_n1("going", None, deletionTimestamp="2026-11-24T10:00:00Z", **ANNOTATED),
]  # fmt: skip
SPEC: dict[str, Any] = {
    "replicas": 2, "selector": {"matchLabels": {"app": "cart"}},
    "template": {
        "metadata": {"annotations": {"reprise.dev/mod": "criu"}},
        "spec": {"hostNetwork": True, "containers": [{"name": "app", "image": "app:1", "tty": True}]},
    },
}  # fmt: skip
INFO = {
    "kubeletVersion": "v1.34.1", "containerRuntimeVersion": "cri-o://1.34.0", "kernelVersion": "6.18", "architecture": "amd64",
    "operatingSystem": "linux", "machineID": "", "systemUUID": "", "bootID": "", "osImage": "", "kubeProxyVersion": "",
}  # fmt: skip
NODE = {"metadata": {"name": "n1"}, "status": {"nodeInfo": INFO, "conditions": [{"type": "Ready", "status": "True"}]}}
ANSWERS: dict[str, Any] = {
    "GET /apis/apps/v1/namespaces/shop/deployments/cart": {"metadata": META, "spec": SPEC},
    "PATCH /apis/apps/v1/namespaces/shop/deployments/cart": {"metadata": META, "spec": SPEC},
    "GET /apis/apps/v1/namespaces/shop/deployments": {"items": [{"metadata": META, "spec": SPEC}]},
    "GET /apis/apps/v1/namespaces/shop/statefulsets": {"items": []},
    "GET /api/v1/namespaces/shop/pods": {"items": [POD, GONE, BARE]},
    "GET /api/v1/pods": {"items": ON_N1},
    "GET /apis/apps/v1/deployments": {"items": [{"metadata": META, "spec": SPEC}]},
    "GET /apis/apps/v1/statefulsets": {
        "items": [{"metadata": META | {"name": "db"}, "spec": SPEC | {"serviceName": "db"}}]
    },
    "GET /api/v1/nodes": {"items": [NODE]},
    "GET /api/v1/nodes/n1/proxy/configz": {"kubeletconfig": {"featureGates": {"ContainerCheckpoint": True}}},
    "POST /apis/authorization.k8s.io/v1/subjectaccessreviews": {"spec": {}, "status": {"allowed": True}},
    "GET /version/": {
        "major": "1", "minor": "34", "gitVersion": "v1", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "",
        "compiler": "", "platform": "",
    },
}  # fmt: skip


types: list[str] = []
"""Of what was sent."""


class ApiServer(BaseHTTPRequestHandler):
    sent: list[tuple[str, Any]]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        length = int(self.headers.get("Content-Length") or 0)
        types.append(self.headers.get("Content-Type") or "")
        self.sent.append((f"{self.command} {self.path}", json.loads(self.rfile.read(length) or "null")))
        found = ANSWERS.get(f"{self.command} {path}")
        body = json.dumps(found or {"kind": "Status", "reason": "NotFound", "message": f"{path} not found"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    do_PATCH = do_POST = do_GET  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        return "Tue, 24 Nov 2026 12:00:00 GMT"

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def sent() -> list[tuple[str, Any]]:
    """What the API server was asked, with bodies."""
    return []


@pytest.fixture
def cluster(tmp_path: Path, sent: list[tuple[str, Any]]) -> Iterator[KubeCluster]:
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (ApiServer,), {"sent": sent}))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    config = {
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    yield KubeCluster(str(tmp_path / "kubeconfig"))
    server.shutdown()
    server.server_close()


@pytest.fixture
def objects(cluster: KubeCluster) -> Objects:
    return cluster.objects()


CART = Workload(namespace="shop", name="cart")


def test_a_workload_with_its_pods(objects: Objects) -> None:
    found = objects.read(CART)
    assert (found.annotations, found.replicas, found.selector) == (META["annotations"], 2, {"app": "cart"})
    assert (found.spec["hostNetwork"], found.containers[0]["tty"]) == (True, True)
    assert found.template == {"reprise.dev/mod": "criu"}
    pods = objects.pods(found)
    assert [pod.name for pod in pods] == ["cart-1", "bare"]
    assert (pods[0].node, pods[0].ready, pods[0].image_ids) == ("n1", {"app": True}, {"app": "sha256:1"})


def test_a_pod_that_somebody_owns_is_not_what_is_annotated(objects: Objects) -> None:
    names = objects.names("shop")
    assert names[0] == ("Deployment", "cart")
    assert ("Pod", "bare") in names
    assert ("Pod", "cart-1") not in names


def test_what_a_drain_waits_for_is_every_protected_pod_that_has_not_ended(cluster: KubeCluster) -> None:
    """A Job's pod too: it is not moved, and that is told."""
    found = {each.pod: str(each.workload) for each in cluster.mover().hosted("n1")}
    assert found == {
        "cart-abc-1": "deployment/cart in shop", "db-0": "statefulset/db in shop", "bare": "pod/bare in shop",
        "once-1": "pod/once-1 in shop",
    }  # fmt: skip


def test_an_annotation_is_patched_and_nothing_else(objects: Objects, sent: list[tuple[str, Any]]) -> None:
    objects.annotate(CART, {"reprise.dev/mode": "off", "reprise.dev/keep": None})
    assert sent[-1] == (
        "PATCH /apis/apps/v1/namespaces/shop/deployments/cart",
        {"metadata": {"annotations": {"reprise.dev/mode": "off", "reprise.dev/keep": None}}},
    )


def test_a_variable_is_merged_into_the_pod_template_by_its_name(objects: Objects, sent: list[tuple[str, Any]]) -> None:
    env = [{"name": "UV_USE_IO_URING", "value": "0"}]
    objects.merge(CART, {"containers": [{"name": "app", "env": env}]})
    assert sent[-1] == (
        "PATCH /apis/apps/v1/namespaces/shop/deployments/cart",
        {"spec": {"template": {"spec": {"containers": [{"name": "app", "env": env}]}}}},
    )
    assert types[-1] == "application/strategic-merge-patch+json", "else its other containers and variables would be gone"


def test_a_node_its_kubelet_and_the_rights_of_a_service_account(objects: Objects, sent: list[tuple[str, Any]]) -> None:
    [node] = objects.nodes()
    assert (node.ready, node.runtime, node.kubelet) == (True, "cri-o://1.34.0", "v1.34.1")
    assert objects.configz("n1") == {"featureGates": {"ContainerCheckpoint": True}}
    assert objects.may("reprise-checkpointer", "reprise-system", "create", "nodes", "checkpoint")
    spec = sent[-1][1]["spec"]
    assert spec["user"] == "system:serviceaccount:reprise-system:reprise-checkpointer"
    assert spec["resourceAttributes"] == {"verb": "create", "resource": "nodes", "subresource": "checkpoint"}


def test_the_clock_is_the_clusters(objects: Objects) -> None:
    assert objects.now() == datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_what_is_gone_is_told_as_such(objects: Objects) -> None:
    with pytest.raises(ClusterError) as caught:
        objects.read(Workload(namespace="shop", kind="StatefulSet", name="db"))
    assert "it is gone" in caught.value.remedy


def test_workloads_are_chosen_by_their_labels_of_one_namespace_or_of_all(objects: Objects, sent: list[tuple[str, Any]]) -> None:
    assert ("shop", "Deployment", "cart") in objects.labelled("shop", "app=cart")
    assert ("shop", "StatefulSet", "db") in objects.labelled(None, "app=cart")
    assert all("labelSelector=app%3Dcart" in path for path, _ in sent[-3:])


@pytest.mark.parametrize(
    ("metrics", "version"), [(b"# HELP x\nkubelet_cgroup_version 2\n", 2), (b"kubelet_cgroup_version 1\n", 1), (b"up 1\n", None)]
)
def test_the_cgroup_version_is_the_kubelets_word(metrics: bytes, version: int | None) -> None:
    found = KubeObjects(client.ApiClient(), lambda what, _: SimpleNamespace(data=metrics) if "metrics of" in what else None)
    assert found.cgroup("n1") == version
