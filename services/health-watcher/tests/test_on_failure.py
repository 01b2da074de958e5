"""The next step of on-failure: each is tried once, in its order, and whatever ends again and again ends up cold, or refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.annotations import ON_FAILURE, OnFailure
from reprise.health_watcher.rules.on_failure import BroughtBack, Failure, brought_back, next_step, starts_cold

STEPS: tuple[OnFailure, ...] = ("in-place", "move", "cold")
ORDERS = [
    order for size in (1, 2, 3) for order in itertools.permutations(STEPS, size) if "cold" not in order[:-1]
]  # fmt: skip


def test_the_first_failure_takes_the_first_step() -> None:
    assert [next_step(order, Failure("", False, False)) for order in ORDERS] == [order[0] for order in ORDERS]


def test_what_ends_again_soon_after_its_restore_in_place_is_moved_and_then_starts_cold() -> None:
    assert next_step(ON_FAILURE, Failure("in-place", True, False)) == "move"
    failed = Failure("move", True, True)
    assert (next_step(ON_FAILURE, failed), starts_cold("cold", failed, ON_FAILURE)) == ("cold", True)


def test_what_lived_long_or_was_killed_from_outside_begins_anew() -> None:
    assert next_step(ON_FAILURE, Failure("in-place", False, False)) == "in-place"
    assert next_step(ON_FAILURE, Failure("move", False, True)) == "in-place"


def test_a_pod_is_moved_once() -> None:
    assert next_step(ON_FAILURE, Failure("in-place", True, True)) == "cold"
    assert next_step(("move", "in-place", "cold"), Failure("", False, True)) == "in-place"
    assert next_step(("move",), Failure("move", True, True)) == "refuse"


def test_without_a_move_its_checkpoints_are_rejected_one_by_one_before_it_starts_cold() -> None:
    failed = Failure("in-place", True, False)
    assert next_step(("in-place", "cold"), failed) == "cold"
    assert not starts_cold("cold", failed, ("in-place", "cold"))


def test_a_list_of_cold_alone_never_restores() -> None:
    for by, again_soon in (("", False), ("in-place", True)):
        failed = Failure(by, again_soon, False)
        assert starts_cold(next_step(("cold",), failed), failed, ("cold",))


@pytest.mark.parametrize(
    ("outcome", "frozen", "moved", "by"),
    [
        ("blank", False, False, ""), ("cold", False, True, ""), ("restored", False, False, "in-place"),
        ("restored", True, True, "move"), ("restored", True, False, ""), ("restored", False, True, "in-place"),
    ],
)  # fmt: skip
def test_what_brought_it_back(outcome: str, frozen: bool, moved: bool, by: BroughtBack) -> None:
    assert brought_back(outcome, frozen=frozen, moved=moved) == by


@given(st.sampled_from(ORDERS))
def test_what_never_lives_long_gets_each_step_at_most_once(order: tuple[OnFailure, ...]) -> None:
    failure, taken = Failure("", False, False), []
    while (step := next_step(order, failure)) in ("in-place", "move"):
        taken.append(step)
        failure = Failure(step, True, failure.moved or step == "move")
    assert len(set(taken)) == len(taken) <= 2
    assert step == "cold" if "cold" in order else step == "refuse"
