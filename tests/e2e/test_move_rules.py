"""What is checked before anything is frozen, and whose memory it is: cases 04 and 09, init containers, labels, quotas."""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from reprise_lab import counter, faults, listing
from reprise_lab.node import Node
from reprise_lab.paths import NODES
from reprise_lab.shell import kubectl, poll, reprise
from reprise_lab.witness import Witness, ask

pytestmark = pytest.mark.e2e

STANDS_S = 2.0
"""A checkpoint's pause is shorter, a hold that is undone again much longer."""
PINNED: dict[str, Any] = {"nodeSelector": {"kubernetes.io/hostname": "n1"}}
INIT_S = 30
WAITS = f"import time; time.sleep({INIT_S})"
SLOW: dict[str, Any] = {"name": "slow", "image": "localhost/counter:1", "command": ["python3", "-c", WAITS]}
SPREAD: dict[str, Any] = {
    "affinity": {},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
         "labelSelector": {"matchLabels": {"app": "counter"}}},
    ],
}  # fmt: skip
TAINT = "reprise.dev/test=nobody:NoSchedule"


@pytest.fixture
def nodes_as_before() -> Iterator[None]:
    yield
    for node in NODES:
        kubectl("uncordon", node)
        kubectl("taint", "node", node, f"{TAINT}-", check=False)


def move(namespace: str, kind: counter.Kind = "Deployment") -> subprocess.CompletedProcess[str]:
    return reprise("move", f"{namespace}/{kind.lower()}/counter", limit_s=180)


def is_refused(namespace: str, reason: str, text: str, kind: counter.Kind = "Deployment") -> None:
    """A move of its pod, at once; nothing stands still, and it is the same pod that runs on."""
    before = counter.pod(namespace)["metadata"]["uid"]
    with Witness(namespace) as witness:
        run, asked_at = witness.last().run, time.monotonic()
        done = move(namespace, kind)
        assert (done.returncode, reason in done.stderr, text in done.stderr) == (1, True, True), done.stderr
        time.sleep(3)
        assert witness.longest_silence_s(asked_at) < STANDS_S
        assert witness.runs(asked_at) == {run}
    assert counter.pod(namespace)["metadata"]["uid"] == before
    assert not counter.console(f"events?namespace={namespace}&type=failover.fenced")


def test_what_has_its_data_on_its_node_is_not_moved(namespace: str) -> None:
    """Case 04: on the other node the directory is another one, and the data would be gone without a word."""
    path = f"/tmp/{namespace}"
    volume = {"name": "data", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    counter.protect(namespace, pod={"volumes": [volume]}, container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]})
    is_refused(namespace, "NotMovable", f"hostPath {path}")
    assert not Node("n2").root.joinpath(path.lstrip("/")).exists()


@pytest.mark.alone
def test_what_may_run_on_its_node_only_is_not_moved_and_a_cordon_lets_go_of_its_guard(
    namespace: str, nodes_as_before: None
) -> None:
    """Case 04."""
    counter.protect(namespace, pod=PINNED)
    is_refused(namespace, "NoStandby", "nodeSelector wants kubernetes.io/hostname=n1")
    with Witness(namespace) as witness:
        cordoned_at = time.monotonic()
        kubectl("cordon", "n1")
        poll(60, lambda: bool(listing.told(namespace, "GuardReleased")), "its guard to be let go of", 0.5)
        assert "nodeSelector" in listing.told(namespace, "GuardReleased")[0]
        assert witness.longest_silence_s(cordoned_at) < STANDS_S


@pytest.mark.alone
def test_what_does_not_tolerate_the_other_node_is_not_moved(namespace: str, nodes_as_before: None) -> None:
    """Case 04."""
    counter.protect(namespace)
    kubectl("taint", "node", "n2", TAINT)
    is_refused(namespace, "NoStandby", f"has the taint {TAINT}")


@pytest.mark.alone
def test_of_two_replicas_the_one_of_the_lost_node_comes_back_with_its_own_memory(namespace: str, node_comes_back: None) -> None:
    """Case 09."""
    counter.deploy(namespace, env=counter.LINGERS, pod=SPREAD)
    kubectl("-n", namespace, "scale", "deployment/counter", "--replicas=2")
    poll(60, lambda: sorted(p["spec"].get("nodeName", "") for p in counter.pods(namespace)) == ["n1", "n2"], "one on each node")
    names = {pod["metadata"]["name"] for pod in counter.pods(namespace)}

    def stored() -> bool:
        rows = counter.console(f"checkpoints?namespace={namespace}&state=stored&limit=50")
        return all(sum(row["pod"] == name for row in rows) >= 2 for name in names)

    poll(60, stored, "both to be checkpointed", 0.5)
    before = states(namespace)
    assert len(before) == 2
    faults.power_off("n1")
    poll(90, lambda: states(namespace).keys() == before.keys() and nodes(namespace) == {"n2"}, "both to run on n2", 0.5)
    after = states(namespace)
    assert all(after[run] >= before[run] - 200 for run in before), (before, after)


