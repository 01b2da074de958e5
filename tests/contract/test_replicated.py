"""What must survive the loss of any node, read from the manifests as kustomize renders them."""

from typing import Any

import pytest
from rendered import ROOT, render

pytestmark = pytest.mark.component
SERVERS = ("nats", "minio")
OURS = ("scheduler", "restorer")
"""On the way of a recovery, and not on every node."""
HOSTNAME = "kubernetes.io/hostname"
Document = dict[str, Any]


def named(folder: str, kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in render(ROOT / "deploy/overlays" / folder) if d["kind"] == kind}


@pytest.fixture(scope="module")
def production() -> dict[str, dict[str, Document]]:
    kinds = ("StatefulSet", "Deployment", "DaemonSet", "PodDisruptionBudget", "ConfigMap", "Service")
    return {kind: named("production", kind) for kind in kinds}


def test_the_lab_with_three_nodes_tries_the_servers_of_production(production: dict[str, dict[str, Document]]) -> None:
    lab = named("lab-three/infra", "StatefulSet")
    for name in SERVERS:
        [ours] = lab[name]["spec"]["template"]["spec"]["containers"]
        [theirs] = production["StatefulSet"][name]["spec"]["template"]["spec"]["containers"]
        assert ours["image"] == f"localhost/{name}:lab"
        ours["image"] = theirs["image"]
        assert lab[name] == production["StatefulSet"][name]
    assert named("lab-three/infra", "ConfigMap")["nats"] == production["ConfigMap"]["nats"]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_of_three_has_a_node_of_its_own_and_waits_for_it(name: str, production: dict[str, dict[str, Document]]) -> None:
    found = production["StatefulSet"][name]["spec"]
    pod = found["template"]["spec"]
    assert (found["replicas"], found["podManagementPolicy"]) == (3, "Parallel"), "one alone has no quorum, and is never ready"
    [apart] = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == HOSTNAME
    assert apart["labelSelector"]["matchLabels"].items() <= found["template"]["metadata"]["labels"].items()
    assert all("tolerationSeconds" not in each for each in pod["tolerations"])
    peers = production["Service"][found["serviceName"]]["spec"]
    assert peers["publishNotReadyAddresses"], "they need each other's names to get ready"
    assert production["PodDisruptionBudget"][name]["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("name", OURS)
def test_what_recovers_never_is_on_one_node_only(name: str, production: dict[str, dict[str, Document]]) -> None:
    found = production["Deployment"][name]["spec"]
    assert found["replicas"] >= 2
    [spread] = found["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["maxSkew"], spread["whenUnsatisfiable"]) == (HOSTNAME, 1, "DoNotSchedule")
    assert spread["nodeTaintsPolicy"] == "Honor", "a node that is off would count as one with none of them"
    assert spread["labelSelector"]["matchLabels"].items() <= found["template"]["metadata"]["labels"].items()
    assert production["PodDisruptionBudget"][name]["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("folder", ["production", "lab-three"])
def test_every_service_of_ours_asks_for_three_replicas(folder: str) -> None:
    """One that asked for fewer would make a stream or a bucket that one node takes with it."""
    found = [*named(folder, "Deployment").values(), *named(folder, "DaemonSet").values()]
    ours = [d for d in found if d["metadata"]["labels"].get("app.kubernetes.io/part-of") == "reprise"]
    assert len(ours) >= 6
    for each in ours:
        told = {env["name"]: env.get("value") for env in each["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert told["REPRISE_NATS_REPLICAS"] == "3", each["metadata"]["name"]


def test_nothing_of_ours_is_kept_on_a_node_of_the_lab_with_three() -> None:
    assert all(not d["spec"]["template"]["spec"].get("nodeSelector") for d in named("lab-three", "Deployment").values())


def test_a_server_of_nats_is_let_in_by_its_certificate_only(production: dict[str, dict[str, Document]]) -> None:
    text = production["ConfigMap"]["nats"]["data"]["nats.conf"]
    cluster = text[text.index("cluster {") :]
    assert "verify: true" in cluster
    assert "ca_file: /etc/nats/ca.crt" in cluster
    assert cluster.count("tls://nats-") == 3
    assert "sync_interval: always" in text
