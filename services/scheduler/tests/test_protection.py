"""What an owner is told of a workload's protection follows from its events, in whatever order and number they come."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointPaused,
    CheckpointSkipped,
    CheckpointStaged,
    CheckpointStored,
    Event,
    StandbyRefused,
)
from reprise.contracts.model import CriuStats, Target, Workload, checkpoint_id, due_time
from reprise.scheduler.model import Known, Protection, Reason
from reprise.scheduler.protection import WORST_FIRST, has_warm_standby, inherited, protection, seen, worst

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="c", container_id="c1")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def ck(number: int) -> str:
    return checkpoint_id("u1", "c", BEGAN + timedelta(seconds=10 * number))


def stored(number: int) -> CheckpointStored:
    return CheckpointStored(
        node="n1", workload=WORKLOAD, checkpoint_id=ck(number), target=TARGET, trigger="interval", manifest_key="k", size=1,
        sha256="0", transfer_s=0, kubelet_s=0, stats=CriuStats(),
    )  # fmt: skip


def failed(number: int, reason: str = "CriuFailed") -> CheckpointFailed:
    return CheckpointFailed(
        node="n1", workload=WORKLOAD, checkpoint_id=ck(number), target=TARGET, reason=reason, message="why", remedy="do this"
    )


def live(number: int, uid: str = "u1", node: str = "n1") -> CheckpointStaged:
    return CheckpointStaged(
        node=node, workload=WORKLOAD, checkpoint_id=ck(number), target=TARGET.model_copy(update={"pod_uid": uid, "node": node}),
        reference="slot", pull_s=0,
    )  # fmt: skip


def staged(number: int, node: str = "n2", *, warm: bool = True) -> CheckpointStaged:
    return CheckpointStaged(
        node=node, workload=WORKLOAD, checkpoint_id=ck(number), target=TARGET, reference="r", pull_s=1, role="standby", warm=warm
    )


def busy(number: int) -> CheckpointSkipped:
    return CheckpointSkipped(
        node="n1", workload=WORKLOAD, checkpoint_id=ck(number), target=TARGET, reason="NodeBusy", message="spread the workloads"
    )


PAUSED = CheckpointPaused(node="n1", workload=WORKLOAD, target=TARGET, reason="r", message="m", remedy="do")
REFUSED = StandbyRefused(node="n2", workload=WORKLOAD, target=TARGET, reason="r", message="m", remedy="do")


def after(*events: Event) -> Known:
    known = Known()
    for event in events:
        known = seen(known, event)
    return known


def told(known: Known, number: int = 2, **changed: Any) -> Protection:
    """At ten seconds after the checkpoint of this number was due."""
    facts: dict[str, Any] = {"pod_uid": "u1", "node": "n1", "running": True, "interval_s": 10.0, "prestaged": True}
    return protection(known, now=BEGAN + timedelta(seconds=10 * (number + 1)), **(facts | changed))


def test_a_checkpoints_name_tells_when_it_was_due() -> None:
    assert due_time(ck(3)) == BEGAN + timedelta(seconds=30)
    assert due_time("of another form") is None


def test_a_workload_without_a_checkpoint_is_not_protected() -> None:
    assert told(Known()) == Protection(False, "NoCheckpoint", "no checkpoint is stored yet")
    assert told(after(failed(1))) == Protection(False, "CheckpointFailing", "CriuFailed: why. do this")


def test_an_armed_one_says_from_what_it_would_come_back_and_where_its_standby_is() -> None:
    found = told(after(stored(2), live(2), staged(2)))
    assert (found.protected, found.reason) == (True, "Armed")
    assert ck(2) in found.message
    assert found.message.endswith("n2 has it ready")


def test_one_without_a_standby_on_purpose_says_so() -> None:
    found = told(after(stored(2), live(2), staged(2)), prestaged=False)
    assert found.message.endswith("no standby is kept for it, as its annotation says")


def test_a_pod_is_armed_by_a_checkpoint_that_lies_ready_on_its_own_node_and_by_nothing_else() -> None:
    for known in (
        after(stored(2)),
        after(stored(2), live(2, "u0")),
        after(stored(2), live(2, "u1", "n3")),
        after(stored(2), staged(2)),
    ):
        found = told(known)
        assert (found.protected, found.reason) == (False, "NotReady")
        assert "n1" in found.message
    assert told(after(stored(2), staged(2)), pod_uid="u2", node="n2").reason == "Armed", "it was moved to where it was staged"


def test_one_failed_checkpoint_does_not_end_the_protection_but_three_intervals_do() -> None:
    known = after(stored(2), live(2), failed(3))
    assert told(known, 3).reason == "Armed"
    late = told(known, 8)
    assert (late.protected, late.reason) == (False, "CheckpointFailing")
    assert "do this" in late.message
    assert told(after(stored(2)), 8).reason == "Stale"


def test_what_is_late_because_its_node_is_busy_says_so_until_its_next_checkpoint() -> None:
    late = told(after(stored(2), busy(3)), 8)
    assert (late.protected, late.reason) == (False, "Stale")
    assert "spread the workloads" in late.message
    assert "spread" not in told(after(stored(2), busy(3), stored(4)), 20).message
    assert told(after(stored(2), live(2), busy(3)), 3).reason == "Armed", "one that is late harms nobody"
    assert told(after(busy(3))) == Protection(False, "NoCheckpoint", "no checkpoint is stored yet; spread the workloads")


def test_a_pause_is_of_one_pod_only() -> None:
    known = after(stored(2), PAUSED, live(2, "u2"))
    assert told(known).reason == "CheckpointsPaused"
    assert told(known, pod_uid="u2").reason == "Armed"


def test_the_node_that_it_runs_on_is_no_standby() -> None:
    known = after(stored(2), staged(2))
    assert has_warm_standby(known, "n1")
    assert not has_warm_standby(known, "n2")
    assert not has_warm_standby(after(stored(2), staged(2, warm=False)), "n1")
    assert not has_warm_standby(after(stored(2), staged(2), REFUSED), "n1")


def test_a_workload_is_as_protected_as_the_worst_of_its_pods() -> None:
    states = {
        "a": Protection(True, "Armed", ""), "b": Protection(False, "NotRunning", ""), "c": Protection(False, "Stale", ""),
        "d": Protection(False, "CheckpointFailing", "x"), "e": Protection(False, "CheckpointFailing", "y"),
    }  # fmt: skip
    for order in itertools.permutations(states):
        assert worst({name: states[name] for name in order}) == ("d", states["d"]), "whichever comes first"
    assert worst({"a": states["a"]}) == ("a", states["a"])


def test_each_reason_has_its_place_among_the_worst() -> None:
    assert sorted(WORST_FIRST) == sorted(get_args(Reason))


def test_a_pod_inherits_from_the_one_that_it_came_of_and_from_no_other() -> None:
    named, warm = replace(after(stored(1)), pod="db-0"), replace(after(stored(3), staged(3)), pod="db-1")
    assert inherited([named, warm], "db-0", "n2") == named, "of its name, although another one's lies there"
    assert inherited([named, warm], "cart-9", "n2") == warm
    assert inherited([named, warm], "cart-9", "n3") == Known(), "replaced, not restored"
    assert inherited([replace(warm, warm=False)], "cart-9", "n2") == Known()


@settings(max_examples=50, deadline=None)
@given(st.permutations([stored(1), stored(2), failed(1), failed(3), live(1, "u0"), live(2), staged(1), staged(2)]), st.data())
def test_the_order_of_events_and_their_repetition_change_nothing(events: list[Event], data: st.DataObject) -> None:
    """Events of one workload come by several subjects, and again after an interruption."""
    again = data.draw(st.lists(st.sampled_from(events), max_size=4))
    assert after(*events, *again) == after(
        stored(1), stored(2), failed(1), failed(3), live(1, "u0"), live(2), staged(1), staged(2)
    )
