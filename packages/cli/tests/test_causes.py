"""The table of known causes: each found in the evidence that shows it, and silent where nothing is wrong."""

from dataclasses import replace
from typing import Any

import pytest
from reprise.archive.facts import ArchiveFacts
from reprise.archive.inspection import FileLock, Inspection, Log, Socket
from reprise.cli.doctor.causes import CAUSES, Verdict, diagnose, version
from reprise.cli.doctor.evidence import Evidence
from reprise.cli.ports import Claimed, NodeFacts, PodFacts
from reprise.contracts.annotations import Policy, parse
from reprise.contracts.causes import CRIU_CAUSES
from reprise.contracts.model import CriuStats, Workload
from reprise.contracts.state import StateApi

NODE = NodeFacts("n1", True, "v1.34.1", "cri-o://1.34.0", "6.18.0", "amd64", "linux")
CONTAINER: dict[str, Any] = {"name": "app", "image": "registry/app:1", "livenessProbe": {"httpGet": {"path": "/"}}}
WORKLOAD = Claimed(Workload(namespace="shop", name="cart"), {}, {"containers": [CONTAINER]}, 1, {})
POD = PodFacts("cart-1", "u1", "n1", "Running", {"app": True}, {"app": "registry/app@sha256:1"}, {"app": "registry/app:1"})
GOOD = {"checkpoint_id": "ck1", "state": "stored", "frozen_time_us": 31_000}
WELL = Evidence(
    node=NODE, kubelet={}, rights=True, services=dict.fromkeys(("checkpointer", "transfer", "health-watcher"), True),
    workload=WORKLOAD, policy=Policy(mode="criu"), pods=(POD,), good=GOOD,
    row={"standby": {"node": "n2", "warm": True, "checkpoint_id": "ck1"}, "refused": None},
)  # fmt: skip


def inspected(*sockets: Socket, criu: str = "4.2.1", closed: bool = False, locks: int = 0, **told: Any) -> Inspection:
    facts = ArchiveFacts(
        runtime="cri-o", container_id="c", container_name="app", base_image="", base_image_id="", oci_runtime="runc",
        stats=CriuStats(), members=1, criu_version=criu, **told,
    )  # fmt: skip
    held = tuple(FileLock(1, at, "flock") for at in range(locks))
    return Inspection("a", 1, facts, "", "", closed, (), (), sockets, held, (), Log(0, (), (), ()), ())


def spec(**told: Any) -> Claimed:
    container = CONTAINER | told.pop("container", {})
    return replace(WORKLOAD, spec={"containers": [container]} | told)


def verdict(name: str, evidence: Evidence) -> Verdict:
    return next(finding.verdict for finding in diagnose(evidence) if finding.check == name)


def test_nothing_is_found_where_all_is_well() -> None:
    assert {finding.verdict.state for finding in diagnose(WELL)} == {"ok"}


def test_every_problem_and_warning_says_what_to_do() -> None:
    for _, evidence, _, _ in CASES:
        for finding in diagnose(evidence):
            assert finding.verdict.seen
            assert finding.verdict.remedy or finding.verdict.state in ("ok", "unknown"), finding


