"""`reprise events`: live, from the stream, and what an event looks like."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from reprise.cli.adapters.console import HttpConsole
from reprise.cli.event_view import Wanted, event_row
from reprise.cli.ports import ConsoleError, Sent
from reprise.cli.when import moment
from reprise.contracts import envelope, subjects
from reprise.contracts.events import BY_TYPE, FailoverCompleted
from reprise.contracts.model import Target, Workload
from typer.testing import Result

Run = Callable[..., Result]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TARGET = Target(node="n1", pod="cart-1", pod_uid="u", container="app", container_id="c")
EVENT = FailoverCompleted(
    at=NOW, node="n1", workload=Workload(namespace="shop", name="cart"), target=TARGET, failover_id="fo-1", cause="crash",
    path="in-place", checkpoint_id="ck1", total_s=0.87,
)  # fmt: skip
CLOUD_EVENT: dict[str, Any] = json.loads(envelope.encode(EVENT, source="test", event_id="e1")[1])
AWAY = ConsoleError("it does not answer", subject="console", retryable=True)


def test_tail_shows_each_event_on_a_line(reprise: Run, session: Any) -> None:
    session.events = [Sent("7", CLOUD_EVENT)]
    told = reprise("events", "tail", "--type", "failover.completed", "-n", "shop", "--workload", "cart", "--node", "n1")
    assert session.filters == {"type": "failover.completed", "namespace": "shop", "workload": "cart", "node": "n1"}
    head, line = told.stdout.splitlines()
    assert head.split() == ["TIME", "EVENT", "WORKLOAD", "NODE", "WHAT"]
    assert "failover.completed" in line
    assert "fo-1  crash in-place in 0.87 s" in line


def test_tail_as_data_is_one_cloud_event_after_another(reprise: Run, session: Any) -> None:
    session.events = [Sent("7", CLOUD_EVENT), Sent("8", CLOUD_EVENT)]
    assert [json.loads(line) for line in reprise("events", "tail", "-o", "json").stdout.splitlines()] == [CLOUD_EVENT] * 2
    assert list(yaml.safe_load_all(reprise("events", "tail", "-o", "yaml").stdout)) == [CLOUD_EVENT] * 2


def test_tail_goes_on_after_the_last_event_when_the_console_was_away(
    reprise: Run, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reprise.cli.commands.events.time.sleep", lambda _: None)
    session.events, session.failures = [Sent("7", CLOUD_EVENT)], [None, AWAY, None, None]
    told = reprise("events", "tail")
    assert session.after == ["", "7"]
    assert "trying again" in told.stderr


def test_tail_of_a_console_that_never_answered_ends_with_its_error(reprise: Run, session: Any) -> None:
    session.failures = [AWAY]
    assert reprise("events", "tail").exit_code == 1


def test_replay_reads_the_stream_since_then_and_leaves_out_who_only_shares_the_subject(reprise: Run, session: Any) -> None:
    other = json.loads(json.dumps(CLOUD_EVENT))
    other["data"]["workload"]["name"] = "ca.rt"
    session.events = [Sent("1", CLOUD_EVENT), Sent("2", other)]
    told = reprise("events", "replay", "--since", "2h", "--workload", "cart", "-o", "json")
    assert len(told.stdout.splitlines()) == 1
    assert "1 events since" in told.stderr
    assert session.subject == "reprise.v1.*.*.*.*.cart"
    assert timedelta(hours=2) <= datetime.now(UTC) - session.since < timedelta(hours=2, minutes=1)


def test_a_subject_fits_what_is_published() -> None:
    wanted = Wanted("failover.completed", "shop", "cart", "n1")
    assert wanted.subject == subjects.of(EVENT)
    assert wanted.takes(CLOUD_EVENT)
    assert not Wanted(node="n2").takes(CLOUD_EVENT)


@pytest.mark.parametrize("name", sorted(BY_TYPE))
def test_every_event_has_a_schema(reprise: Run, name: str) -> None:
    told = json.loads(reprise("events", "schema", name).stdout)
    assert "workload" in told["properties"]
    assert told["description"]


def test_a_wrong_type_suggests_the_right_one(reprise: Run) -> None:
    for words in (("schema", "failover.complete"), ("tail", "--type", "failover.complete")):
        told = reprise("events", *words)
        assert told.exit_code == 2
        assert "failover.completed" in " ".join(told.stderr.split())


def test_all_types_are_listed_with_what_they_say(reprise: Run) -> None:
    assert set(json.loads(reprise("events", "schema", "-o", "json").stdout)) == set(BY_TYPE)


@example({"size": "", "total_s": "soon", "workload": "counter"})
@given(st.recursive(st.none() | st.text(max_size=5) | st.integers(), lambda inner: st.dictionaries(st.text(max_size=9), inner)))
def test_whatever_an_event_lacks_it_can_be_shown(data: Any) -> None:
    event_row({"data": data} if isinstance(data, dict) else {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("2026-11-24T11:00:00Z", NOW - timedelta(hours=1)),
        ("2026-11-24T11:00:00", NOW - timedelta(hours=1)),
        ("2026-11-24T12:00:00+01:00", NOW - timedelta(hours=1)),
    ],
)
def test_a_moment_is_an_age_or_rfc_3339(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "5", "h", "999999999999999d"])
def test_anything_else_is_no_moment(reprise: Run, text: str) -> None:
    with pytest.raises(ValueError, match=r"no moment|too long ago"):
        moment(text, NOW)


def console(handler: Callable[[httpx.Request], httpx.Response]) -> HttpConsole:
    return HttpConsole("http://console", "console", token="secret", transport=httpx.MockTransport(handler))


def test_server_sent_events_are_read_as_the_standard_says() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, text='retry: 2000\n\n: nothing new\n\nid: 7\ndata: {"a":\ndata: 1}\n\n')

    tail = console(answer).tail({"type": "x", "node": ""}, after="6")
    assert next(tail) == Sent("7", {"a": 1})
    with pytest.raises(ConsoleError, match="ended the stream") as caught:
        next(tail)
    assert caught.value.retryable
    assert (asked[0].headers["last-event-id"], asked[0].headers["authorization"]) == ("6", "Bearer secret")
    assert asked[0].url.query == b"type=x"


def test_pages_are_followed_until_there_are_enough() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "cursor" in str(request.url):
            return httpx.Response(200, json=[{"n": 3}, {"n": 4}])
        link = {"Link": '</api/v1/failovers?limit=2&cursor=abc>; rel="next"'}
        return httpx.Response(200, json=[{"n": 1}, {"n": 2}], headers=link)

    assert [row["n"] for row in console(answer).rows("failovers", {"namespace": ""}, 3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("status", "said"), [(401, "REPRISE_CONSOLE_TOKEN"), (403, "REPRISE_CONSOLE_TOKEN"), (404, "this version")]
)
def test_a_refusal_says_what_to_do(status: int, said: str) -> None:
    with pytest.raises(ConsoleError) as caught:
        console(lambda _: httpx.Response(status)).rows("failovers", {}, 3)
    assert said in caught.value.remedy
