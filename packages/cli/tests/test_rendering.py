"""What people read."""

from datetime import UTC, datetime
from typing import Any

import pytest
from reprise.cli.rendering import (
    expected,
    last_failover,
    reasons,
    recovery_point,
    standby,
    workload_columns,
    workload_row,
)
from reprise.contracts.humane import NONE

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROW: dict[str, Any] = {
    "namespace": "shop", "kind": "Deployment", "workload": "counter", "container": "app", "node": "n1", "interval_s": 10.0,
    "health": "ok", "health_reason": "", "checkpoint": {"id": "c2", "size_bytes": 3 << 20}, "recovery_point_age_s": 4.2,
    "standby": {"node": "n2", "warm": True}, "refused": None,
    "expected_recovery_s": {"crash": 0.9, "node_loss": 6.7, "how": "h"},
    "last_failover": {"cause": "crash", "state": "completed", "total_s": 0.87, "at": "2026-11-24T11:57:00Z"},
}  # fmt: skip
REFUSED = {"node": "n3", "reason": "DiskPressure", "message": "its disk is full", "remedy": "free some space"}


def test_a_recovery_point_stands_against_its_interval() -> None:
    assert recovery_point(ROW).text == "4.2 s / 10 s"
    assert recovery_point(ROW | {"recovery_point_age_s": 25}).style == "yellow"
    assert recovery_point(ROW | {"recovery_point_age_s": None}).text == "none"


def test_a_standby_is_warm_or_cold_or_refused() -> None:
    assert standby(ROW).text == "n2 warm"
    assert standby(ROW | {"standby": {"node": "n2", "warm": False}}).text == "n2 cold"
    assert standby(ROW | {"standby": None}).text == "none"
    assert standby(ROW | {"standby": None, "refused": REFUSED}).text == "n3 refused: DiskPressure"


def test_a_refusal_is_explained_with_its_remedy_below() -> None:
    assert reasons([ROW]) == []
    (told,) = reasons([ROW | {"standby": None, "refused": REFUSED}])
    assert told == "deployment/counter: n3 refused to stand by: its disk is full; free some space"


def test_what_is_not_moved_because_its_node_cannot_freeze_is_told_below() -> None:
    (told,) = reasons([ROW | {"unguarded": "its freezer cannot be written"}])
    assert told.endswith(f"not moved if {ROW['node']} is lost: its freezer cannot be written")


def test_health_is_in_the_consoles_words() -> None:
    told = {row["health"]: workload_row(row, NOW, namespace=False, wide=False)[1] for row in (ROW, ROW | {"health": "node-lost"})}
    assert (told["ok"].text, told["node-lost"].text, told["node-lost"].style) == ("healthy", "node lost", "bold red")


def test_expected_recovery_and_the_last_failover() -> None:
    assert expected(ROW).text == "0.90 s crash, 6.7 s node lost"
    assert expected(ROW | {"expected_recovery_s": {"crash": None}}).text == "starts blank"
    assert last_failover(ROW, NOW).text == "crash: restored in 0.87 s, 3 min ago"
    assert last_failover(ROW | {"last_failover": None}, NOW).text == NONE


@pytest.mark.parametrize("namespace", [True, False])
@pytest.mark.parametrize("wide", [True, False])
def test_each_row_has_a_cell_for_each_column(namespace: bool, wide: bool) -> None:
    assert len(workload_row(ROW, NOW, namespace=namespace, wide=wide)) == len(workload_columns(namespace=namespace, wide=wide))
