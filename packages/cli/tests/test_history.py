"""`reprise history` and `reprise trace`, over a console that is told what to answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from reprise.cli.event_view import Step, steps, waterfall
from typer.testing import Result

Run = Callable[..., Result]
CHECKPOINT: dict[str, Any] = {
    "checkpoint_id": "ck1", "state": "stored", "at": "2026-11-24T10:00:00+00:00", "node": "n1", "size_bytes": 3 << 20,
    "new_bytes": 1 << 20, "pause_s": 0.052, "frozen_time_us": 31_000, "transfer_s": 0.2, "staged_on": "n2",
}  # fmt: skip
FAILED: dict[str, Any] = {
    "checkpoint_id": "ck2", "state": "failed", "at": "2026-11-24T10:00:10+00:00", "node": "n1", "reason": "MptcpSocket",
    "message": "it has an MPTCP socket", "remedy": "set GODEBUG",
}  # fmt: skip
FAILOVER: dict[str, Any] = {
    "failover_id": "fo-1a2b", "namespace": "shop", "kind": "Deployment", "workload": "cart", "container": "app", "node": "n1",
    "pod": "cart-1", "at": "2026-11-24T10:00:20+00:00", "state": "completed", "cause": "node-loss", "detail": "no lease",
    "path": "shadow", "checkpoint_id": "ck1", "standby": "n2", "why": "the only one", "declared_at": "2026-11-24T10:00:20+00:00",
    "noticed_after_s": 4.0, "started_at": "2026-11-24T10:00:20.100+00:00", "fenced_at": "2026-11-24T10:00:20.200+00:00",
    "fenced_how": "its lease ran out", "restored_at": "2026-11-24T10:00:21.700+00:00", "ended_at": "2026-11-24T10:00:22+00:00",
    "total_s": 2.0, "reason": None, "message": None, "remedy": None, "trace_id": "abc123",
}  # fmt: skip

ENDED: dict[str, Any] = {
    "container_id": "c1", "container": "app", "pod": "cart-1", "node": "n1", "at": "2026-11-24T10:00:05+00:00", "exit_code": 137,
    "reason": "OOMKilled", "log_tail": "up\nit grew\n", "final": False,
}  # fmt: skip


def test_history_is_both_newest_first_with_why_a_checkpoint_failed(reprise: Run, session: Any) -> None:
    session.tables = {"checkpoints": [FAILED, CHECKPOINT], "failovers": [FAILOVER]}
    lines = reprise("history", "shop/deploy/cart").stdout.splitlines()[1:]
    assert [word for line in lines for word in ("fo-1a2b", "ck2", "ck1") if word in line.split("(")[0]][:3] == [
        "fo-1a2b",
        "ck2",
        "ck1",
    ]
    assert "node lost: shadow to n2 in 2.0 s" in lines[0]
    assert "MptcpSocket: it has an MPTCP socket; set GODEBUG" in lines[1]
    assert "3.15 MB, 1.05 MB new, paused 52 ms (CRIU 31 ms), stored in 0.20 s, ready on n2" in lines[2]
    assert session.filters == {"namespace": "shop", "workload": "cart", "kind": "Deployment", "since": ""}


def test_history_tells_how_a_container_ended_and_what_it_said_last(reprise: Run, session: Any) -> None:
    session.tables = {"exits": [ENDED]}
    told = reprise("history", "shop/cart").stdout
    assert "container app of cart-1" in told
    assert "exit code 137 (SIGKILL), OOMKilled; its last line: it grew" in told
    session.tables = {"exits": [ENDED | {"exit_code": 0, "reason": "Completed", "log_tail": "", "final": True}]}
    assert "exit code 0, Completed; it is not started again" in reprise("history", "shop/cart").stdout


@pytest.mark.parametrize("kind", ["criu", "http"])
def test_history_names_what_a_checkpoint_is_of(reprise: Run, session: Any, kind: str) -> None:
    session.tables = {"checkpoints": [CHECKPOINT | {"checkpoint_kind": kind}]}
    assert f"{kind}, 3.15 MB, 1.05 MB new" in reprise("history", "shop/cart").stdout


def test_history_and_trace_tell_what_a_move_lost(reprise: Run, session: Any) -> None:
    session.tables = {"failovers": [FAILOVER | {"cause": "move", "lost_work": "ck2 did not come back: bad size of /log"}]}
    assert "what it did since ck1 is lost: ck2 did not come back: bad size of /log" in reprise("history", "shop/cart").stdout
    assert "work lost" in reprise("trace", "shop/cart").stdout
    session.tables = {"failovers": [FAILOVER | {"lost_work": None}]}
    assert "is lost" not in reprise("history", "shop/cart").stdout
    assert "work lost" not in reprise("trace", "shop/cart").stdout


def test_history_as_data_is_the_consoles(reprise: Run, session: Any) -> None:
    session.tables = {"checkpoints": [CHECKPOINT]}
    assert json.loads(reprise("history", "cart", "-o", "json").stdout) == {
        "checkpoints": [CHECKPOINT], "failovers": [], "exits": [],
    }  # fmt: skip
    assert session.filters["namespace"] == "from-context"


def test_history_of_what_is_not_known_suggests_near_names(reprise: Run, session: Any) -> None:
    session.rows = [{"workload": "cart"}]
    told = reprise("history", "shop/crat")
    assert told.exit_code == 1
    assert "shop/crat: nothing is known of it: it never was protected (did you mean cart?" in told.stderr


def test_nothing_since_then_is_no_error(reprise: Run) -> None:
    told = reprise("history", "shop/cart", "--since", "1h")
    assert (told.exit_code, told.stdout) == (0, "")
    assert reprise("history", "shop/cart", "--since", "soon").exit_code == 2


def test_a_trace_shows_each_step_and_where_jaeger_has_it(reprise: Run, session: Any) -> None:
    session.tables = {"failovers": [FAILOVER]}
    for wanted in ("fo-1a", "shop/cart"):
        told = reprise("trace", wanted)
        assert told.exit_code == 0, told.output
        assert "http://localhost:16686/trace/abc123" in told.stdout
        assert "4.0 s" in told.stdout
        assert "1.5 s" in told.stdout


def test_a_trace_as_data_has_the_steps(reprise: Run, session: Any) -> None:
    session.tables = {"failovers": [FAILOVER]}
    told = json.loads(reprise("trace", "fo-1a2b", "-o", "json").stdout)
    assert [step["step"] for step in told["steps"]] == ["notice", "plan", "fence", "restore, verify", "adopt"]


@pytest.mark.parametrize(("wanted", "said"), [("fo-9", "not known"), ("shop/cart", "never failed over")])
def test_a_failover_that_is_not_there(reprise: Run, wanted: str, said: str) -> None:
    told = reprise("trace", wanted)
    assert told.exit_code == 1
    assert said in told.stderr


def test_steps_that_are_not_known_are_left_out() -> None:
    row = FAILOVER | {"fenced_at": None, "restored_at": None, "state": "abandoned"}
    assert [(step.name, step.begin, step.end) for step in steps(row)] == [("notice", 0, 4), ("plan", 4, 4.1), ("adopt", 4.1, 6)]
    assert steps(FAILOVER | {"declared_at": None}) == []


def test_what_was_restored_frozen_is_released_before_it_is_verified() -> None:
    row = FAILOVER | {"released_at": "2026-11-24T10:00:21.200+00:00"}
    found = [(step.name, round(step.begin, 3), round(step.end, 3)) for step in steps(row)][3:5]
    assert found == [("restore", 4.2, 5.2), ("verify", 5.2, 5.7)]


def test_each_bar_begins_where_the_one_before_ends_and_none_is_invisible() -> None:
    bars = [row[1].text for row in waterfall([Step("a", 0, 4), Step("b", 4, 4.001), Step("c", 4.001, 8)])]
    assert [len(bar) for bar in bars] == [40, 40, 40]
    assert bars[0].strip() == "█" * 20
    assert bars[1].strip() == "█"
    assert bars[2].endswith("█")
    assert waterfall([Step("a", 0, 0)])[0][1].text.strip() == "█"
