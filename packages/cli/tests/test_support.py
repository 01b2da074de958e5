"""`reprise support-bundle`: what helps, in one file; never a Secret, never any memory."""

import io
import json
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from reprise.cli.adapters.support import LOOK, KubeSupport
from reprise.cli.bundle import redacted, without_secrets
from reprise.cli.ports import ClusterError
from typer.testing import Result
from urllib3 import HTTPResponse

Run = Callable[..., Result]
CANARY = "hunter2hunter2"
SEED = "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
LOG = f"""2026-11-24T10:00:00Z started, lease renewed on n1
connecting to postgres://reprise:{CANARY}@postgres:5432/reprise
{{"event": "refused", "password": "{CANARY}", "node": "n1"}}
Authorization: Bearer {JWT}
REPRISE_STORE_SECRET_KEY={CANARY}
-----BEGIN PRIVATE KEY-----
{CANARY}
-----END PRIVATE KEY-----
seed {SEED}
"""
POD: dict[str, Any] = {
    "metadata": {
        "name": "health-watcher-x", "labels": {"app.kubernetes.io/name": "health-watcher"}, "managedFields": [{"x": CANARY}],
        "annotations": {
            "prometheus.io/port": "5799", "kubectl.kubernetes.io/last-applied-configuration": f'{{"value":"{CANARY}"}}',
        },
    },
    "spec": {"nodeName": "n1", "containers": [{"name": "agent", "env": [
        {"name": "REPRISE_LEASE_TTL_S", "value": "3"}, {"name": "REPRISE_POSTGRES_PASSWORD", "value": CANARY},
        {"name": "ANYTHING", "value": CANARY}, {"name": "REPRISE_KEY", "valueFrom": {"secretKeyRef": {"name": "reprise-store"}}},
    ]}]},
    "status": {"phase": "Running"},
}  # fmt: skip


class Cluster:
    """A cluster whose logs, variables and Events quote secrets, as a careless one's do."""

    def __init__(self) -> None:
        self.failing = set[str]()

    def _may(self, what: str) -> None:
        if what in self.failing:
            raise ClusterError("you may not", subject=what)

    def version(self) -> dict[str, Any]:
        self._may("version")
        return {"gitVersion": "v1.34.1"}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        return {"pods": [POD], "deployments": []}

    def events(self) -> list[dict[str, Any]]:
        return [{"reason": "Failed", "message": f"token: {CANARY}"}]

    def logs(self, pod: str, container: str, *, previous: bool, since_s: int) -> str:
        self._may("logs")
        return "" if previous else LOG

    def metrics(self, pod: str, port: int) -> str:
        return f'reprise_lease_age_seconds{{pod="{pod}",port="{port}"}} 0.5\n'

    def node_files(self, pod: str) -> str:
        return json.dumps({"pods": 3, "slots": [{"slot": "shop/cart/ck1", "bytes": 4096}]})


@pytest.fixture
def cluster(session: Any) -> Cluster:
    session.supporting = Cluster()
    return session.supporting  # type: ignore[no-any-return]


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            member.name.removeprefix("reprise-support/"): file.read().decode()
            for member in archive.getmembers()
            if (file := archive.extractfile(member))
        }


def test_it_has_what_helps_and_no_secret(reprise: Run, cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    told = reprise("support-bundle", "--to", str(path))
    assert told.exit_code == 0, told.output
    found = contents(path)
    assert found.keys() >= {
        "README.txt", "versions.json", "nodes.json", "events.json", "objects/pods.json", "console.json",
        "logs/health-watcher-x/agent.log", "metrics/health-watcher-x.txt", "node-files/n1.json",
    }  # fmt: skip
    for name, text in found.items():
        for secret in (CANARY, JWT, SEED):
            assert secret not in text, name
    assert "lease renewed on n1" in found["logs/health-watcher-x/agent.log"]
    assert '"value": "3"' in found["objects/pods.json"], "our own settings help"
    assert "secretKeyRef" in found["objects/pods.json"], "where it is from helps, too"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_cannot_be_had_is_told_and_keeps_nothing_else_out(
    reprise: Run, cluster: Cluster, session: Any, tmp_path: Path
) -> None:
    cluster.failing = {"version", "logs"}
    session.failures = [ClusterError("it does not answer", subject="console")]
    path = tmp_path / "bundle.tar.gz"
    told = reprise("support-bundle", "--to", str(path))
    assert told.exit_code == 0
    found = contents(path)
    assert "you may not" in found["errors.txt"]
    assert "console" in found["errors.txt"]
    assert "objects/pods.json" in found


def test_no_request_is_for_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def request(self: Any, method: str, url: str, **_: Any) -> Any:
        asked.append(f"{method} {url}")
        body = b"log" if url.endswith("/log") else b'{"kind": "List", "items": [], "major": "1"}'
        return HTTPResponse(io.BytesIO(body), status=200, headers={"content-type": "application/json"}, preload_content=False)

    monkeypatch.setattr("urllib3.PoolManager.request", request)
    api = client.ApiClient(client.Configuration(host="http://api"))
    support = KubeSupport(api, lambda _, act: act(), "reprise-system")
    for look in (support.nodes, support.objects, support.events):
        look()
    support.logs("p", "c", previous=False, since_s=60)
    assert len(asked) > 6
    assert not [each for each in asked if "secret" in each.lower() or not each.startswith("GET ")]


def test_of_a_slot_nothing_but_its_size_is_read(tmp_path: Path) -> None:
    run, state = tmp_path / "run", tmp_path / "state"
    slot = state / "slots/shop/uid/app/ck1"
    (run / "pods").mkdir(parents=True)
    (slot / "images").mkdir(parents=True)
    (run / "node.json").write_text('{"node": "n1"}')
    (run / "pods/uid.json").write_text('{"containers": {"app": {"verdict": "restore"}}}')
    (slot / "slot.json").write_text(f'{{"command": ["--password", "{CANARY}"]}}')
    (slot / "images/pages-1.img").write_bytes(CANARY.encode() * 100)
    program = LOOK.replace("/run/reprise", str(run)).replace("/var/lib/reprise", str(state))
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert CANARY not in told
    found = json.loads(told)
    assert found["verdicts"] == {"restore": 1}
    assert found["slots"][0]["slot"] == "shop/uid/app/ck1"
    assert found["slots"][0]["bytes"] > len(CANARY) * 100


@pytest.mark.parametrize(
    "kept",
    ["restored from 20261126t0113, sha256:0123abcd", "GET /api/v1/workloads 200", "tokens: 5 s left of the lease", "pod cart-0"],
)
def test_what_is_no_secret_is_kept(kept: str) -> None:
    assert redacted(kept).split()[0] == kept.split(maxsplit=1)[0]
    assert without_secrets({"message": kept})["message"] == redacted(kept)


def test_the_data_of_any_object_is_left_out() -> None:
    assert without_secrets({"kind": "Secret", "data": {"k": CANARY}, "stringData": {"k": CANARY}}) == {"kind": "Secret"}
