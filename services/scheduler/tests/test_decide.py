"""Due times: one grid per container, whoever computes it, and no slot twice or in a burst."""

from hypothesis import given
from hypothesis import strategies as st
from reprise.scheduler.decide import Due, Wait, grid, next_act
from reprise.scheduler.model import Slot

NOW = 1_790_000_000.0


def remembered(number: int, interval_s: float = 10.0) -> Slot:
    return Slot(pod_uid="u1", container="c", interval_s=interval_s, number=number)


def test_a_fresh_container_is_checkpointed_once_it_has_settled() -> None:
    of = grid("u1", "c", 10)
    assert next_act(of, None, NOW, NOW - 1, 3) == Wait(NOW + 2)
    act = next_act(of, None, NOW, NOW - 3, 3)
    assert isinstance(act, Due)
    assert act.trigger == "first"


def test_a_container_that_is_not_ready_is_not_checkpointed() -> None:
    assert isinstance(next_act(grid("u1", "c", 10), None, NOW, None, 3), Wait)


def test_a_restarted_scheduler_doubles_nothing() -> None:
    of = grid("u1", "c", 10)
    act = next_act(of, remembered(of.slot(NOW)), NOW, NOW - 60, 3)
    assert act == Wait(of.due_s(of.slot(NOW) + 1))


def test_a_restarted_scheduler_makes_up_for_what_it_missed_once() -> None:
    of = grid("u1", "c", 10)
    act = next_act(of, remembered(of.slot(NOW) - 50), NOW, NOW - 600, 3)
    assert isinstance(act, Due)
    assert act.slot == of.slot(NOW)
    assert isinstance(next_act(of, remembered(act.slot), NOW, NOW - 600, 3), Wait)


def test_a_clock_set_back_does_not_stop_the_checkpoints() -> None:
    of = grid("u1", "c", 10)
    act = next_act(of, remembered(of.slot(NOW) + 360), NOW, NOW - 60, 3)
    assert isinstance(act, Wait)
    assert act.until_s <= NOW + 10


def test_a_new_interval_starts_a_new_grid() -> None:
    of = grid("u1", "c", 5)
    act = next_act(of, remembered(7, interval_s=10), NOW, NOW - 60, 3)
    assert isinstance(act, Wait)
    assert act.until_s <= NOW + 5


@given(st.floats(1, 1e5), st.floats(0, 2e9), st.text(max_size=8))
def test_two_replicas_agree_on_the_slot_and_it_contains_now(interval_s: float, now_s: float, uid: str) -> None:
    one, other = grid(uid, "c", interval_s), grid(uid, "c", interval_s)
    assert one == other
    slot = one.slot(now_s)
    assert one.due_s(slot) <= now_s + 1e-3
    assert now_s <= one.due_s(slot + 1) + 1e-3


@given(st.lists(st.floats(0.01, 30), min_size=1, max_size=60), st.sampled_from([1.0, 5.0, 10.0]))
def test_slots_are_emitted_in_order_and_never_twice(steps: list[float], interval_s: float) -> None:
    of, now_s, last, seen = grid("u1", "c", interval_s), NOW, None, []
    for step in steps:
        now_s += step
        act = next_act(of, last, now_s, NOW - 100, 3)
        if isinstance(act, Due):
            seen.append(act.slot)
            last = Slot(pod_uid="u1", container="c", interval_s=interval_s, number=act.slot)
    assert seen == sorted(set(seen))
