"""`reprise move` and `reprise drain`: what they ask for, and what they say when it cannot be."""

from collections.abc import Callable
from typing import Any

import pytest
from reprise.cli.ports import Hosted, Told
from reprise.contracts.model import Workload
from typer.testing import Result

Run = Callable[..., Result]
CRIU = {"reprise.dev/mode": "criu"}
DB = Workload(namespace="shop", kind="StatefulSet", name="db")
MOVED = Told("e1", "Moved", "mv-1: pod db-0 moved from n1 to n2 with its memory (ck)")
COLD = Told("e2", "MoveFailed", "mv-1: pod db-0 moved without its memory: CrashLoop: it ended. see its log")
LOST = Told("e5", "MoveLostWork", "mv-1: pod db-0 moved from n1 to n2, but not from its last checkpoint (bad size of /log)")
STAYS = Told("e3", "MoveFailed", "mv-0: pod db-0 not moved, it runs on: NoStandby: no node can take it")


@pytest.mark.parametrize(
    ("kind", "named"), [("Deployment", "shop/db"), ("StatefulSet", "shop/sts/db"), ("Pod", "shop/pod/db"), ("Pod", "shop/db")]
)
def test_a_move_asks_by_annotation_and_tells_the_end(reprise: Run, session: Any, kind: str, named: str) -> None:
    session.cluster.add("db", kind=kind, annotations=CRIU)
    session.moving.answers = [MOVED]
    result = reprise("move", named, "--to", "n2")
    assert result.exit_code == 0, result.stderr
    assert f"{kind.lower()}/db in shop: {MOVED.message}" in result.stderr
    ((workload, written),) = session.cluster.written
    assert workload == f"{kind.lower()}/db in shop"
    assert (written["reprise.dev/move-to"], len(written["reprise.dev/move-id"])) == ("n2", 8)


@pytest.mark.parametrize(
    "told", [STAYS, Told("e1", "MoveRefused", "4f: not moved: it has 2 pods (db-0, db-1); cordon the node that is to be left")]
)
def test_a_move_that_did_not_succeed_says_why_in_the_restorers_words(reprise: Run, session: Any, told: Told) -> None:
    session.cluster.add("db", kind="StatefulSet", annotations=CRIU)
    session.moving.answers = [told]
    result = reprise("move", "sts/db", "-n", "shop")
    assert result.exit_code == 1
    assert told.message in result.stderr


def test_a_move_that_lost_work_says_so_and_is_no_plain_success(reprise: Run, session: Any) -> None:
    session.cluster.add("db", kind="StatefulSet", annotations=CRIU)
    session.moving.answers = [LOST]
    result = reprise("move", "shop/sts/db")
    assert (result.exit_code, LOST.message in result.stderr) == (3, True), result.stderr


def test_what_cannot_be_is_told_before_anything_is_asked(reprise: Run, session: Any) -> None:
    session.cluster.add("db", kind="StatefulSet", annotations=CRIU)
    session.cluster.add("plain", kind="StatefulSet")
    session.moving.cordoned["n2"] = True
    for words, said in (
        (("move", "shop/plain"), "`reprise protect shop/statefulset/plain`"),
        (("move", "shop/db", "--to", "n9"), "no such node"),
        (("move", "shop/db", "--to", "n2"), "uncordon"),
        (("move", "shop/pod/db-0"), "there is no such pod without an owner"),
        (("drain", "n9"), "no such node"),
    ):
        result = reprise(*words)
        assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
    assert session.cluster.written == []


def test_drain_cordons_and_says_what_is_left_to_do(reprise: Run, session: Any) -> None:
    session.moving.leave = ["counter-1"]
    result = reprise("drain", "n1")
    assert result.exit_code == 0
    assert session.moving.cordoned["n1"]
    assert "1 of 1" in result.stderr
    assert "kubectl drain n1" in result.stderr


def test_drain_names_what_stays_and_why(reprise: Run, session: Any) -> None:
    session.moving.pods.append(Hosted(DB, "db-0", "n1"))
    session.moving.leave = ["counter-1"]
    session.moving.answers = [STAYS]
    result = reprise("drain", "n1")
    assert result.exit_code == 1
    assert "1 of 2" in result.stderr
    assert f"statefulset/db in shop stays: {STAYS.message}" in result.stderr


def test_drain_says_of_one_that_keeps_its_name_whether_its_memory_came_along(reprise: Run, session: Any) -> None:
    """It is gone from the node before that is known; what was told of another pod is not its end."""
    for answers, said, code in (
        ([STAYS, MOVED], "1 of 1", 0),
        ([LOST], f"statefulset/db in shop has left: {LOST.message}", 1),
        ([COLD], f"statefulset/db in shop has left: {COLD.message}", 1),
        ([Told("e4", "Moved", "mv-2: pod db-01 moved from n1 to n2")], "statefulset/db in shop has left: no end within 1.0 s", 1),
    ):
        session.moving.__init__()
        session.moving.pods = [Hosted(DB, "db-0", "n1")]
        session.moving.leave, session.moving.answers = ["db-0"], answers
        result = reprise("drain", "n1", "--timeout", "1")
        assert (result.exit_code, said in result.stderr) == (code, True), result.stderr


def test_drain_does_not_take_the_failure_of_an_earlier_attempt_for_the_end(
    reprise: Run, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It failed while another pod kept the drain waiting, and left in the next attempt."""
    session.moving.pods.append(Hosted(DB, "db-0", "n1"))
    session.moving.answers = [STAYS]
    steps = [
        lambda: session.moving.__dict__.update(leave=["db-0", "counter-1"], answers=[]) or session.moving.happens(),
        lambda: session.moving.events.append(MOVED),
    ]
    monkeypatch.setattr("reprise.cli.commands.moves.time.sleep", lambda _: steps.pop(0)())
    result = reprise("drain", "n1")
    assert (result.exit_code, "2 of 2" in result.stderr, steps) == (0, True, []), result.stderr


def test_a_forced_failover_is_a_request_of_its_own_each_time(reprise: Run, session: Any) -> None:
    for _ in range(2):
        result = reprise("failover", "--force")
        assert result.exit_code == 0, result.stderr
    (first, _), (second, _) = session.moving.forced, session.moving.forced[::-1]
    assert first[0] == "reprise-system"
    assert first[1] != second[1]


def test_without_force_nothing_is_asked_for(reprise: Run, session: Any) -> None:
    result = reprise("failover")
    assert result.exit_code == 2
    assert "by themselves" in result.stderr
    assert not session.moving.forced
