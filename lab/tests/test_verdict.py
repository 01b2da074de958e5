"""The judge itself: a check that cannot fail would prove nothing."""

from reprise_lab.verdict import OVERLAP_S, Good, judge
from reprise_lab.witness import Answer


def answers(address: str, run: str, begin: float, end: float, first: int) -> list[Answer]:
    ticks = range(round((end - begin) * 10))
    return [Answer(begin + n / 10, address, run, first + n) for n in ticks]


BEFORE = answers("a", "r", 0, 10, 0)
OLD, NEW = Good(began=3.0, told=4.0), Good(began=8.0, told=9.0)


def test_a_restore_in_place_from_the_newest_checkpoint_breaks_nothing() -> None:
    verdict = judge([*BEFORE, *answers("a", "r", 11, 15, 80)], since=0, checkpoints=[OLD, NEW])
    assert verdict.broken == ()
    assert (round(verdict.silent_s, 1), verdict.lost) == (1.1, 19)


def test_a_restore_from_an_older_checkpoint_is_found() -> None:
    assert "below" in judge([*BEFORE, *answers("a", "r", 11, 15, 30)], since=0, checkpoints=[OLD, NEW]).broken[0]


def test_a_checkpoint_that_was_not_told_before_the_harm_need_not_count() -> None:
    under_way = Good(began=8.0, told=10.5)
    assert judge([*BEFORE, *answers("a", "r", 11, 15, 30)], since=0, checkpoints=[under_way, OLD]).kept
    assert judge([*BEFORE, *answers("a", "r", 11, 15, 80)], since=0, checkpoints=[under_way, OLD]).kept
    assert "below" in judge([*BEFORE, *answers("a", "r", 11, 15, 20)], since=0, checkpoints=[under_way, OLD]).broken[0]


def test_what_an_earlier_fall_has_lost_is_no_part_of_a_later_checkpoint() -> None:
    again = [*BEFORE, *answers("b", "r", 15, 20, 30)]
    newer = Good(began=18.0, told=19.0)
    assert judge([*again, *answers("b", "r", 22, 25, 60)], since=0, checkpoints=[OLD, newer]).kept
    assert "below" in judge([*again, *answers("b", "r", 22, 25, 40)], since=0, checkpoints=[OLD, newer]).broken[0]


def test_a_move_breaks_nothing_and_two_at_once_are_found() -> None:
    assert judge([*BEFORE, *answers("b", "r", 12, 15, 90)], since=0).kept
    assert "two instances" in judge([*BEFORE, *answers("b", "r", 9.9 - 2 * OVERLAP_S, 15, 90)], since=0).broken[0]


def test_a_frozen_instance_that_wakes_up_beside_its_successor_is_found() -> None:
    history = [*BEFORE, *answers("b", "r", 15, 25, 90), *answers("a", "r", 20, 21, 100)]
    assert "two instances" in judge(history, since=0).broken[0]


def test_a_blank_instance_is_found_unless_it_was_announced() -> None:
    history = [*BEFORE, *answers("a", "new", 12, 15, 0)]
    assert "blank" in judge(history, since=0).broken[0]
    assert judge(history, since=0, cold=True).kept


def test_what_was_paused_may_answer_beside_its_successor_for_the_window_and_no_longer() -> None:
    """And that is measured."""
    moved = [*BEFORE, *answers("b", "r", 15, 30, 80)]
    judged = judge([*moved, *answers("a", "r", 20.1, 20.6, 100)], since=0, checkpoints=[NEW], resumed=(20.0, 21.5))
    assert judged.kept
    assert round(judged.beside_s, 1) == 0.5
    longer = judge([*moved, *answers("a", "r", 20.1, 22.6, 100)], since=0, checkpoints=[NEW], resumed=(20.0, 21.5))
    assert "two instances" in longer.broken[0]
