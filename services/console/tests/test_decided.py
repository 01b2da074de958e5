"""What a node page says would happen: the restorer's own decision, and an estimate only where it does not tell."""

from typing import Any

from reprise.console.web.whatif import decided, fate
from reprise.contracts.model import Target, Workload, now
from reprise.contracts.plans import Planned

ROW: dict[str, Any] = {
    "namespace": "default", "kind": "Deployment", "workload": "counter", "container": "app", "node": "n1",
    "recovery_point_age_s": 4.0, "expected_recovery_s": {"node_loss": 6.7}, "checkpoint": {"id": "c2"},
    "standby": {"node": "n2", "warm": True}, "refused": None, "unguarded": None,
}  # fmt: skip


def planned(name: str = "counter", **told: Any) -> Planned:
    target = Target(node="n1", pod="p", pod_uid="u", container="app")
    return Planned.model_validate({"workload": Workload(namespace="default", name=name), "target": target, "at": now(), **told})


def test_the_restorers_decision_stands_before_the_estimate() -> None:
    told = decided(fate(ROW), [planned("other", standby="n4", why="x"), planned(standby="n3", why="n3 is ready")])
    assert (told.to, told.tone, told.what) == ("n3", "warn", "n3 is ready")
    same = decided(fate(ROW), [planned(standby="n2", why="n2 holds its checkpoints ready")])
    assert (same.to, same.tone) == ("n2", "ok")


def test_that_it_would_stay_down_is_told_with_the_reason_and_what_to_do() -> None:
    stop = planned(why="no node can take it: n2 is cordoned", reason="NoStandby", remedy="add a node that can", later=True)
    told = decided(fate(ROW), [stop])
    assert (told.to, told.tone, told.back_s) == ("", "bad", None)
    assert "n2 is cordoned" in told.what and "add a node" in told.what and "tried again" in told.what


def test_of_what_it_does_not_tell_the_estimate_stays() -> None:
    guess = fate(ROW)
    assert decided(guess, []) == guess


def test_a_node_that_cannot_be_given_up_is_waited_for_wherever_its_pods_could_go() -> None:
    guess = fate(ROW | {"unguarded": "its freezer cannot be written"})
    assert decided(guess, [planned(standby="n2", why="n2 is ready")]) == guess
    assert "cannot be given up" in guess.what
