"""The CLI's commands that read what happened, against a real console and a real NATS."""

import itertools
import json
from collections import Counter

import pytest
from conftest import Console
from reprise.cli.adapters.console import HttpConsole
from reprise.cli.main import app
from reprise.contracts import envelope
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.component


@pytest.fixture(autouse=True)
def environment(told: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_CONSOLE_URL", told.url)
    monkeypatch.setenv("REPRISE_NATS_URL", told.nats_url)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_replay_gives_every_event_of_the_stream_as_it_was_published(told: Console) -> None:
    found = run("events", "replay", "--since", "7d", "-o", "json")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert len(lines) == told.count()
    assert all(envelope.decode(line.encode()) for line in lines)


def test_replay_filters_by_the_subject(told: Console) -> None:
    lines = run("events", "replay", "--since", "7d", "--type", "failover.completed", "-o", "json").stdout.splitlines()
    assert lines
    assert {json.loads(line)["type"].rpartition(".v1.")[2] for line in lines} == {"failover.completed"}
    assert run("events", "replay", "--since", "7d", "--workload", "nobody", "-o", "json").stdout == ""


def test_history_and_trace_of_what_failed_over(told: Console) -> None:
    row = told.get("/api/v1/failovers", state="completed", limit=1).json()[0]
    address = f"{row['namespace']}/{row['kind'].lower()}/{row['workload']}"
    assert row["failover_id"] in run("history", address, "--limit", "1000").stdout
    for wanted in (row["failover_id"], address):
        shown = run("trace", wanted)
        assert shown.exit_code == 0, shown.output
        assert "Steps" in shown.stdout
    assert json.loads(run("trace", row["failover_id"], "-o", "json").stdout)["steps"]


def test_history_has_every_checkpoint_once(told: Console) -> None:
    rows = told.get("/api/v1/checkpoints", limit=1000).json()
    (namespace, name), count = Counter((row["namespace"], row["workload"]) for row in rows).most_common(1)[0]
    found = json.loads(run("history", f"{namespace}/{name}", "--limit", "5000", "-o", "json").stdout)
    names = [each["checkpoint_id"] for each in found["checkpoints"]]
    assert len(names) == len(set(names)) >= count > 1


def test_tail_goes_on_after_the_place_that_it_is_given(told: Console) -> None:
    with HttpConsole(told.url) as console:
        first, second, *_ = itertools.islice(console.tail({"type": "failover.declared"}, after="0"), 3)
        again = next(console.tail({"type": "failover.declared"}, after=first.place))
    assert envelope.decode(json.dumps(first.event).encode())[1].TYPE == "failover.declared"
    assert again == second
