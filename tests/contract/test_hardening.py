"""What every workload of deploy/ must have, read from the manifests as kustomize renders them.

The level is that of the Pod Security Standard `restricted`; what differs is listed here by name, with its reason.
"""

import os
from typing import Any

import pytest
import yaml
from rendered import ROOT, render

AGENTS = {"checkpointer", "transfer", "health-watcher"}
"""Root, without a capability, and with folders of their node's: what they share with the engine is root's own."""
HOST_NETWORK = {"transfer", "health-watcher"}
ROOT_USERS = AGENTS | {"coredns"}
ADDED = {"coredns": ["NET_BIND_SERVICE"], "health-watcher": ["KILL"]}
"""coredns: port 53. health-watcher: on nodes with cgroup v1 only (components/cgroup-v1)."""
SEES_PROCESSES = {"health-watcher"}
"""The node's process ids, with cgroup v1 only."""
TOKENLESS = {"nats", "minio", "postgres", "jaeger", "webhook"}
"""They ask nothing of the API server."""
OVERLAYS = ("lab", "lab-cgroup-v1", "lab-three", "lab/infra", "lab-three/infra", "production")
Document = dict[str, Any]

pytestmark = pytest.mark.component


@pytest.fixture(scope="module", params=OVERLAYS)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """An overlay, with the optional services."""
    folder = tmp_path_factory.mktemp("hardening")
    parts = [os.path.relpath(ROOT / "deploy" / part, folder) for part in (f"overlays/{request.param}", "components/webhook")]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": parts[:1], "components": parts[1:]}))
    return render(folder)


def workloads(documents: list[Document]) -> list[tuple[str, Document]]:
    """Each one's name and its pod's spec; whatever kind it may be."""
    found = [(d["metadata"]["name"], d["spec"]["template"]["spec"]) for d in documents if "template" in d.get("spec", {})]
    assert found
    return found


def containers(spec: Document) -> list[Document]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def test_no_container_gets_more_rights_than_it_was_given(rendered: list[Document]) -> None:
    for name, spec in workloads(rendered):
        for container in containers(spec):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert not context.get("privileged"), name
            assert context["capabilities"]["drop"] == ["ALL"], name
            assert set(context["capabilities"].get("add", [])) <= set(ADDED.get(name, [])), name
            assert context.get("runAsNonRoot") or name in ROOT_USERS, name


def test_every_root_file_system_is_read_only(rendered: list[Document]) -> None:
    for name, spec in workloads(rendered):
        assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in containers(spec)), name


def test_every_pod_has_the_runtimes_seccomp_profile(rendered: list[Document]) -> None:
    for name, spec in workloads(rendered):
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name


def test_only_an_agent_touches_its_node(rendered: list[Document]) -> None:
    for name, spec in workloads(rendered):
        assert name in AGENTS or not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        assert name in HOST_NETWORK or not spec.get("hostNetwork"), name
        assert name in SEES_PROCESSES or not spec.get("hostPID"), name
        assert not spec.get("hostIPC"), name


def test_memory_is_limited_and_the_processor_is_not(rendered: list[Document]) -> None:
    """A container that is throttled renews no lease in time: its node would stand still for it."""
    for name, spec in workloads(rendered):
        for container in spec["containers"]:
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
            assert set(container["resources"]["limits"]) == {"memory"}, name


def test_every_container_is_probed(rendered: list[Document]) -> None:
    for name, spec in workloads(rendered):
        for container in spec["containers"]:
            assert {"livenessProbe", "readinessProbe"} <= set(container), name


def test_who_asks_nothing_of_the_api_server_has_no_token_for_it(rendered: list[Document]) -> None:
    for name, spec in workloads(rendered):
        assert name not in TOKENLESS or spec["automountServiceAccountToken"] is False, name
        assert name in TOKENLESS or spec["serviceAccountName"] not in ("", "default"), name


def test_the_namespace_says_what_pod_security_it_needs() -> None:
    [namespace] = [d for d in render(ROOT / "deploy/base") if d["kind"] == "Namespace"]
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    assert labels["pod-security.kubernetes.io/audit"] == "restricted"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    folder = tmp_path_factory.mktemp("network")
    parts = [os.path.relpath(ROOT / "deploy" / part, folder) for part in ("overlays/production", "components/webhook")]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": parts[:1], "components": parts[1:]}))
    return render(folder)


def policies(documents: list[Document]) -> list[Document]:
    return [d for d in documents if d["kind"] == "NetworkPolicy"]


def selects(policy: Document, labels: dict[str, str]) -> bool:
    selector = policy["spec"]["podSelector"]
    named = selector.get("matchLabels", {}).items() <= labels.items()
    return named and all(labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []))


def test_what_no_network_policy_allows_is_denied(everything: list[Document]) -> None:
    [deny] = [p for p in policies(everything) if not p["spec"]["podSelector"]]
    assert set(deny["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(deny["spec"])


def test_every_workload_on_the_pod_network_has_a_network_policy_of_its_own(everything: list[Document]) -> None:
    for document in everything:
        if "template" not in document.get("spec", {}) or document["metadata"]["name"] in HOST_NETWORK:
            continue
        labels = document["spec"]["template"]["metadata"]["labels"]
        assert any(p["spec"]["podSelector"] and selects(p, labels) for p in policies(everything)), document["metadata"]["name"]


def test_every_port_that_a_network_policy_opens_is_one_that_asks_for_credentials(everything: list[Document]) -> None:
    """To anybody at all: the console, which asks to sign in; NATS and the store; and the collector of spans, which only takes."""
    anyone = {
        (policy["metadata"]["name"], port["port"])
        for policy in policies(everything)
        for rule in policy["spec"].get("ingress", [])
        if "from" not in rule
        for port in rule["ports"]
    }
    assert anyone == {("console", "health"), ("nats", 4222), ("minio", 9000), ("jaeger", 4318)}


def test_a_network_policy_selects_something_that_exists(everything: list[Document]) -> None:
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in everything if "template" in d.get("spec", {})]
    for policy in policies(everything):
        assert any(selects(policy, labels) for labels in pods), policy["metadata"]["name"]


def test_pages_that_ask_nobody_to_sign_in_answer_within_their_pod_only(everything: list[Document]) -> None:
    spec = dict(workloads(everything))["jaeger"]
    assert "--query.http-server.host-port=127.0.0.1:16686" in spec["containers"][0]["args"]
    [service] = [d for d in everything if d["kind"] == "Service" and d["metadata"]["name"] == "jaeger"]
    assert 16686 not in [port["port"] for port in service["spec"]["ports"]]


def test_the_console_asks_its_readers_to_sign_in_unless_told_otherwise(everything: list[Document]) -> None:
    from reprise.console.settings import Settings

    assert Settings.model_fields["anonymous"].default == "none"
    told = {env["name"] for env in dict(workloads(everything))["console"]["containers"][0]["env"]}
    assert "REPRISE_ANONYMOUS" not in told


def test_nothing_is_published_outside_the_cluster(everything: list[Document]) -> None:
    assert not [d for d in everything if d["kind"] in ("Ingress", "Gateway", "HTTPRoute")]
    assert all(d["spec"].get("type", "ClusterIP") == "ClusterIP" for d in everything if d["kind"] == "Service")
