"""`reprise move` and `reprise drain`: what they ask for, and what they say when it cannot be."""

from collections.abc import Callable
from typing import Any

from reprise.cli.ports import Told
from typer.testing import Result

Run = Callable[..., Result]


def test_a_move_asks_by_annotation_and_tells_the_end(reprise: Run, session: Any) -> None:
    session.moving.answers = [Told("e1", "Moved", "mv-1: moved from n1 to n2 with its memory (ck)")]
    result = reprise("move", "ns/counter", "--to", "n2")
    assert result.exit_code == 0
    assert "moved from n1 to n2" in result.stderr
    assert session.moving.deployments["counter"]["reprise.dev/move-to"] == "n2"
    assert len(session.moving.deployments["counter"]["reprise.dev/move-id"]) == 8


def test_a_move_that_did_not_succeed_says_why(reprise: Run, session: Any) -> None:
    session.moving.answers = [Told("e1", "MoveFailed", "mv-1: not moved, it runs on: NoStandby: no node can take it")]
    result = reprise("move", "deployment/counter", "-n", "ns")
    assert result.exit_code == 1
    assert "NoStandby" in result.stderr


def test_what_cannot_be_is_told_before_anything_is_asked(reprise: Run, session: Any) -> None:
    session.moving.deployments["plain"] = {}
    session.moving.cordoned["n2"] = True
    for words, said in (
        (("move", "ns/plain"), "reprise.dev/mode=criu"),
        (("move", "ns/counter", "--to", "n9"), "no such node"),
        (("move", "ns/counter", "--to", "n2"), "uncordon"),
        (("drain", "n9"), "no such node"),
    ):
        result = reprise(*words)
        assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
    assert reprise("move", "sts/db").exit_code == 2
    assert "reprise.dev/move-id" not in session.moving.deployments["counter"]


def test_drain_cordons_and_says_what_is_left_to_do(reprise: Run, session: Any) -> None:
    session.moving.answers = [Told("e1", "Moved", "moved")]
    result = reprise("drain", "n1")
    assert result.exit_code == 0
    assert session.moving.cordoned["n1"]
    assert "1 of 1" in result.stderr
    assert "kubectl drain n1" in result.stderr


def test_drain_names_what_stays_and_why(reprise: Run, session: Any) -> None:
    session.moving.answers = [Told("e1", "MoveFailed", "no node can take it")]
    result = reprise("drain", "n1")
    assert result.exit_code == 1
    assert "deployment/counter in ns stays: no node can take it" in result.stderr
