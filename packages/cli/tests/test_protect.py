"""`reprise protect`, `unprotect` and `checkpoint`: what they write, what they say, and what they refuse."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from reprise.cli.ports import PodFacts
from reprise.cli.protection import annotations
from reprise.contracts.annotations import parse
from reprise.contracts.model import checkpoint_id
from typer.testing import Result

Run = Callable[..., Result]
POD = PodFacts("cart-1", "u1", "n1", "Running", {"app": True}, {"app": "sha256:1"}, {"app": "app:1"})


def test_protect_writes_what_reprise_reads_and_says_what_will_happen(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    told = reprise("protect", "shop/cart", "--interval", "10s", "--keep", "5")
    assert told.exit_code == 0, told.output
    [(whose, written)] = session.cluster.written
    policy = parse(written).policy
    assert (whose, policy.mode, policy.interval_s, policy.keep) == ("deployment/cart in shop", "criu", 10, 5)
    assert "container app of its pod is checkpointed every 10 s" in told.stderr
    assert "its pod is left as it is: same image, no restart" in told.stderr


def test_protect_again_leaves_what_is_not_named(reprise: Run, session: Any) -> None:
    session.cluster.add("cart", annotations={"reprise.dev/mode": "criu", "reprise.dev/interval": "5s"})
    told = json.loads(reprise("protect", "shop/cart", "--keep", "9", "-o", "json").stdout)
    assert told["annotations"] == {"reprise.dev/mode": "criu", "reprise.dev/keep": "9"}
    assert "every 5 s" in told["consequences"][0]


def test_a_dry_run_writes_nothing(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    assert "would write" in reprise("protect", "shop/cart", "--dry-run").stderr
    assert session.cluster.written == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--interval", "0s"), "reprise: --interval: '0s': an interval is at least 1 s"),
        (("--keep", "none"), "--keep: 'none'"),
        (("--prestage", "always"), "use auto, image, chunks or none"),
        (("--containers", "web"), "the pod has no container web: it has app"),
    ],
)
def test_what_reprise_would_not_accept_is_not_written(reprise: Run, session: Any, words: tuple[str, ...], said: str) -> None:
    session.cluster.add("cart")
    told = reprise("protect", "shop/cart", *words)
    assert told.exit_code == 1
    assert said in told.stderr
    assert "nothing was changed" in told.stderr
    assert session.cluster.written == []


API = {"reprise.dev/mode": "http", "reprise.dev/state-path": "/state", "reprise.dev/state-port": "8080"}


def test_a_program_that_hands_out_its_state_is_asked_for_it(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    told = reprise("protect", "shop/cart", "--state-path", "/state", "--state-port", "8080")
    assert told.exit_code == 0, told.output
    [(_, written)] = session.cluster.written
    assert written == API
    assert "is asked for its state every 60 s (GET: http, port 8080, /state)" in told.stderr
    assert "stands still" not in told.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mode", "http", "--state-path", "/state"), "--state-port: '': missing"),
        (("--state-port", "8080"), "--state-path: '': missing"),
        (("--state-path", "no path", "--state-port", "8080"), "--state-path: 'no path': not a path"),
        (("--state-path", "/state", "--state-port", "99999"), "--state-port: '99999': not a port"),
        (("--mode", "fly"), "--mode: 'fly'"),
    ],
)
def test_a_state_api_that_is_not_whole_is_not_written(reprise: Run, session: Any, words: tuple[str, ...], said: str) -> None:
    session.cluster.add("cart")
    told = reprise("protect", "shop/cart", *words)
    assert told.exit_code == 1
    assert said in told.stderr
    assert session.cluster.written == []


PROTOTYPES = {"hitachienergy.com/ps_mode": "http-sf", "hitachienergy.com/ps_path": "/s", "hitachienergy.com/ps_port": "80"}


@pytest.mark.parametrize("before", [API, PROTOTYPES], ids=["ours", "the prototype's"])
def test_protect_again_leaves_its_mode(reprise: Run, session: Any, before: dict[str, str]) -> None:
    session.cluster.add("cart", annotations=before)
    assert reprise("protect", "shop/cart", "--keep", "9").exit_code == 0
    [(_, written)] = session.cluster.written
    assert parse(before | written).policy.state == parse(before).policy.state
    assert written == {"reprise.dev/keep": "9"}
    assert reprise("protect", "shop/cart", "--mode", "criu").exit_code == 0
    assert parse(before | session.cluster.written[-1][1]).policy.mode == "criu"


def test_a_missing_probe_and_what_becomes_of_a_name_that_only_one_may_have_are_said(reprise: Run, session: Any) -> None:
    session.cluster.add("db", kind="StatefulSet", containers=[{"name": "db"}])
    told = reprise("protect", "shop/sts/db").stderr
    assert "no livenessProbe" in told
    assert "the next pod of its name goes on on another one" in told


def test_a_workload_that_is_not_there_suggests_near_names(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    told = reprise("protect", "shop/crat")
    assert told.exit_code == 1
    assert "shop/crat: there is no such workload (did you mean cart?)" in told.stderr


def test_two_of_a_name_have_to_be_told_apart(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    session.cluster.add("cart", kind="StatefulSet")
    assert "shop/deployment/cart or shop/statefulset/cart" in reprise("protect", "shop/cart").stderr


def test_unprotect_switches_off_whatever_family_switched_on(reprise: Run, session: Any) -> None:
    found = session.cluster.add("cart", annotations={"hitachienergy.com/cr_mode": "cr"})
    assert reprise("unprotect", "shop/cart").exit_code == 0
    [(_, written)] = session.cluster.written
    assert written == {"reprise.dev/mode": "off"}, "it is all that there is to undo"
    assert not parse(found.annotations | written).policy.protects


def test_unprotect_of_what_is_not_protected_does_nothing(reprise: Run, session: Any) -> None:
    session.cluster.add("cart")
    assert "nothing to do" in reprise("unprotect", "shop/cart").stderr
    assert session.cluster.written == []


def test_annotations_are_checked_by_the_rule_that_reads_them() -> None:
    assert parse(annotations({"interval": "1m30s", "keep": ""})).policy.interval_s == 90


@pytest.fixture
def protected(session: Any) -> None:
    session.cluster.add("cart", annotations={"reprise.dev/mode": "criu"})
    session.cluster.found = [POD]


@pytest.fixture
def asked(session: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the checkpoint that is asked for."""
    monkeypatch.setattr("reprise.cli.commands.checkpoint.time.time", lambda: 7.25)
    monkeypatch.setattr("reprise.cli.commands.checkpoint.time.sleep", lambda _: None)
    return checkpoint_id("u1", "app", datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC))


