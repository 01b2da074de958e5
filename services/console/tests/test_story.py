"""A failover's story, from its row and the checkpoints before it."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from reprise.console.web.story import tell
from reprise.console.web.whatif import Fate, fate, sentence

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def row(**changes: Any) -> dict[str, Any]:
    """A node that was lost at noon, noticed 5 s later, and the workload back after 6 s."""
    return {
        "workload": "counter", "node": "n1", "standby": "n2", "cause": "node-loss", "detail": "silent", "state": "completed",
        "path": "shadow", "checkpoint_id": "c3", "why": "n2 holds its checkpoints ready", "fenced_how": "the node froze them",
        "noticed_after_s": 5.0, "declared_at": at(5), "started_at": at(5.1), "fenced_at": at(5.2), "restored_at": at(5.8),
        "ended_at": at(6), "total_s": 1.0, "lost_work": None, "released_at": None, "reason": None, "message": None,
        "remedy": None, "at": at(5),
    } | changes  # fmt: skip


def checkpoint(name: str, second: float, state: str = "stored", **changes: Any) -> dict[str, Any]:
    return {"checkpoint_id": name, "at": at(second), "state": state, "size_bytes": 34_000_000, "reason": None} | changes


BEFORE = [checkpoint("c4", -1, "failed", reason="InFlightConnection"), checkpoint("c3", -4), checkpoint("c2", -14)]


def test_it_tells_what_when_why_that_checkpoint_why_that_node_and_what_was_lost() -> None:
    told = tell(row(), BEFORE, at(60))
    facts = dict(told.facts)
    assert told.headline == "counter lost its node n1; restored on n2 with its memory after 6.0 s"
    assert facts["When"] == "12:00:00 UTC, noticed 5.0 s later, serving again at 12:00:06."
    assert facts["Why this checkpoint"] == (
        "C3 was the newest good one: taken 4.0 s before the fault, 34 MB. 1 later one failed (InFlightConnection)."
    )
    assert facts["Why this node"].startswith("n2 holds its checkpoints ready. Started in a new pod")
    assert facts["What was lost"] == "What it did in the 4.0 s between that checkpoint and the fault."


def test_a_move_that_goes_on_from_an_older_checkpoint_than_its_last_one_says_so() -> None:
    why = "c4 did not come back on n2: bad size of /log"
    told = tell(row(cause="move", path="recreate", lost_work=why), BEFORE, at(60))
    assert told.headline == "counter was moved off n1; restored on n2 from an older checkpoint than its last one after 6.0 s"
    assert told.tone == "warn"
    assert dict(told.facts)["What was lost"] == f"What it did since c3, for that is older than its last one: {why}."


def test_it_tells_how_long_criu_took_where_that_is_known() -> None:
    restore = {"restore_time_us": 412_000, "pages_restored": 8302}
    facts = dict(tell(row(), BEFORE, at(60), restore).facts)
    assert facts["How long CRIU took"] == "0.41 s for 8,302 pages of memory."
    assert "How long CRIU took" not in dict(tell(row(), BEFORE, at(60)).facts)


def test_in_place_it_says_why_it_stayed() -> None:
    told = tell(
        row(
            cause="crash",
            standby="n1",
            path="in-place",
            fenced_at=None,
            fenced_how=None,
            why="its node is healthy: it restarts there",
        ),
        BEFORE,
        at(60),
    )
    assert told.headline == "counter crashed on n1; restored there with its memory after 6.0 s"
    assert dict(told.facts)["Why this node"].startswith("Its node is healthy: it restarts there. Started in the same pod")
    assert [step.name for step in told.steps] == ["notice", "plan", "restore", "complete"]


def test_the_ways_of_older_versions_are_still_told() -> None:
    for path in ("in-place-armed", "in-place-patch"):
        facts = dict(tell(row(cause="crash", standby="n1", path=path), BEFORE, at(60)).facts)
        assert "Started in the same pod" in facts["Why this node"]
    assert tell(row(cause="arm", path="in-place-patch"), BEFORE, at(60)).headline.startswith("counter was armed on n1")


def test_one_that_was_restored_frozen_is_released_before_it_is_verified() -> None:
    told = tell(row(released_at=at(5.6)), BEFORE, at(60))
    assert [(step.name, round(step.end_s, 1)) for step in told.steps] == [
        ("notice", 5.0), ("plan", 5.1), ("fence", 5.2), ("restore", 5.6), ("verify", 5.8), ("adopt", 6.0),
    ]  # fmt: skip
    waiting = row(released_at=at(5.6), restored_at=None, ended_at=None, total_s=None, state="released")
    assert tell(waiting, BEFORE, at(7)).headline == "counter lost its node n1; restored on n2, and let run"


def test_one_that_keeps_its_name_is_told_with_its_plan_and_without_an_adoption() -> None:
    told = tell(row(path="recreate", released_at=at(5.6)), BEFORE, at(60))
    plan = next(step for step in told.steps if step.name == "plan")
    assert plan.what == "which checkpoint, which node"
    assert [(step.name, step.what) for step in told.steps[-1:]] == [("complete", "recorded")]
    assert "Started in a new pod of the same name." in dict(told.facts)["Why this node"]
    waiting = row(path="recreate", ended_at=None, total_s=None, state="restored")
    assert tell(waiting, BEFORE, at(7)).headline == "counter lost its node n1; restored on n2"


def test_it_tells_how_the_container_ended_and_what_it_said_last() -> None:
    end = {"exit_code": 137, "reason": "OOMKilled", "log_tail": "a\nout of memory\n"}
    facts = dict(tell(row(cause="crash"), BEFORE, at(60), None, end).facts)
    assert facts["How it ended"] == "Exit code 137 (SIGKILL), OOMKilled."
    assert facts["What it said last"] == "out of memory"
    assert "What it said last" not in dict(tell(row(cause="crash"), BEFORE, at(60), None, end | {"log_tail": "\n"}).facts)


def test_one_that_was_given_up_says_why_and_what_to_do() -> None:
    given_up = row(
        state="abandoned", checkpoint_id=None, started_at=None, fenced_at=None, restored_at=None, fenced_how=None, why=None,
        reason="OwnerNotSupported", message="a Job's pod cannot be moved", remedy="run it as a Deployment", ended_at=at(5.1),
    )  # fmt: skip
    told = tell(given_up, [], at(60))
    assert (told.tone, told.remedy) == ("bad", "run it as a Deployment")
    assert dict(told.facts)["Why it was given up"] == "OwnerNotSupported: a Job's pod cannot be moved."
    assert [step.name for step in told.steps] == ["notice", "give up"]


def test_one_that_goes_on_has_an_open_step_until_now() -> None:
    told = tell(
        row(state="started", fenced_at=None, fenced_how=None, restored_at=None, ended_at=None, total_s=None), BEFORE, at(9)
    )
    assert told.steps[-1].open
    assert told.total_s == 9
    assert told.headline == "counter lost its node n1; being restored on n2"


@given(st.lists(st.floats(-2, 30), min_size=5, max_size=5), st.lists(st.booleans(), min_size=5, max_size=5))
def test_steps_never_overlap_nor_end_before_they_begin(seconds: list[float], known: list[bool]) -> None:
    """Events of two nodes: their clocks differ, and any event may be missing."""
    names = ("started_at", "fenced_at", "released_at", "restored_at", "ended_at")
    moments = {name: at(5 + second) if has else None for name, second, has in zip(names, seconds, known, strict=True)}
    steps = tell(row(**moments), BEFORE, at(60)).steps
    assert all(step.length_s >= 0 for step in steps)
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(steps))


def status(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment", "node": "n1", "checkpoint": {"id": "c3"}, "recovery_point_age_s": 4.0, "refused": None,
        "standby": {"node": "n2", "warm": True}, "expected_recovery_s": {"node_loss": 6.7},
        "unguarded": "",
    } | changes  # fmt: skip


def test_what_would_happen_if_its_node_died() -> None:
    assert sentence(fate(status())) == (
        "It would continue on n2 in about 6.7 s, without its last 4.0 s of work: n2 holds its newest checkpoint ready."
    )
    assert fate(status(standby={"node": "n2", "warm": False})).tone == "warn"
    assert fate(status(), frozenset({"n2"})).to == ""
    assert fate(status(checkpoint=None)).what == "no checkpoint is stored: it would start blank"
    for kind in ("StatefulSet", "Pod"):
        assert fate(status(kind=kind)) == Fate(status(kind=kind), "n2", "ok", "n2 holds its newest checkpoint ready", 6.7, 4.0)
    told = fate(status(unguarded="its freezer cannot be written"))
    assert (told.tone, told.back_s) == ("bad", None)
    assert told.what == "n1 cannot be given up, it waits for it to return: its freezer cannot be written"
