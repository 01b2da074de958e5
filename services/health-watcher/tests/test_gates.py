"""The readiness gate reprise.dev/restored: no Service routes to an instance that lost its memory unannounced."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.annotations import RESTORE_FROM, RESTORED_GATE, Policy
from reprise.contracts.model import Kind, Target, Workload
from reprise.health_watcher import gates
from reprise.health_watcher.adapters.disk import Disk
from reprise.health_watcher.cold_starts import ColdStarts
from reprise.health_watcher.decide import gate_of
from reprise.health_watcher.model import Instance
from reprise.health_watcher.ports import Ended, Look
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import AnyPod, ProtectedContainer, ProtectedPod
from reprise.runtime.nodefiles import StartFile

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
FIRST = RunningContainer("c1", "s", "default", "counter-1", "u1", "counter", "counter:1", "", 0, "running", 0)
BLANK = replace(FIRST, id="c2", attempt=1)
RESTORED = replace(BLANK, id="c3")
POD = ProtectedPod(
    WORKLOAD, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "", "", "Running", False,
    (ProtectedContainer("counter", "counter:1"),), gated=True,
)  # fmt: skip

OF_ITS_NODE = AnyPod("default", "counter-1", "u1", WORKLOAD, False, "Always", {}, ("counter",), 0.0, "u1", gated=True)


class TestRule:
    def test_a_first_instance_a_restored_one_and_an_announced_cold_start_may_serve(self) -> None:
        assert gate_of((Instance("a", "c1", first=True),)).reason == "FirstStart"
        assert gate_of((Instance("a", "c1", restored=True),)).reason == "Restored"
        assert gate_of((Instance("a", "c1", cold=True),)).reason == "ColdStart"

    def test_a_blank_one_and_one_that_does_not_run_may_not(self) -> None:
        assert gate_of((Instance("a", "c1"),)).reason == "Blank"
        assert gate_of((Instance("a"),)).reason == "NotRunning"

    def test_an_agent_that_restarts_leaves_the_gate_as_it_was_opened_for_this_very_instance(self) -> None:
        opened = gate_of((Instance("a", "c2", cold=True),))
        assert gate_of((Instance("a", "c2"),), opened.message).open
        assert not gate_of((Instance("a", "c3"),), opened.message).open

    @given(st.lists(st.builds(Instance, st.just("a"), st.just("c"), st.booleans(), st.booleans(), st.booleans()), min_size=1))
    def test_every_protected_container_counts(self, instances: list[Instance]) -> None:
        assert gate_of(tuple(instances)).open == all(i.restored or i.first or i.cold for i in instances)


class Written:
    """The conditions that were written, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.said: list[tuple[bool, str]] = []
        self.changed: list[bool] = []
        self.pods = SimpleNamespace(pods={"u1": POD}, everything={"u1": OF_ITS_NODE}, synced=True)
        self.away = False

        async def set_condition(
            api: Any, namespace: str, pod: str, kind: str, true: bool, reason: str, message: str, *, changed: bool
        ) -> None:
            if self.away:
                raise TimeoutError
            assert (namespace, pod, kind) == ("default", "counter-1", RESTORED_GATE)
            self.said.append((true, reason))
            self.changed.append(changed)

        monkeypatch.setattr(gates, "set_condition", set_condition)
        self.kind: Kind = "criu"
        self.folder = folder
        self.starts_anew()

    def starts_anew(self) -> None:
        """The agent."""
        here: Any = self
        self.cold = ColdStarts(self.folder / "cold.json", Disk())
        self.gates = gates.Gates(here, here.pods, here, self.cold)

    def announce(self) -> None:
        self.cold.announce(("u1", "counter"), "c1", "NoCheckpoint: ")
        self.gates.look_again()

    def of(self, container_id: str) -> StartFile:
        """How the engine started it."""
        return StartFile(
            container_id=container_id, namespace="default", pod="counter-1", pod_uid="u1", container="counter",
            outcome="restored" if container_id == "c3" else "cold" if self.kind == "http" else "blank", kind=self.kind,
        )  # fmt: skip


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Written:
    return Written(monkeypatch, tmp_path)