def states(namespace: str) -> dict[str, int]:
    """The count of each run that answers."""
    said = [ask(pod["status"].get("podIP", ""), timeout_s=1) for pod in counter.pods(namespace)]
    return {str(each["run"]): int(str(each["count"])) for each in said if each}


def nodes(namespace: str) -> set[str]:
    found = counter.pods(namespace)
    ready = [p for p in found if any((c["type"], c["status"]) == ("Ready", "True") for c in p["status"].get("conditions", []))]
    return {pod["spec"]["nodeName"] for pod in ready if len(ready) == 2}


def test_init_containers_run_while_what_is_moved_still_serves(namespace: str) -> None:
    counter.protect(namespace, pod={"initContainers": [SLOW]})
    with Witness(namespace) as witness:
        before, asked_at = witness.last(), time.monotonic()
        done = move(namespace)
        assert done.returncode == 0, done.stderr
        witness.wait(before.run, time.monotonic(), 10)
        print(f"away for {witness.longest_silence_s(asked_at):.1f} s")
        assert witness.longest_silence_s(asked_at) < INIT_S / 2
        assert witness.lost_increments(asked_at) <= 0
        assert witness.runs(asked_at) == {before.run}


@pytest.mark.alone
def test_init_containers_take_their_time_once_a_node_is_lost(namespace: str, node_comes_back: None) -> None:
    counter.protect(namespace, pod={"initContainers": [SLOW]})
    with Witness(namespace) as witness:
        before, off_at = witness.last(), time.monotonic()
        faults.power_off("n1")
        witness.wait(before.run, off_at + 0.3, 120)
        assert witness.runs(off_at) == {before.run}
    assert counter.wait_failover(namespace, "node-loss")["state"] == "completed"


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Pod"])
def test_labels_that_were_set_at_run_time_come_along(namespace: str, kind: counter.Kind) -> None:
    old = counter.protect(namespace, kind)
    kubectl("-n", namespace, "label", "pod", old["metadata"]["name"], "role=leader")
    done = move(namespace, kind)
    assert done.returncode == 0, done.stderr
    poll(20, lambda: len(counter.pods(namespace)) == 1, "the old pod to be gone")
    moved = counter.pod(namespace)["metadata"]
    assert (moved["uid"] != old["metadata"]["uid"], moved["labels"]["role"]) == (True, "leader")


def test_a_quota_that_has_no_room_for_a_second_pod_is_asked_before_the_first_stands_still(namespace: str) -> None:
    counter.protect(namespace)
    kubectl("-n", namespace, "create", "quota", "full", "--hard=pods=1")
    poll(10, lambda: "1" in kubectl("-n", namespace, "get", "quota", "full", "-o", "jsonpath={.status.used.pods}"), "the quota")
    is_refused(namespace, "NotAdmitted", "exceeded quota")


def test_a_quota_that_only_the_pod_itself_fills_lets_the_next_one_of_its_name_in(namespace: str) -> None:
    counter.protect(namespace, "StatefulSet")
    kubectl("-n", namespace, "create", "quota", "full", "--hard=pods=1")
    poll(10, lambda: "1" in kubectl("-n", namespace, "get", "quota", "full", "-o", "jsonpath={.status.used.pods}"), "the quota")
    with Witness(namespace) as witness:
        run = witness.last().run
        done = move(namespace, "StatefulSet")
        assert done.returncode == 0, done.stderr
        witness.wait(run, time.monotonic(), 10)


def test_an_admission_policy_that_would_reject_the_pod_is_asked_first(namespace: str) -> None:
    counter.protect(namespace, container={"securityContext": {"allowPrivilegeEscalation": True}})
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    is_refused(namespace, "NotAdmitted", "PodSecurity")


def test_an_update_that_the_next_pod_would_have_refuses_the_move(namespace: str) -> None:
    counter.protect(namespace, "StatefulSet")
    on_delete = [{"op": "replace", "path": "/spec/updateStrategy", "value": {"type": "OnDelete"}}]
    kubectl("-n", namespace, "patch", "statefulset", "counter", "--type=json", "-p", json.dumps(on_delete))
    marked = {"spec": {"template": {"metadata": {"annotations": {"test": secrets.token_hex(4)}}}}}
    kubectl("-n", namespace, "patch", "statefulset", "counter", "-p", json.dumps(marked))
    is_refused(namespace, "UpdatePending", "another template", "StatefulSet")


def test_a_post_start_hook_that_will_run_again_is_told_when_protection_begins(namespace: str) -> None:
    counter.deploy(namespace, container={"lifecycle": {"postStart": {"exec": {"command": ["python3", "-c", "pass"]}}}})
    poll(30, lambda: bool(listing.told(namespace, "PostStartRunsAgain")), "the Event PostStartRunsAgain", 0.5)
    assert any(
        each["check"] == "postStart hook" and each["state"] == "warning"
        for each in json.loads(reprise("doctor", f"{namespace}/counter", "-o", "json").stdout)
    )
