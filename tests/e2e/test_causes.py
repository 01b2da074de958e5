"""What CRIU cannot dump is named with a remedy that helps, reported once, and not tried at each interval for ever."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from reprise_lab import counter, listing
from reprise_lab.shell import kubectl, poll, reprise

pytestmark = pytest.mark.e2e

CASES = Path(__file__).parent / "cases"
INTERVAL_S = 5
WATCHED_S = 40
"""Back-off makes of the eight intervals in it: at 0, 10 and 30 s, and one more for the grid."""
UNCONFINED: dict[str, Any] = {"seccompProfile": {"type": "Unconfined"}}
RUNTIME_DEFAULT: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
"""The runtime's own profile does not let io_uring through."""


def rows(namespace: str, state: str) -> list[dict[str, Any]]:
    return counter.console(f"checkpoints?namespace={namespace}&state={state}&limit=100")


def doctor(subject: str, check: str) -> dict[str, str]:
    done = reprise("doctor", subject, "-o", "json")
    assert done.returncode in (0, 3), done.stderr
    return next(dict(each) for each in json.loads(done.stdout) if each["check"] == check)


def test_a_watch_on_its_own_files_is_one_failure_with_a_name_or_none(namespace: str) -> None:
    """Case 08. A CRIU that has the cure dumps it: then there is nothing to report."""
    made = [item for item in yaml.safe_load_all((CASES / "08-inotify.yaml").read_text()) if item["kind"] == "Deployment"]
    for item in made:
        item["metadata"]["namespace"] = namespace
        item["metadata"]["annotations"]["reprise.dev/interval"] = f"{INTERVAL_S}s"
    kubectl("create", "namespace", namespace)
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    poll(60, lambda: bool(rows(namespace, "stored") or rows(namespace, "failed")), f"{namespace} to be tried", 0.5)
    if rows(namespace, "stored"):
        assert doctor(f"{namespace}/app", "inotify")["state"] == "ok"
        return
    time.sleep(WATCHED_S)
    failed = rows(namespace, "failed")
    assert {row["reason"] for row in failed} == {"Inotify"}
    assert len(failed) <= WATCHED_S / INTERVAL_S / 2, "it backs off"
    assert "DOTNET_USE_POLLING_FILE_WATCHER=1" in failed[0]["remedy"]
    [report] = listing.told(namespace, "CheckpointFailed")
    assert "Inotify: it watches files (inotify)" in report
    found = doctor(f"{namespace}/app", "inotify")
    assert (found["state"], "CRIU newer than" in found["remedy"]) == ("problem", True)


def test_node_with_io_uring_is_named_fixed_and_protected(namespace: str) -> None:
    """The language of the prototype's test app, without what its manifest sets."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    counter.deploy(
        namespace, app="counter-node", annotations={"reprise.dev/interval": f"{INTERVAL_S}s"},
        container={"env": [], "securityContext": confined | UNCONFINED}, pod={"securityContext": {"runAsUser": 1000}},
    )  # fmt: skip
    poll(60, lambda: bool(rows(namespace, "failed") or rows(namespace, "stored")), f"{namespace} to be tried", 0.5)
    if not rows(namespace, "failed"):
        pytest.skip("this Node or this kernel does without io_uring")
    assert rows(namespace, "failed")[0]["reason"] == "IoUring"
    subject = f"{namespace}/counter-node"
    assert "--fix" in doctor(subject, "io_uring")["remedy"]
    shown = reprise("protect", subject, "--fix", "--dry-run")
    assert "UV_USE_IO_URING" in shown.stderr, shown.stderr
    assert "+          type: RuntimeDefault" in shown.stderr, shown.stderr
    assert "UV_USE_IO_URING" not in kubectl("-n", namespace, "get", "deployment", "counter-node", "-o", "yaml")
    fixed = reprise("protect", subject, "--fix", "--yes")
    assert fixed.returncode == 0, fixed.stderr
    kubectl("-n", namespace, "rollout", "status", "deployment/counter-node", "--timeout=60s")
    # Node 20.19 of Debian 13 makes its rings whatever the variable says: there the profile forbids them.
    now = json.loads(kubectl("-n", namespace, "get", "deployment", "counter-node", "-o", "json"))
    assert now["spec"]["template"]["spec"]["containers"][0]["securityContext"] == confined | RUNTIME_DEFAULT
    counter.wait_protected(namespace, 60, app="counter-node")
    assert doctor(subject, "io_uring")["state"] == "ok"


def test_node_counts_on_after_a_crash(namespace: str) -> None:
    """As its manifest is: with the remedy."""
    counter.deploy(namespace, app="counter-node")
    counter.wait_protected(namespace, 60, app="counter-node")
    counter.wait_checkpoint(namespace)
    address = counter.pod(namespace, "counter-node")["status"]["podIP"]
    before = counter.ask(address, timeout_s=2)
    assert before
    counter.ask(address, "/kill", "POST", timeout_s=2)

    def same_run() -> bool:
        said = counter.ask(counter.pod(namespace, "counter-node")["status"].get("podIP", ""), timeout_s=1)
        return bool(said) and said is not None and said["run"] == before["run"]

    row = counter.wait_failover(namespace, "crash")
    assert row["state"] == "completed", row
    poll(20, same_run, "the same run to answer", 0.1)
