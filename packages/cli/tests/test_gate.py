"""`reprise protect` of what hands out its state offers the readiness gate: else its Service sends clients to it without."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

Run = Callable[..., Result]
STATE = ("--state-path", "/state", "--state-port", "8080")
GATE = {"conditionType": "reprise.dev/restored"}
OTHER = {"conditionType": "example.com/in-pool"}


def test_fix_shows_the_diff_asks_and_sets_it(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    told = reprise("protect", "shop/cart", *STATE, "--fix", answer="y\n")
    assert told.exit_code == 0, told.output
    assert "+    readinessGates:" in told.stderr
    assert "+    - conditionType: reprise.dev/restored" in told.stderr
    assert "sends clients to a process that does not have its state yet" in told.stderr
    assert "nothing to fix" not in told.stderr
    assert session.cluster.set == [("deployment/cart in shop", {"readinessGates": [GATE]})]
    assert session.cluster.written, "and it is protected"


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_is_asked_without_fix(reprise: Run, session: Any, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    asked = list[str]()

    def confirm(text: str, **_: Any) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr("reprise.cli.commands.protect.answers", lambda: True)
    monkeypatch.setattr("reprise.cli.commands.protect.typer.confirm", confirm)
    session.cluster.add("cart")
    assert reprise("protect", "shop/cart", *STATE).exit_code == 0
    assert (asked, len(session.cluster.set), len(session.cluster.written)) == (["Set this?"], int(answer), 1)


def test_a_script_is_shown_it_and_not_asked(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    told = reprise("protect", "shop/cart", *STATE)
    assert told.exit_code == 0, told.output
    assert "+    readinessGates:" in told.stderr
    assert "Set this?" not in told.stderr
    assert "not set; `reprise protect shop/deployment/cart --fix` does" in told.stderr
    assert (session.cluster.set, len(session.cluster.written)) == ([], 1)


def test_gates_of_others_stay(reprise: Run, session: Any) -> None:
    """The API server replaces this list."""
    session.cluster.add("cart", readinessGates=[OTHER])
    reprise("protect", "shop/cart", *STATE, "--yes")
    assert session.cluster.set == [("deployment/cart in shop", {"readinessGates": [OTHER, GATE]})]


@pytest.mark.parametrize(("words", "gates"), [(STATE, [OTHER, GATE]), ((), [])], ids=["has it", "memory"])
def test_what_has_it_or_needs_none_is_offered_none(
    reprise: Run, session: Any, words: tuple[str, ...], gates: list[dict[str, str]]
) -> None:
    session.cluster.add("cart", readinessGates=gates)
    assert "readinessGates" not in reprise("protect", "shop/cart", *words).stderr


def test_a_bare_pod_is_protected_and_told_what_its_manifest_lacks(reprise: Run, session: Any) -> None:
    session.cluster.add("cart", kind="Pod")
    told = reprise("protect", "shop/cart", *STATE, "--yes")
    assert told.exit_code == 0, told.output
    assert "set readiness gate reprise.dev/restored in its manifest" in told.stderr
    assert (session.cluster.set, len(session.cluster.written)) == ([], 1)


def test_a_dry_run_sets_nothing(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    told = reprise("protect", "shop/cart", *STATE, "--fix", "--yes", "--dry-run")
    assert "+    readinessGates:" in told.stderr
    assert (session.cluster.set, session.cluster.written) == ([], [])
