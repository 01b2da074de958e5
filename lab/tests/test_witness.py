"""How a witness finds whom to ask."""

from typing import Any

import pytest
from reprise_lab import listing
from reprise_lab.shell import LabError
from reprise_lab.witness import SCOUT_EVERY_S, Scout


def pod(namespace: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace}}


def test_twenty_witnesses_cost_the_api_server_one_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(path: str, **query: str) -> dict[str, Any]:
        asked.append(query["labelSelector"])
        return {"items": [pod("a"), pod("b")]}

    monkeypatch.setattr(listing, "get", get)
    scout = Scout()
    assert [scout.pods(name, "app=counter") for name in ("a", "b", "c")] == [[pod("a")], [pod("b")], []]
    assert asked == ["app=counter"]


@pytest.mark.parametrize("trouble", [LabError("away"), ValueError("cut off")])
def test_what_was_seen_last_counts_while_the_api_server_is_away(monkeypatch: pytest.MonkeyPatch, trouble: Exception) -> None:
    now, answers = [100.0], [{"items": [pod("a")]}, trouble, {"items": [pod("a"), pod("a")]}]

    def get(*_: str, **__: str) -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(listing, "get", get)
    monkeypatch.setattr("reprise_lab.witness.time.monotonic", lambda: now[0])
    scout, found = Scout(), []
    for _ in range(3):
        found.append(len(scout.pods("a", "app=counter")))
        now[0] += SCOUT_EVERY_S
    assert found == [1, 1, 2]
