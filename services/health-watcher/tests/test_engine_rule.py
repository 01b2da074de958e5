"""The engine's rules of `create` as the model of the agent knows them, by the engine's own table."""

import json
from pathlib import Path
from typing import Any

import pytest
from engine_rule import engine_rule
from reprise.runtime.nodefiles import ContainerVerdict, NodeFile, PodFile

TABLE = Path(__file__).parents[3] / "engine/internal/decide/testdata/create.json"
HEARTBEATS = {"alive": 99.0, "dead": 90.0}


def node(agent: str, *, lease_held: bool) -> NodeFile | None:
    if agent == "never ran":
        return None
    renewed = 99.0 if lease_held else 50.0
    return NodeFile(node="n1", boot_id="b", ttl_s=3.0, renewed_at_s=renewed, heartbeat_at_s=HEARTBEATS[agent])


def pod(file: Any) -> PodFile | None:
    if file == "none":
        return None
    found = (
        {"sidecar": ContainerVerdict(verdict="restore")}
        if file == "another container's"
        else {"app": ContainerVerdict(verdict=file)}
    )
    return PodFile(namespace="d", pod="p", uid="u1", containers=found)


@pytest.mark.parametrize("case", json.loads(TABLE.read_text()), ids=lambda case: ", ".join(map(str, case.values())))
def test_each_rule(case: dict[str, Any]) -> None:
    of = node(case["agent"], lease_held=case["lease_held"])
    known: Any = {"has_slot": case["live_slot"], "waited_s": case["waited_s"], "up_s": case["boot_age_s"]}
    assert engine_rule(of, pod(case["file"]), "app", boot_id="b", now_s=100.0, **known) == case["act"]


def test_what_is_of_an_earlier_boot_says_nothing() -> None:
    earlier = node("alive", lease_held=True)
    assert (
        engine_rule(earlier, pod("restore"), "app", boot_id="later", has_slot=True, now_s=100.0, waited_s=0, up_s=30) == "again"
    )


def test_a_lease_that_was_never_renewed_is_not_held() -> None:
    new = NodeFile(node="n1", boot_id="b", ttl_s=3.0, renewed_at_s=None, heartbeat_at_s=99.0)
    assert engine_rule(new, pod("restore"), "app", boot_id="b", has_slot=True, now_s=100.0, waited_s=0, up_s=900) == "refuse"