NO_ENGINE = {"data": {"reason": "EngineMissing", "message": "no dumps file", "remedy": "install deploy/node"}}
GONE = {"state": "abandoned", "reason": "FileChanged", "message": "File data/wal has bad size", "remedy": "keep it elsewhere"}
PEER = Socket(1, 4, "tcp", "ESTABLISHED", "10.0.0.1:80", "10.0.0.2:4000")
CASES: list[tuple[str, Evidence, str, str]] = [
    ("node", replace(WELL, node=replace(NODE, ready=False)), "problem", "not Ready"),
    ("annotations", replace(WELL, problems=parse({"reprise.dev/intervall": "5s"}).problems), "warning", "did you mean"),
    ("annotations", replace(WELL, problems=parse({"reprise.dev/on-failure": "fly"}).problems), "warning", "'fly' is none of"),
    ("Reprise on the node", replace(WELL, services={"transfer": True}), "problem", "checkpointer, health-watcher"),
    ("kubelet feature", replace(WELL, kubelet={"featureGates": {"ContainerCheckpoint": False}}), "problem", "is off"),
    ("kubelet feature", replace(WELL, good=None, node=replace(NODE, kubelet="v1.29.0")), "problem", "off unless"),
    ("kubelet feature", replace(WELL, good=None, kubelet=None), "unknown", "on by default"),
    ("rights", replace(WELL, rights=False), "problem", "may not create nodes/checkpoint"),
    ("rights", replace(WELL, good=None, rights=None, hidden={"rights": "you may not ask"}), "unknown", "you may not ask"),
    ("runtime", replace(WELL, node=replace(NODE, runtime="docker://27.0")), "problem", "no checkpoints"),
    ("runtime", replace(WELL, node=replace(NODE, runtime="containerd://1.7.2")), "warning", "older than what is tested"),
    ("runtime", replace(WELL, node=replace(NODE, runtime="containerd://2.4.2")), "ok", "containerd 2.4.2"),
    ("engine", replace(WELL, good=None), "unknown", "first checkpoint"),
    ("engine", replace(WELL, engine_missing=NO_ENGINE), "problem", "nothing on it is protected: no dumps file"),
    ("CRIU", replace(WELL, inspection=inspected(criu="3.17.1")), "warning", "3.17.1"),
    ("criu check", replace(WELL, good=None), "unknown", "first checkpoint"),
    ("base image", replace(WELL, pods=(replace(POD, images={"app": "localhost/app:1"}),)), "warning", "of no registry"),
    ("base image", replace(WELL, pods=()), "unknown", "no pod"),
    ("freezer", replace(WELL, services=None), "unknown", "health-watcher"),
    (
        "standby",
        replace(WELL, row={"standby": None, "refused": {"node": "n2", "reason": "Cpu", "message": "no avx", "remedy": "go"}}),
        "problem", "n2 refused: Cpu: no avx",
    ),
    ("standby", replace(WELL, row=None), "unknown", "none holds"),
    ("livenessProbe", replace(WELL, workload=spec(container={"livenessProbe": None})), "warning", "no livenessProbe"),
    ("livenessProbe", replace(WELL, good=GOOD | {"frozen_time_us": 31_000_000}), "problem", "stands still for 31.0 s"),
    ("livenessProbe", replace(WELL, good=GOOD | {"pause_s": 32.0}), "problem", "stands still for 32.0 s"),
    (
        "livenessProbe",
        replace(WELL, workload=spec(container={"livenessProbe": {"periodSeconds": 1, "failureThreshold": 1}})),
        "warning", "gives up after 1 s",
    ),
    (
        "checkpoints paused",
        replace(WELL, paused={"data": {"reason": "PauseOutlastsProbe", "message": "three in a row", "remedy": "raise it"}}),
        "problem", "three in a row",
    ),
    ("MPTCP", replace(WELL, inspection=inspected(Socket(1, 3, "mptcp", "LISTEN", ":80"))), "problem", "MPTCP"),
    ("TCP connections", replace(WELL, inspection=inspected(PEER, closed=True)), "ok", "closes them"),
    ("file locks", replace(WELL, inspection=inspected(locks=2)), "ok", "2 were held"),
    (
        "devices", replace(WELL, workload=spec(container={"resources": {"limits": {"nvidia.com/gpu": 1, "cpu": 1}}})),
        "problem", "nvidia.com/gpu",
    ),
    ("devices", replace(WELL, workload=spec(volumes=[{"name": "d", "hostPath": {"path": "/dev/kvm"}}])), "problem", "/dev/kvm"),
    ("mounts", replace(WELL, workload=spec(volumes=[{"name": "d", "hostPath": {"path": "/data"}}])), "warning", "own disk: d"),
    ("namespaces", replace(WELL, workload=spec(hostNetwork=True)), "warning", "hostNetwork"),
    ("terminal", replace(WELL, workload=spec(container={"stdin": True})), "problem", "would not be restored"),
    ("postStart hook", replace(WELL, workload=spec(container={"lifecycle": {"postStart": {"exec": {}}}})), "warning", "again"),
    ("io_uring", replace(WELL, good=None), "unknown", "first checkpoint"),
    ("inotify", replace(WELL, good=None), "unknown", "first checkpoint"),
    ("deleted files", replace(WELL, good=None), "unknown", "first checkpoint"),
    ("last failover", replace(WELL, failover=GONE | {"state": "completed"}), "ok", "completed"),
    ("last failover", replace(WELL, failover=GONE), "warning", "FileChanged: File data/wal has bad size"),
    ("last failover", replace(WELL, failover=GONE | {"reason": "RestoreFailed", "message": None}), "warning", "RestoreFailed"),
    ("last failover", replace(WELL, failover=GONE | {"reason": "NoStandby"}), "ok", "abandoned"),
    ("last failover", replace(WELL, failover={}), "ok", "None"),
    ("files on volumes", replace(WELL, inspection=inspected()), "ok", "none"),
    ("files on volumes", replace(WELL, inspection=inspected(sized=("/data",))), "warning", "volume at /data"),
    ("files on volumes", replace(WELL, inspection=inspected(emptied=("/data",))), "warning", "emptyDir at /data"),
    ("protection", replace(WELL, policy=Policy()), "warning", "not protected yet"),
    ("protection", replace(WELL, good=None), "warning", "no checkpoint is stored yet"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "evidence", "state", "seen"), CASES)
