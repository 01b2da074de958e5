"""`reprise credentials`: what is made, what stays when it is called again, and who may read it."""

import json
from pathlib import Path
from typing import Any

from reprise.runtime.access.client import Credentials


def test_each_node_gets_credentials_of_its_own_and_each_service_a_secret(reprise: Any, tmp_path: Path) -> None:
    done = reprise("credentials", str(tmp_path), "--node", "n1", "--node", "ip-10-0-0-2.internal")
    assert done.exit_code == 0, done.output
    names = [Credentials.read(tmp_path / "nodes" / node).name for node in ("n1", "ip-10-0-0-2.internal")]
    assert names == ["n1", "ip-10-0-0-2_internal"]
    secrets = json.loads((tmp_path / "secrets.json").read_text())["items"]
    assert {secret["metadata"]["namespace"] for secret in secrets} == {"reprise-system"}
    services = ("arbiter", "scheduler", "restorer", "console", "webhook", "reader")
    assert {secret["metadata"]["name"] for secret in secrets} == {"reprise-nats", *(f"reprise-nats-{each}" for each in services)}


def test_called_again_it_keeps_what_nodes_have_and_adds_one(reprise: Any, tmp_path: Path) -> None:
    reprise("credentials", str(tmp_path), "--node", "n1")
    before = {path: path.read_text() for path in tmp_path.glob("*/**/*") if path.is_file()}
    assert reprise("credentials", str(tmp_path), "--node", "n1", "--node", "n2").exit_code == 0
    assert {path: path.read_text() for path in before} == before
    assert (tmp_path / "nodes/n2/user.creds").exists()


def test_nobody_but_its_owner_can_read_what_is_secret(reprise: Any, tmp_path: Path) -> None:
    reprise("credentials", str(tmp_path), "--node", "n1")
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) > 8
    assert [path for path in made if path.stat().st_mode & 0o077] == []
