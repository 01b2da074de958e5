"""Files that others read are what they claim to be."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from rendered import ROOT, render
from reprise_lab.paths import UV


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.dev.yml").read_text()))


def test_the_compose_file_fits_the_compose_specification() -> None:
    """The schema is compose-spec.json of the Go module github.com/compose-spec/compose-go/v2."""
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    jsonschema.validate(compose(), schema)
    broken = compose()
    broken["services"]["nats"]["ports"] = 4222
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_the_compose_file_has_the_four_servers_on_loopback_only() -> None:
    services = compose()["services"]
    assert set(services) == {"nats", "minio", "postgres", "jaeger"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_images_requirements_are_the_locks() -> None:
    flags = "--frozen --no-dev --no-emit-workspace --all-packages --no-header --no-annotate --quiet"
    told = subprocess.run([UV, "export", *flags.split()], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == (ROOT / "deploy/requirements.txt").read_text(), "run `make requirements`"


@pytest.mark.component
@pytest.mark.parametrize("overlay", ["lab", "lab-cgroup-v1", "lab-three", "production"])
def test_an_overlay_renders_and_each_service_has_probes_and_requests(overlay: str) -> None:
    names = probed(render(ROOT / "deploy/overlays" / overlay))
    assert {"scheduler", "checkpointer", "transfer", "restorer", "health-watcher", "arbiter", "console"} <= names
    assert "webhook" not in names


@pytest.mark.component
@pytest.mark.parametrize("overlay", ["lab", "production"])
def test_the_webhook_component_adds_to_an_overlay(overlay: str, tmp_path: Path) -> None:
    folders = [os.path.relpath(ROOT / "deploy" / part, tmp_path) for part in (f"overlays/{overlay}", "components/webhook")]
    images = yaml.safe_load((ROOT / "deploy/overlays" / overlay / "kustomization.yaml").read_text())["images"]
    kustomization = {"resources": folders[:1], "components": folders[1:], "images": images}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    rendered = render(tmp_path)
    assert "webhook" in probed(rendered)
    [webhook] = [d for d in rendered if d["kind"] == "Deployment" and d["metadata"]["name"] == "webhook"]
    assert "/reprise-webhook:" in webhook["spec"]["template"]["spec"]["containers"][0]["image"]


@pytest.mark.parametrize("name", ["health-watcher", "checkpointer", "transfer"])
def test_the_agents_are_updated_node_by_node_and_no_further_than_the_first_that_does_not_get_ready(name: str) -> None:
    """Their readiness has the node's lease in it (main.py): the next node's turn is only once this one renews again."""
    documents = yaml.safe_load_all((ROOT / f"deploy/base/{name}.yaml").read_text())
    [daemons] = [document["spec"] for document in documents if document and document["kind"] == "DaemonSet"]
    assert daemons["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    assert daemons["minReadySeconds"] >= 5


def probed(documents: list[dict[str, Any]]) -> set[str]:
    """The names of the workloads, each of which has what every one must have."""
    workloads = [d for d in documents if d["kind"] in ("Deployment", "DaemonSet")]
    for workload in workloads:
        container = workload["spec"]["template"]["spec"]["containers"][0]
        assert container["readinessProbe"], workload["metadata"]["name"]
        assert container["livenessProbe"], workload["metadata"]["name"]
        assert container["resources"]["requests"], workload["metadata"]["name"]
        assert "@" in container["image"] or ":" in container["image"].rpartition("/")[2]
    return {w["metadata"]["name"] for w in workloads}