def play(written: Written, *steps: Any) -> None:
    """Each step, and then a moment; a number is a longer one."""

    async def scene() -> None:
        task = asyncio.create_task(written.gates.run())
        for step in steps:
            if isinstance(step, list):
                await written.gates.on_container(Look(tuple(step)))
            elif isinstance(step, Target):
                await written.gates.on_container(Ended(FIRST, 0.0, None, superseded=False, witnessed=True))
            elif callable(step):
                step()
            await asyncio.sleep(0.01 if not isinstance(step, float) else step)
        task.cancel()

    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(scene())
    finally:
        loop.close()


def test_it_closes_when_the_container_ends_and_opens_for_the_restored_one_not_for_the_blank(written: Written) -> None:
    play(written, [FIRST], TARGET, [FIRST], [BLANK], [RESTORED])
    assert written.said == [(True, "FirstStart"), (False, "NotRunning"), (False, "Blank"), (True, "Restored")]


def test_an_agent_that_starts_closes_nothing_before_it_has_looked(written: Written) -> None:
    play(written, 3.0, [FIRST])
    assert written.said == [(True, "FirstStart")]


def test_a_blank_one_serves_once_it_was_announced_that_it_starts_cold(written: Written) -> None:
    play(written, [FIRST], TARGET, [BLANK], written.announce)
    assert written.said[-2:] == [(False, "Blank"), (True, "ColdStart")]


def test_what_was_announced_to_the_agent_before_opens_it_too(written: Written) -> None:
    """That one was killed, or the API server was away, before it could open the gate."""
    written.announce()
    written.starts_anew()
    play(written, [BLANK])
    assert written.said == [(True, "ColdStart")]


def test_only_the_next_instance_is_the_one_that_was_announced(written: Written) -> None:
    written.announce()
    assert written.cold.next(("u1", "counter"), "c2") == "", "it has started"
    play(written, [BLANK], [replace(BLANK, id="c4")])
    assert written.said == [(True, "ColdStart"), (False, "Blank")]


def test_what_was_given_up_to_hand_back_serves_though_nobody_else_announced_it(written: Written) -> None:
    written.kind = "http"
    play(written, [BLANK])
    assert written.said == [(True, "ColdStart")]


def test_since_when_it_is_closed_stays_as_long_as_it_is(written: Written) -> None:
    """It tells whether anybody was sent to a process that lacks its state."""
    play(written, [FIRST], TARGET, [BLANK], [RESTORED])
    assert list(zip(written.said, written.changed, strict=True))[1:3] == [
        ((False, "NotRunning"), True),
        ((False, "Blank"), False),
    ]
    written.pods.pods["u1"] = replace(POD, gate_closed_at=datetime.now(UTC))
    written.starts_anew()
    play(written, [BLANK])
    assert (written.said[-1], written.changed[-1]) == ((False, "Blank"), False), "nor does an agent that starts anew change it"


def test_a_pod_that_does_not_list_the_gate_is_left_alone(written: Written) -> None:
    written.pods.pods["u1"] = replace(POD, gated=False)
    play(written, [FIRST], TARGET, [BLANK], 5.0)
    assert written.said == []


def test_what_is_not_protected_is_ready_all_the_same(written: Written) -> None:
    """Its annotation was mistyped, or it was unprotected: its template lists the gate still."""
    written.pods.pods = {}
    play(written, [FIRST], 5.0)
    assert written.said == [(True, "NotProtected")]


@pytest.mark.parametrize(
    "pod", [replace(OF_ITS_NODE, annotations={RESTORE_FROM: "u0/ck1"}), replace(OF_ITS_NODE, gated=False),
            replace(OF_ITS_NODE, deleting=True)], ids=["made by a failover", "without a gate", "being deleted"],
)  # fmt: skip
def test_nobody_elses_gate_is_opened(written: Written, pod: AnyPod) -> None:
    written.pods.pods, written.pods.everything = {}, {"u1": pod}
    play(written, [FIRST], 5.0)
    assert written.said == []


def test_while_the_api_server_is_away_it_is_tried_again(written: Written) -> None:
    written.away = True

    def back() -> None:
        written.away = False

    play(written, [FIRST], TARGET, 3.0, back, 1.0)
    assert written.said == [(False, "NotRunning")]
