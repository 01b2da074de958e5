"""The engine's rules of `create` as the model of the agent knows them (docs/node-files.md)."""

from typing import Any

import pytest
from engine_rule import Act, engine_rule
from reprise.runtime.nodefiles import ContainerVerdict, NodeFile, PodFile


def node(*, renewed: float | None = 99.0, heartbeat: float = 99.0, boot_id: str = "b") -> NodeFile:
    return NodeFile(node="n1", boot_id=boot_id, ttl_s=3.0, renewed_at_s=renewed, heartbeat_at_s=heartbeat)


def pod(verdict: Any) -> PodFile:
    return PodFile(namespace="d", pod="p", uid="u1", containers={"app": ContainerVerdict(verdict=verdict)})


ALIVE, CUT_OFF, DEAD = node(), node(renewed=96.0), node(renewed=50.0, heartbeat=90.0)


@pytest.mark.parametrize(
    ("of", "file", "container", "waited_s", "up_s", "act"),
    [
        (ALIVE, pod("restore"), "app", 0, 900, "restore"),
        (ALIVE, pod("blank"), "app", 0, 900, "blank"),
        (ALIVE, pod("refuse"), "app", 0, 900, "fail"),
        (ALIVE, pod("wait"), "app", 0, 900, "again"),
        (ALIVE, pod("wait"), "app", 20, 900, "fail"),
        (ALIVE, pod("restore"), "sidecar", 0, 900, "runc"),
        (ALIVE, None, "app", 0.5, 900, "again"),
        (ALIVE, None, "app", 1, 900, "restore"),
        (CUT_OFF, pod("restore"), "app", 0, 900, "fail"),
        (CUT_OFF, pod("restore"), "sidecar", 0, 900, "runc"),
        (node(renewed=None), pod("restore"), "app", 0, 900, "fail"),
        (DEAD, pod("restore"), "app", 0, 900, "restore"),
        (DEAD, pod("blank"), "app", 0, 900, "blank"),
        (DEAD, pod("refuse"), "app", 0, 900, "fail"),
        (DEAD, pod("wait"), "app", 19, 900, "again"),
        (DEAD, pod("wait"), "app", 20, 900, "restore"),
        (None, None, "app", 0, 10, "again"),
        (node(boot_id="earlier"), None, "app", 20, 30, "fail"),
        (None, None, "app", 0, 120, "blank"),
    ],
)
def test_each_rule(of: NodeFile | None, file: PodFile | None, container: str, waited_s: float, up_s: float, act: Act) -> None:
    found = engine_rule(of, file, container, boot_id="b", has_slot=True, now_s=100.0, waited_s=waited_s, up_s=up_s)
    assert found == act


def test_what_has_neither_a_file_nor_a_slot_is_not_protected() -> None:
    assert engine_rule(DEAD, None, "app", boot_id="b", has_slot=False, now_s=100.0, waited_s=0, up_s=900) == "runc"
