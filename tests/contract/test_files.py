"""Files that others read are what they claim to be."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]


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
    uv = shutil.which("uv") or str(ROOT / ".bootstrap/bin/uv")
    flags = "--frozen --no-dev --no-emit-workspace --all-packages --no-header --no-annotate --quiet"
    told = subprocess.run([uv, "export", *flags.split()], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == (ROOT / "deploy/requirements.txt").read_text(), "run `make requirements`"


@pytest.mark.component
@pytest.mark.parametrize("overlay", ["lab", "production"])
def test_an_overlay_renders_and_each_service_has_probes_and_requests(overlay: str) -> None:
    from reprise_lab.paths import BIN

    folder = ROOT / "deploy/overlays" / overlay
    told = subprocess.run([BIN / "kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    workloads = [d for d in yaml.safe_load_all(told.stdout) if d["kind"] in ("Deployment", "DaemonSet")]
    names = {w["metadata"]["name"] for w in workloads}
    assert {"scheduler", "checkpointer", "transfer", "restorer", "health-watcher", "console"} <= names
    for workload in workloads:
        container = workload["spec"]["template"]["spec"]["containers"][0]
        assert container["readinessProbe"], workload["metadata"]["name"]
        assert container["livenessProbe"], workload["metadata"]["name"]
        assert container["resources"]["requests"], workload["metadata"]["name"]
        assert "@" in container["image"] or ":" in container["image"].rpartition("/")[2]
