"""`reprise status`, over a console that is told what to answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from reprise.cli.ports import ConsoleError
from typer.testing import Result

Run = Callable[..., Result]
ROW: dict[str, Any] = {
    "namespace": "shop", "kind": "Deployment", "workload": "[bold]counter", "container": "app", "node": "n1", "interval_s": 10.0,
    "health": "failing", "health_reason": "CriuFailed: io_uring; turn it off", "checkpoint": {"id": "c2", "size_bytes": 1},
    "recovery_point_age_s": 4.2, "standby": None, "refused": None, "last_failover": None,
    "expected_recovery_s": {"crash": 0.9, "node_loss": 6.7, "how": "h"},
}  # fmt: skip


def test_the_contexts_namespace_is_meant_when_none_is_named(reprise: Run, session: Any) -> None:
    for words in ((), ("-n", "shop"), ("-A",)):
        reprise("status", *words)
    assert session.asked == ["from-context", "shop", None]


def test_a_name_is_never_markup_and_a_reason_stands_below(reprise: Run, session: Any) -> None:
    session.rows = [ROW]
    told = reprise("status", "-A").stdout
    assert told.splitlines()[0].startswith("NAMESPACE")
    assert "deployment/[bold]counter" in told
    assert "io_uring; turn it off" in told


def test_json_is_the_consoles_answer(reprise: Run, session: Any) -> None:
    session.rows = [ROW]
    assert json.loads(reprise("status", "-A", "-o", "json").stdout) == [ROW]


def test_nothing_protected_says_how_to_protect(reprise: Run) -> None:
    told = reprise("status")
    assert (told.exit_code, told.stdout) == (0, "")
    assert "reprise protect" in told.stderr


@pytest.mark.parametrize("words", [("-n", "a", "-A"), ("--watch", "-o", "json"), ("-o", "xml"), ("--nothing",)])
def test_what_makes_no_sense_is_a_usage_error(reprise: Run, words: tuple[str, ...]) -> None:
    assert reprise("status", *words).exit_code == 2


def test_no_such_namespace(reprise: Run) -> None:
    told = reprise("status", "-n", "nosuch")
    assert told.exit_code == 1
    assert told.stderr == "reprise: namespace nosuch: there is no such namespace (list them)\n"


AWAY = ConsoleError("it does not answer", subject="console", retryable=True)


def test_watching_goes_on_while_the_console_is_away(reprise: Run, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Callable[[], object]] = [lambda: session.failures.append(AWAY), lambda: None]

    def sleep(_: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    session.rows = [ROW]
    monkeypatch.setattr("reprise.cli.commands.status.time.sleep", sleep)
    told = reprise("status", "--watch")
    assert len(session.asked) == 2
    assert "Traceback" not in told.output


def test_watching_what_does_not_answer_from_the_start_ends_with_its_error(reprise: Run, session: Any) -> None:
    session.failures = [AWAY]
    told = reprise("status", "--watch")
    assert (told.exit_code, told.stderr) == (1, "reprise: console: it does not answer\n")