def test_a_cause_is_told_by_what_shows_it(name: str, evidence: Evidence, state: str, seen: str) -> None:
    found = verdict(name, evidence)
    assert (found.state, seen in found.seen) == (state, True), found


@pytest.mark.parametrize(("name", "reason"), [(cause.name, reason) for cause in CAUSES for reason in cause.reasons])
def test_a_checkpoint_that_failed_of_it_says_so_with_its_own_remedy(name: str, reason: str) -> None:
    failed = {"reason": reason, "message": "so it was", "remedy": "do this"}
    found = verdict(name, replace(WELL, failures=(failed,)))
    offered = "; `reprise protect shop/cart --fix` offers to set it" if reason in ("IoUring", "MptcpSocket", "Inotify") else ""
    assert found == Verdict("problem", f"{reason}: so it was", f"do this{offered}")


def test_what_criu_says_is_told_by_one_cause_each() -> None:
    told = [reason for cause in CAUSES for reason in cause.reasons]
    assert len(told) == len(set(told))
    assert {cause.reason for cause in CRIU_CAUSES} <= set(told)


def test_of_a_program_that_hands_out_its_state_nothing_of_crius_is_asked() -> None:
    policy = Policy(mode="http", state=StateApi(path="/state", port=8080))
    hands_out = replace(WELL, policy=policy, workload=spec(container={"stdin": True}))
    found = {finding.check: finding.verdict.state for finding in diagnose(hands_out)}
    assert not found.keys() & {"CRIU", "criu check", "io_uring", "terminal", "kubelet feature"}
    assert found["state API"] == "ok"
    assert verdict("state API", replace(hands_out, good=None)).state == "unknown"
    assert "state API" not in {finding.check for finding in diagnose(WELL)}


def test_a_failure_of_no_known_cause_is_not_lost() -> None:
    failed = {"reason": "CriuFailed", "message": "something new", "remedy": "read on"}
    assert verdict("checkpoint", replace(WELL, failures=(failed,))).seen == "CriuFailed: something new"


def test_a_checkpoint_of_a_container_that_is_no_more_is_no_problem() -> None:
    gone = {"reason": "PodGone", "message": "it is being deleted", "remedy": "nothing"}
    assert {finding.verdict.state for finding in diagnose(replace(WELL, failures=(gone,)))} == {"ok"}


def test_of_a_node_alone_nothing_is_asked_about_a_workload() -> None:
    found = {finding.check for finding in diagnose(Evidence(node=NODE, kubelet={}, rights=True, services={}))}
    assert not found & {"livenessProbe", "base image", "standby", "devices", "protection"}
    assert {"kubelet feature", "runtime", "rights"} <= found


@pytest.mark.parametrize(("text", "number"), [("v1.34.0", (1, 34, 0)), ("2.1", (2, 1)), ("v1.30.2-gke.1", (1, 30, 2)), ("?", ())])
def test_a_version_is_its_numbers(text: str, number: tuple[int, ...]) -> None:
    assert version(text) == number
