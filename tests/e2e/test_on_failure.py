"""`reprise.dev/on-failure`: what hangs again after its restore in place is moved once, with its state, and then starts cold."""

import json
import time

import pytest
from reprise_lab import counter, listing
from reprise_lab.shell import LabError, kubectl, poll, reprise
from reprise_lab.witness import ask

pytestmark = pytest.mark.e2e

HANGS_AFTER = 200
"""Ticks. Its newest checkpoint is of the last 3 s before, so that each life after a restore is a short one."""
SEEN_S = 15.0


def address(namespace: str) -> str:
    return str(counter.pod(namespace)["status"].get("podIP", ""))


def answers(namespace: str) -> dict[str, object]:
    """Empty while it does not."""
    try:
        return ask(address(namespace), timeout_s=1) or {}
    except LabError:  # two pods, or none
        return {}


def on(namespace: str) -> str:
    try:
        return str(counter.pod(namespace)["spec"]["nodeName"])
    except LabError:
        return ""


def hangs_again_and_again(namespace: str) -> str:
    """Its memory says at which count it hangs, and both of its checkpoints are of before. Its run id."""
    before = counter.wait_checkpoint(namespace)["checkpoint_id"]
    told = ask(address(namespace), f"/hang/{HANGS_AFTER}", "POST", timeout_s=2)
    assert told
    counter.ask_checkpoint(namespace)
    older = counter.wait_checkpoint(namespace, after=before)["checkpoint_id"]
    poll(30, lambda: int(str(answers(namespace).get("count", 0))) >= int(str(told["at"])) - 30, "its last 3 s", 0.1)
    run = str(answers(namespace)["run"])
    counter.ask_checkpoint(namespace)
    counter.wait_checkpoint(namespace, after=older)
    return run


def failovers(namespace: str) -> list[dict[str, object]]:
    return [row for row in counter.console(f"failovers?namespace={namespace}") if row["cause"] == "hang"]


def test_it_is_restored_in_place_moved_once_with_its_state_and_then_starts_cold_and_serves(namespace: str) -> None:
    counter.deploy(namespace, annotations={"reprise.dev/interval": "60s"})
    counter.wait_protected(namespace)
    home, run = on(namespace), hangs_again_and_again(namespace)
    counter.wait_failover(namespace, "hang", 60)
    poll(90, lambda: on(namespace) not in ("", home), "it to be on another node", 0.2)
    poll(30, lambda: answers(namespace).get("run") == run, "it to serve there with its state", 0.1)
    poll(120, lambda: answers(namespace).get("run", run) != run, "it to start cold there", 0.2)
    counter.wait_failover(namespace, "hang", 60, count=3)
    time.sleep(SEEN_S)
    assert on(namespace) != home
    cold, moved, in_place = failovers(namespace)
    assert (in_place["state"], in_place["path"]) == ("completed", "in-place")
    assert (moved["state"], moved["path"]) == ("completed", "shadow")
    assert (cold["state"], cold["reason"]) == ("abandoned", "CrashLoop")
    assert answers(namespace), "it works"


def test_where_it_cannot_be_moved_it_says_so_and_is_restored_in_place(namespace: str) -> None:
    held = {"volumes": [{"name": "here", "hostPath": {"path": "/var/lib/counter", "type": "DirectoryOrCreate"}}]}
    mounts = {"volumeMounts": [{"name": "here", "mountPath": "/here"}]}
    counter.deploy(namespace, annotations={"reprise.dev/interval": "60s"}, container=mounts, pod=held)
    counter.wait_protected(namespace)
    home, _ = on(namespace), hangs_again_and_again(namespace)
    poll(90, lambda: bool(listing.told(namespace, "NotMoved")), "the Event NotMoved", 0.5)
    assert "NotMovable" in listing.told(namespace, "NotMoved")[0]
    poll(30, lambda: bool(answers(namespace)), "it to be restored in place", 0.1)
    assert on(namespace) == home


def wait_told(namespace: str, text: str) -> None:
    poll(60, lambda: any(text in each for each in listing.told(namespace, "BadAnnotation")), f"an Event with {text!r}", 0.5)


DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, annotations: {hitachienergy.com/cr_mode: cr}}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {nodeSelector: {nowhere: "yes"}, containers: [{name: agent, image: "none:1"}]}
"""


def test_an_annotation_that_nobody_reads_is_told_by_kubectl_an_event_the_console_and_doctor(namespace: str) -> None:
    counter.deploy(namespace, annotations={"reprise.dev/intervall": "5s"})
    template = {"spec": {"template": {"metadata": {"annotations": {"reprise.dev/keep": "2"}}}}}
    with pytest.raises(LabError, match=r"reprise\.dev/keep on a pod template"):
        kubectl("-n", namespace, "patch", "deployment", "counter", "-p", json.dumps(template), "--warnings-as-errors")
    with pytest.raises(LabError, match=r"hitachienergy\.com/cr_mode on daemonsets"):
        kubectl("-n", namespace, "apply", "-f", "-", "--warnings-as-errors", stdin=DAEMON_SET)
    for text in ("did you mean reprise.dev/interval?", "it is on the pod template", "a DaemonSet is no workload of ours"):
        wait_told(namespace, text)
    wrong = {
        ("Deployment", "reprise.dev/intervall"),
        ("Deployment", "reprise.dev/keep"),
        ("DaemonSet", "hitachienergy.com/cr_mode"),
    }

    def listed() -> set[tuple[str, str]]:
        return {(row["kind"], row["annotation"]) for row in counter.console(f"annotations?namespace={namespace}")}

    poll(30, lambda: listed() == wrong, f"the console to list {wrong}", 0.5)
    every = [row["seen"] for row in json.loads(reprise("doctor", "-o", "json").stdout) if namespace in row["check"]]
    assert len(every) == len(wrong), every
    own = json.loads(reprise("doctor", f"{namespace}/counter", "-o", "json").stdout)
    [seen] = {row["seen"] for row in own if row["check"] == "annotations"}
    assert "did you mean reprise.dev/interval?" in seen and "it is on the pod template" in seen