@pytest.mark.usefixtures("protected")
def test_a_checkpoint_is_asked_for_and_waited_for(reprise: Run, session: Any, asked: str) -> None:
    row = {"checkpoint_id": asked, "state": "stored", "size_bytes": 1024, "pause_s": 0.052, "frozen_time_us": 31_000}
    session.tables["checkpoints"] = [row]
    told = reprise("checkpoint", "take", "shop/cart")
    assert told.exit_code == 0, told.output
    assert f"stored {asked} of pod cart-1: 1.02 kB, it stood still for 52 ms (CRIU 31 ms)" in told.stderr
    [(_, written)] = session.cluster.written
    assert parse(written).policy.checkpoint_at == datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.usefixtures("protected")
def test_a_checkpoint_that_fails_says_why_and_what_to_do(reprise: Run, session: Any, asked: str) -> None:
    row = {"checkpoint_id": asked, "state": "failed", "reason": "MptcpSocket", "message": "it has one", "remedy": "set GODEBUG"}
    session.tables["checkpoints"] = [row]
    told = reprise("checkpoint", "take", "shop/cart")
    assert told.exit_code == 1
    assert "MptcpSocket: it has one (set GODEBUG)" in told.stderr


@pytest.mark.usefixtures("protected", "asked")
def test_a_checkpoint_that_does_not_come_leads_to_doctor(reprise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("reprise.cli.commands.checkpoint.time.monotonic", lambda: next(ticks))
    told = reprise("checkpoint", "take", "shop/cart", "--timeout", "5")
    assert told.exit_code == 1
    assert "not begun after 5.0 s (see `reprise doctor shop/deployment/cart`)" in told.stderr


def test_what_cannot_be_checkpointed_is_told_before_anything_is_written(reprise: Run, session: Any) -> None:
    session.cluster.add("plain")
    session.cluster.add("cart", annotations={"reprise.dev/mode": "criu"})
    assert "`reprise protect shop/deployment/plain`" in reprise("checkpoint", "take", "shop/plain").stderr
    assert "none of its pods is ready" in reprise("checkpoint", "take", "shop/cart").stderr
    assert session.cluster.written == []
