"""What the owner of a workload is told, from one row."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.console.estimate import CRASH_BASE_S, NODE_LOSS_BASE_S, expected_recovery
from reprise.console.workloads import health_of, is_warm, status

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    """A healthy workload of 10 s interval, its newest checkpoint on the standby."""
    names = (
        "refused_at refused_node refused_reason refused_message refused_remedy tried_reason tried_message tried_remedy "
        "failover_id failover_cause failover_state failover_total_s failover_at failover_ended_at "
        "failover_reason failover_message failover_remedy node_event unguarded new_bytes pause_s frozen_time_us checkpoint_kind "
        "gone_at busy_message"
    )
    return dict.fromkeys(names.split()) | {
        "namespace": "default", "kind": "Deployment", "workload": "counter", "container": "app", "node": "n1", "pod": "p",
        "interval_s": 10.0, "checkpoint_id": "c2", "size_bytes": 80_000_000, "checkpoint_at": NOON,
        "recovery_point_age_s": 4.0, "stored_age_s": 3.0, "previous_id": "c1", "staged_id": "c2", "staged_on": "n2",
        "staged_at": NOON, "staged_warm": True, "tried_state": "stored",
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "warm"),
    [
        ({}, True),
        ({"staged_id": "c1"}, True),
        ({"staged_id": "c1", "stored_age_s": 10.0}, False),
        ({"staged_id": "c0"}, False),
        ({"staged_id": "c3"}, True),
        ({"staged_warm": False}, False),
        ({"staged_id": None}, False),
        ({"checkpoint_id": None, "previous_id": None}, False),
        ({"staged_id": "c1", "interval_s": None}, False),
    ],
)
def test_a_standby_is_warm_with_the_newest_or_less_than_an_interval_behind(changes: dict[str, Any], warm: bool) -> None:
    assert is_warm(row(**changes)) is warm


@pytest.mark.parametrize(
    ("changes", "health"),
    [
        ({}, "ok"),
        ({"recovery_point_age_s": 29.0}, "ok"),
        ({"recovery_point_age_s": 31.0}, "stale"),
        ({"checkpoint_id": None}, "unprotected"),
        ({"tried_state": "failed"}, "failing"),
        ({"node_event": "node.isolated"}, "node-isolated"),
        ({"node_event": "node.postponed"}, "node-lost"),
        ({"node_event": "node.returned"}, "ok"),
        ({"failover_state": "fenced", "node_event": "node.lost"}, "failing-over"),
        ({"failover_state": "completed"}, "ok"),
        ({"failover_state": "abandoned", "failover_ended_at": NOON + timedelta(seconds=1)}, "state-lost"),
        ({"failover_state": "abandoned", "failover_ended_at": NOON - timedelta(seconds=1)}, "ok"),
    ],
)
def test_health_is_the_worst_that_is_so(changes: dict[str, Any], health: str) -> None:
    assert health_of(row(**changes))[0] == health


def test_what_is_late_because_its_node_is_busy_says_so_and_what_is_in_time_does_not() -> None:
    busy = {"busy_message": "its node is too busy"}
    assert "too busy" in health_of(row(recovery_point_age_s=31.0, **busy))[1]
    assert "too busy" in health_of(row(checkpoint_id=None, **busy))[1]
    assert health_of(row(**busy)) == ("ok", "")


def test_a_refusal_is_told_until_a_standby_staged_something_since() -> None:
    refusal = {"refused_at": NOON + timedelta(seconds=1), "refused_node": "n2", "refused_reason": "DiskPressure"}
    told = status(row(**refusal))
    assert told["refused"]["reason"] == "DiskPressure"
    assert status(row(**refusal | {"staged_at": NOON + timedelta(seconds=2)}))["refused"] is None


def test_where_it_runs_is_no_standby_of_it() -> None:
    assert status(row(node="n2"))["standby"] is None
    assert status(row(node="n1"))["standby"]["node"] == "n2"


def test_a_cold_standby_costs_the_download() -> None:
    warm, cold = (expected_recovery(800_000_000, warm=held) for held in (True, False))
    assert (warm.crash, cold.crash) == (1.8, 1.8)
    assert (warm.node_loss, cold.node_loss) == (8.4, 18.4)
    assert "80 MB/s to fetch" in cold.how


def test_without_a_checkpoint_there_is_nothing_to_expect() -> None:
    assert expected_recovery(None, warm=True).crash is None


@given(st.integers(0, 1 << 50), st.booleans())
def test_an_estimate_is_never_below_its_base_nor_better_when_cold(size: int, warm: bool) -> None:
    told = expected_recovery(size, warm=warm)
    assert told.crash is not None and told.crash >= CRASH_BASE_S
    assert told.node_loss is not None and told.node_loss >= NODE_LOSS_BASE_S
    assert told.node_loss <= (expected_recovery(size, warm=False).node_loss or 0)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Pod"])
def test_the_loss_of_its_node_is_survived_whatever_its_kind_is(kind: str) -> None:
    assert status(row(kind=kind))["expected_recovery_s"]["node_loss"] is not None


def test_what_runs_on_a_node_that_cannot_freeze_is_not_moved_and_says_why() -> None:
    told = status(row(unguarded="its freezer cannot be written"))
    assert told["unguarded"] == "its freezer cannot be written"
    assert told["expected_recovery_s"]["node_loss"] is None
    assert told["expected_recovery_s"]["crash"] is not None
    assert status(row())["unguarded"] == ""
