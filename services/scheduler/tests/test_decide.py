"""Due times: one grid per container, whoever computes it, and no slot twice or in a burst."""

from hypothesis import example, given
from hypothesis import strategies as st
from reprise.scheduler.decide import DEMAND_TTL_S, Due, Grid, Wait, at, grid, next_act
from reprise.scheduler.decide import remembered as after
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


def demanded(of: Grid, last: Slot | None, demand_s: float, now_s: float = NOW, ready_since_s: float = NOW - 600) -> Due | Wait:
    return next_act(of, last, now_s, ready_since_s, 3, demand_s)


def test_a_demand_is_served_at_once_and_once() -> None:
    of = grid("u1", "c", 3600)
    last = remembered(of.slot(NOW), 3600)
    act = demanded(of, last, NOW - 1)
    assert act == Due(of.slot(NOW), at(NOW - 1), "demand")
    assert demanded(of, after(last, act, "u1", "c", 3600), NOW - 1) == Wait(of.due_s(of.slot(NOW) + 1))


def test_a_demand_comes_before_the_first_checkpoint_has_settled() -> None:
    of = grid("u1", "c", 10)
    act = demanded(of, None, NOW, ready_since_s=NOW - 1)
    assert isinstance(act, Due)
    assert act.trigger == "demand"


def test_a_demand_that_is_as_old_as_its_pod_or_older_is_of_the_pod_before() -> None:
    of = grid("u1", "c", 3600)
    last = remembered(of.slot(NOW), 3600)
    assert isinstance(demanded(of, last, NOW - 5, ready_since_s=NOW - 4), Wait)
    assert isinstance(demanded(of, last, NOW - DEMAND_TTL_S - 1), Wait)


def test_a_demand_for_later_is_due_then_and_holds_nothing_up() -> None:
    of = grid("u1", "c", 10)
    last = remembered(of.slot(NOW))
    act = demanded(of, last, NOW + 3)
    assert act == Wait(min(NOW + 3, of.due_s(of.slot(NOW) + 1)))
    assert isinstance(demanded(of, last, NOW + 3, now_s=NOW + 3), Due)


def test_two_replicas_name_a_demanded_checkpoint_alike() -> None:
    of = grid("u1", "c", 3600)
    one, other = (demanded(of, None, NOW - 2, now_s=now_s) for now_s in (NOW, NOW + 1.5))
    assert isinstance(one, Due)
    assert isinstance(other, Due)
    assert one.due_at == other.due_at


@given(st.lists(st.tuples(st.floats(0.01, 30), st.booleans()), min_size=1, max_size=60))
@example([(14.3005004, True)])
def test_demands_cost_the_interval_no_slot_and_double_none(steps: list[tuple[float, bool]]) -> None:
    of, now_s, last, demand_s, ids = grid("u1", "c", 10), NOW, remembered(grid("u1", "c", 10).slot(NOW)), None, []
    for step, demand in steps:
        now_s += step
        demand_s = now_s if demand else demand_s
        for _ in range(2):
            if isinstance(act := next_act(of, last, now_s, NOW - 100, 3, demand_s), Due):
                ids.append(act.due_at)
                last = after(last, act, "u1", "c", 10.0)
        assert isinstance(next_act(of, last, now_s, NOW - 100, 3, demand_s), Wait)
        assert last.number >= of.slot(now_s), "the slot that now is in has had one"
    assert len(ids) == len(set(ids))
