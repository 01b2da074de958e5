"""`reprise.dev/on-failure`: what is tried in turn, and what of it cannot be meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.annotations import ON_FAILURE, Policy, parse

NAME = "reprise.dev/on-failure"
VALID = ("in-place,move,cold", "move,in-place,cold", "in-place,cold", "in-place,move", "move,cold", "cold", "in-place", "move")


def test_nobody_who_says_nothing_goes_without_it() -> None:
    ours = parse({"reprise.dev/mode": "criu"}).policy
    the_prototypes = parse({"hitachienergy.com/cr_mode": "cr", "hitachienergy.com/cr_interval": "10"}).policy
    assert ours.on_failure == the_prototypes.on_failure == ("in-place", "move", "cold")


@pytest.mark.parametrize("text", VALID)
def test_the_steps_are_tried_in_their_order(text: str) -> None:
    found = parse({NAME: f" {text.replace(',', ' , ')} "})
    assert (found.policy.on_failure, found.problems) == (tuple(text.split(",")), ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fly", "'fly' is none of in-place, move and cold"),
        ("in-place,fly,cold", "'fly' is none of"),
        ("in_place", "'in_place' is none of"),
        ("IN-PLACE", "'IN-PLACE' is none of"),
        ("", "a step is missing"),
        ("in-place,", "a step is missing"),
        (",", "a step is missing"),
        ("in-place,in-place,cold", "named twice"),
        ("cold,in-place", "cold comes last"),
    ],
)
def test_a_bad_list_is_told_and_the_last_valid_one_stays_in_force(text: str, told: str) -> None:
    found = parse({NAME: text}, Policy(on_failure=("in-place",)))
    (problem,) = found.problems
    assert (problem.annotation, problem.value, found.policy.on_failure) == (NAME, text, ("in-place",))
    assert told in problem.message


def test_without_a_valid_one_before_it_a_bad_list_means_the_default() -> None:
    assert parse({NAME: "fly"}).policy.on_failure == ON_FAILURE


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    found = parse({NAME: text})
    assert found.policy.on_failure
    assert found.problems or ",".join(found.policy.on_failure) in VALID
