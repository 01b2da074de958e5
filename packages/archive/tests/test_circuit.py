"""The circuit breaker, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.circuit import Circuit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(failures=3, open_s=1.0, open_max_s=4.0, clock=clock)


def fail(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        assert circuit.admits()
        circuit.failed()


def test_it_opens_after_so_many_failures_in_a_row_and_not_before(circuit: Circuit) -> None:
    fail(circuit, 2)
    assert circuit.admits()
    circuit.succeeded()
    fail(circuit, 3)
    assert circuit.state == "open"
    assert not circuit.admits()


def test_after_a_while_one_trial_is_let_through_and_its_success_closes(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, 3)
    assert circuit.retry_in_s == 1.0
    clock.now = 1.0
    assert [circuit.admits() for _ in range(3)] == [True, False, False]
    assert circuit.state == "half-open"
    circuit.succeeded()
    assert [circuit.admits() for _ in range(3)] == [True, True, True]


def test_each_trial_that_fails_keeps_it_open_twice_as_long_up_to_a_limit(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, 3)
    waits = []
    for _ in range(4):
        waits.append(circuit.retry_in_s)
        clock.now += circuit.retry_in_s
        fail(circuit, 1)
    assert waits == [1.0, 2.0, 4.0, 4.0]
    circuit.succeeded()
    fail(circuit, 3)
    assert circuit.retry_in_s == 1.0


def test_requests_under_way_when_it_opened_neither_prolong_nor_reopen_it(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, 3)
    clock.now = 0.5
    circuit.failed()
    assert circuit.retry_in_s == 0.5


def test_a_trial_that_never_reports_does_not_wedge_it(circuit: Circuit, clock: Clock) -> None:
    fail(circuit, 3)
    clock.now = 1.0
    assert circuit.admits()  # and its thread dies
    clock.now = 2.0
    assert circuit.admits()


@given(st.lists(st.sampled_from(["ok", "fail", "wait"])))
def test_whatever_happens_someone_is_let_through_within_the_longest_wait(steps: list[str]) -> None:
    clock = Clock()
    circuit = Circuit(failures=3, open_s=1.0, open_max_s=4.0, clock=clock)
    for step in steps:
        if step == "wait":
            clock.now += 0.7
        elif circuit.admits():
            circuit.succeeded() if step == "ok" else circuit.failed()
    clock.now += 4.0
    assert circuit.admits()
