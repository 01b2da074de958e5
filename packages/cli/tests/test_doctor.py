"""`reprise doctor`, over a cluster and a console that are told what to answer."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.manifest import Manifest
from reprise.cli.ports import ClusterError, ConsoleError, NodeFacts, PodFacts
from typer.testing import Result

Run = Callable[..., Result]
NODE = NodeFacts("n1", True, "v1.34.1", "cri-o://1.34.0", "6.18.0", "amd64", "linux")
POD = PodFacts("cart-1", "u1", "n1", "Running", {"app": True}, {"app": "r/app@sha256:1"}, {"app": "r/app:1"})
RUNNING = [(name, "n1", True) for name in ("checkpointer", "transfer", "health-watcher")]
GOOD = {"checkpoint_id": "ck1", "state": "stored", "at": "2026-11-24T10:00:00Z", "frozen_time_us": 1000}
FAILED = {
    "checkpoint_id": "ck2", "state": "failed", "at": "2026-11-24T10:00:10Z", "reason": "MptcpSocket", "message": "it has one",
    "remedy": "set GODEBUG",
}  # fmt: skip
RESTORING = "(00.4) Error (criu/cr-restore.c:2324): Restoring FAILED.\n"


@pytest.fixture(autouse=True)
def cluster(session: Any) -> None:
    session.cluster.told |= {"nodes": [NODE], "running": RUNNING}
    session.cluster.add("cart", annotations={"reprise.dev/mode": "criu"})
    session.cluster.found = [POD]
    session.tables = {"checkpoints": [GOOD]}


def checks(told: Result) -> dict[str, dict[str, str]]:
    return {each["check"]: each for each in json.loads(told.stdout)}


def test_where_all_is_well_it_exits_with_0(reprise: Run) -> None:
    told = reprise("doctor", "shop/cart")
    assert told.exit_code == 0, told.output
    assert "deployment/cart in shop on node n1" in told.stdout
    assert "problem" not in told.stdout


def test_a_failure_since_the_last_good_checkpoint_is_a_problem_first_of_all(reprise: Run, session: Any) -> None:
    session.tables = {"checkpoints": [FAILED, GOOD]}
    told = reprise("doctor", "shop/cart", "-o", "json")
    assert told.exit_code == 3
    first = json.loads(told.stdout)[0]
    assert (first["check"], first["state"], first["seen"], first["remedy"]) == (
        "MPTCP", "problem", "MptcpSocket: it has one", "set GODEBUG; `reprise protect shop/cart --fix` offers to set it",
    )  # fmt: skip


def test_a_failure_before_the_last_good_checkpoint_is_over(reprise: Run, session: Any) -> None:
    session.tables = {"checkpoints": [GOOD, FAILED]}
    assert reprise("doctor", "shop/cart").exit_code == 0


def test_a_node_without_the_engine_is_a_problem_until_a_checkpoint_was_taken_there(reprise: Run, session: Any) -> None:
    other = {"at": "2026-11-24T10:00:30Z", "data": {"reason": "MptcpSocket"}}
    missing = {"at": "2026-11-24T10:00:20Z", "data": {"reason": "EngineMissing", "message": "m", "remedy": "install deploy/node"}}
    session.tables["events:checkpoint.failed"] = [other, missing]
    told = reprise("doctor", "n1", "-o", "json")
    assert told.exit_code == 3
    assert checks(told)["engine"]["remedy"] == "install deploy/node"
    session.tables["events:checkpoint.taken"] = [{"at": "2026-11-24T10:00:25Z"}]
    assert reprise("doctor", "n1").exit_code == 0


def test_a_node_alone_and_all_nodes(reprise: Run) -> None:
    one, every = reprise("doctor", "n1", "-o", "json"), reprise("doctor", "-o", "json")
    assert checks(one) == checks(every)
    assert "livenessProbe" not in checks(one)


WRONG = {
    "namespace": "shop", "kind": "DaemonSet", "name": "agent", "annotation": "reprise.dev/mode", "value": "criu",
    "message": "nobody reads it there: a DaemonSet is no workload of ours",
}  # fmt: skip


def test_annotations_without_effect_are_listed_for_the_cluster_on_whatever_kind(reprise: Run, session: Any) -> None:
    session.tables["annotations"] = [WRONG]
    told = reprise("doctor", "-o", "json")
    found = checks(told)["daemonset/agent in shop"]
    assert (told.exit_code, found["state"], found["subject"]) == (0, "warning", "annotations without effect")
    assert "reprise.dev/mode: 'criu': nobody reads it there" in found["seen"]
    assert "daemonset/agent in shop" not in checks(reprise("doctor", "n1", "-o", "json"))


def test_a_console_that_does_not_know_of_annotations_hides_nothing_else(reprise: Run, session: Any) -> None:
    session.failures = [None, None, ConsoleError("it does not know what is asked for", subject="console")]
    told = reprise("doctor")
    assert told.exit_code == 0, told.output
    assert "not seen: annotations: it does not know what is asked for" in told.stderr


@pytest.mark.parametrize(
    ("own", "template", "says"),
    [
        ({"reprise.dev/intervall": "5s"}, {}, "did you mean reprise.dev/interval?"),
        ({}, {"reprise.dev/mode": "criu"}, "it is on the pod template; move it to the Deployment's own metadata.annotations"),
        ({}, {"reprise.dev/mod": "criu"}, "did you mean reprise.dev/mode?"),
    ],
    ids=["misspelt", "on the template", "misspelt on the template"],
)
def test_an_annotation_of_its_own_that_nobody_reads_is_a_warning(
    reprise: Run, session: Any, own: dict[str, str], template: dict[str, str], says: str
) -> None:
    claim = session.cluster.add("cart", annotations={"reprise.dev/mode": "criu"} | own)
    session.cluster.claims["Deployment", "cart"] = replace(claim, template=template)
    found = checks(reprise("doctor", "shop/cart", "-o", "json"))["annotations"]
    assert (found["state"], says in found["seen"]) == ("warning", True), found


def test_what_may_not_be_seen_is_said_and_is_no_error(reprise: Run, session: Any) -> None:
    refused = ClusterError("nodes/proxy is forbidden", subject="configuration")
    session.cluster.told |= {"configz": refused, "may": refused}
    session.failures = [ConsoleError("it does not answer", subject="console")]
    told = reprise("doctor", "shop/cart")
    assert told.exit_code == 0, told.output
    assert "not seen: kubelet: nodes/proxy is forbidden" in told.stderr
    assert "not seen: console: it does not answer" in told.stderr


def test_who_may_not_see_nodes_is_told_of_the_workload(reprise: Run, session: Any) -> None:
    session.cluster.told["nodes"] = ClusterError("nodes is forbidden", subject="nodes")
    told = reprise("doctor", "shop/cart")
    assert told.exit_code == 0, told.output
    assert "not seen: nodes: nodes is forbidden" in told.stderr
    assert "name a workload" in reprise("doctor").stderr


def test_deep_reads_the_newest_checkpoint(reprise: Run, session: Any, write: Callable[..., Manifest]) -> None:
    from reprise.contracts.model import Workload

    write("ck1", workload=Workload(namespace="shop", name="cart"))
    assert checks(reprise("doctor", "shop/cart", "--deep", "-o", "json"))["CRIU"]["seen"] == "CRIU 4.1.1"


def test_a_workload_that_is_not_there_suggests_near_names(reprise: Run) -> None:
    assert "did you mean cart?" in reprise("doctor", "shop/crat").stderr


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        ("(00.05) Error (criu/cr-dump.c:389): Can't get rlimit 0: Operation not permitted\n", 3, "CAP_SYS_RESOURCE"),
        ("(00.05) Error (criu/new.c:1): something new\n", 3, "something new"),
        ("(00.10) Dumping finished successfully\n", 0, "it succeeded"),
        (f"(00.3) Error (criu/files-reg.c:2175): File data/wal has bad size 9 (expect 8)\n{RESTORING}", 3, "FileChanged"),
        (f"(00.3) Error (criu/new.c:1): something new\n{RESTORING}", 3, "something new"),
        ("(00.1) vdso: Parsing\n(00.10) Restore finished successfully. Tasks resumed.\n", 0, "it succeeded"),
        ("", 3, "no error is in it"),
        ("\x00\x1b[31m\ufffd", 3, "no error is in it"),
    ],
)  # fmt: skip
def test_a_log_of_crius_is_explained(reprise: Run, tmp_path: Path, log: str, code: int, said: str) -> None:
    path = tmp_path / "dump.log"
    path.write_text(log)
    told = reprise("doctor", "--log", str(path))
    assert told.exit_code == code
    assert said in told.stdout
