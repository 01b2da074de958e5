"""What a move will do is told before it is asked for, and it is not the same for every kind."""

from typing import Any

import pytest
from reprise.console.web.asks import about_workload


def row(kind: str) -> dict[str, Any]:
    return {"workload": "db", "kind": kind, "node": "n1", "expected_recovery_s": {"crash": 0.9}}


def test_a_deployments_move_can_be_undone_until_it_is_final() -> None:
    will = " ".join(about_workload("move", [row("Deployment")]).will)
    assert "removed once the new one serves" in will
    assert "If it cannot be restored there, it goes on on n1" in will


@pytest.mark.parametrize("kind", ["StatefulSet", "Pod"])
def test_of_what_keeps_its_name_the_pod_is_deleted_first_and_that_is_said(kind: str) -> None:
    will = " ".join(about_workload("move", [row(kind)]).will)
    assert "the pod on n1 is deleted, and the next pod of its name goes on" in will
    assert "starts without its memory" in will
    assert "removed once" not in will
