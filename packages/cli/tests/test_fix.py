"""`reprise protect --fix`: what it offers, that it asks, and what it sets."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.cli.ports import ConsoleError
from reprise.cli.remedies import Change, Confine, Fix, Gate, NotFixable, applied, diff, patch
from reprise.cli.remedies import fixes as offered
from typer.testing import Result

Run = Callable[..., Result]
NODE: dict[str, Any] = {"name": "app", "image": "registry/app:1", "command": ["node", "server.js"]}
CONFINED = {"seccompProfile": {"type": "RuntimeDefault"}}
UNCONFINED = {"seccompProfile": {"type": "Unconfined"}}
LOCAL = {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}
STORED = {"checkpoint_id": "ck1", "state": "stored", "at": "2026-11-24T10:00:00Z"}


def failed(reason: str, **told: Any) -> dict[str, Any]:
    return {"checkpoint_id": "ck2", "state": "failed", "reason": reason, "message": "m", "remedy": "do this"} | told


def fixes(containers: list[dict[str, Any]], rows: list[dict[str, Any]], **spec: Any) -> tuple[Change, ...]:
    """Of a pod all of whose containers are protected."""
    return offered({"containers": containers} | spec, [each["name"] for each in containers], rows)


@pytest.fixture
def cart(session: Any) -> None:
    session.cluster.add("cart", containers=[NODE | {"env": [{"name": "MODE", "value": "fast"}]}])
    session.tables = {"checkpoints": [failed("IoUring"), STORED]}


@pytest.mark.usefixtures("cart")
def test_it_shows_the_diff_asks_and_sets_variable_and_profile(reprise: Run, session: Any) -> None:
    told = reprise("protect", "shop/cart", "--fix", answer="y\n")
    assert told.exit_code == 0, told.output
    lines = told.stderr.splitlines()
    assert "--- deployment/cart in shop (now)" in lines
    assert [line.strip("+ ") for line in lines if line.startswith("+ ")] == [
        "- name: UV_USE_IO_URING", "value: '0'", "securityContext:", "seccompProfile:", "type: RuntimeDefault",
    ]  # fmt: skip
    assert "Set this?" in told.stderr
    assert "in memory is lost once" in told.stderr
    container = {"name": "app", "env": [{"name": "UV_USE_IO_URING", "value": "0"}], "securityContext": CONFINED}
    assert session.cluster.set == [("deployment/cart in shop", {"containers": [container]})]
    assert session.cluster.written, "and it is protected"
    assert "no restart" not in told.stderr, "its pods are replaced"


@pytest.mark.usefixtures("cart")
def test_yes_does_not_ask(reprise: Run, session: Any) -> None:
    told = reprise("protect", "shop/cart", "--fix", "--yes")
    assert "Set this?" not in told.stderr
    assert len(session.cluster.set) == 1


@pytest.mark.usefixtures("cart")
@pytest.mark.parametrize(("words", "answer"), [((), "n\n"), (("--dry-run",), "")])
def test_who_says_no_has_nothing_set(reprise: Run, session: Any, words: tuple[str, ...], answer: str) -> None:
    told = reprise("protect", "shop/cart", "--fix", *words, answer=answer)
    assert told.exit_code == 0
    assert "not set" in told.stderr
    assert session.cluster.set == []


@pytest.mark.usefixtures("cart")
def test_where_nobody_can_answer_nothing_is_changed(reprise: Run, session: Any) -> None:
    told = reprise("protect", "shop/cart", "--fix", answer="")
    assert told.exit_code == 1
    assert (session.cluster.set, session.cluster.written) == ([], [])


@pytest.mark.usefixtures("cart")
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no checkpoint has failed since the last good one"),
        ([STORED, failed("IoUring")], "no checkpoint has failed since the last good one"),
        ([failed("GhostFile")], "no setting avoids GhostFile, or it is set: do this"),
        ([{"state": "failed"}], "no setting avoids None, or it is set: see `reprise doctor`"),
    ],
)
def test_where_no_setting_helps_it_is_said_and_it_is_protected(
    reprise: Run, session: Any, rows: list[dict[str, Any]], said: str
) -> None:
    session.tables = {"checkpoints": rows}
    told = reprise("protect", "shop/cart", "--fix")
    assert told.exit_code == 0, told.output
    assert f"nothing to fix: {said}" in told.stderr
    assert (session.cluster.set, len(session.cluster.written)) == ([], 1)


@pytest.mark.usefixtures("cart")
def test_while_the_console_is_away_nothing_is_known_and_nothing_changed(reprise: Run, session: Any) -> None:
    session.failures = [ConsoleError("it does not answer", subject="console", remedy="r")]
    told = reprise("protect", "shop/cart", "--fix", "--yes")
    assert told.exit_code == 1
    assert "it does not answer" in told.stderr
    assert (session.cluster.set, session.cluster.written) == ([], [])


def test_a_bare_pod_is_to_be_made_anew(reprise: Run, session: Any) -> None:
    session.cluster.add("cart", kind="Pod", containers=[NODE])
    session.tables = {"checkpoints": [failed("IoUring")]}
    told = reprise("protect", "shop/cart", "--fix", "--yes")
    assert told.exit_code == 1
    assert "UV_USE_IO_URING=0, seccompProfile RuntimeDefault in its manifest" in told.stderr
    assert (session.cluster.set, session.cluster.written) == ([], [])


@pytest.mark.parametrize(
    ("before", "value"),
    [
        (None, "multipathtcp=0"),
        ("", "multipathtcp=0"),
        ("http2client=0", "http2client=0,multipathtcp=0"),
        ("multipathtcp=1,http2client=0", "http2client=0,multipathtcp=0"),
    ],
)
def test_other_settings_of_a_variable_stay(before: str | None, value: str) -> None:
    env = [] if before is None else [{"name": "GODEBUG", "value": before}]
    [fix] = fixes([{"name": "app", "env": env}], [failed("MptcpSocket")])
    assert isinstance(fix, Fix)
    assert (fix.value, fix.before) == (value, before)


def test_what_is_set_already_is_not_offered_again() -> None:
    env = [{"name": "UV_USE_IO_URING", "value": "0"}]
    assert fixes([NODE | {"env": env, "securityContext": CONFINED}], [failed("IoUring")]) == ()
    assert fixes([{"name": "app", "env": [{"name": "GODEBUG", "value": "x=1,multipathtcp=0"}]}], [failed("MptcpSocket")]) == ()


@pytest.mark.parametrize(
    ("pod", "container", "offers"),
    [
        ({}, {}, True),
        (UNCONFINED, {}, True),
        (CONFINED, UNCONFINED, True),
        ({}, {"runAsUser": 1000}, True),
        (CONFINED, {}, False),
        (CONFINED, {"runAsUser": 1000}, False),
        (UNCONFINED, CONFINED, False),
        ({}, LOCAL, False),
        ({}, {"privileged": True}, False),
    ],
)
def test_the_profile_is_offered_to_a_container_without_any(pod: dict[str, Any], container: dict[str, Any], offers: bool) -> None:
    found = fixes([NODE | {"securityContext": container}], [failed("IoUring")], securityContext=pod)
    assert [str(each) for each in found if isinstance(each, Confine)] == ["seccompProfile RuntimeDefault"] * offers


def test_of_a_go_program_with_mptcp_only_the_variable_is_set() -> None:
    assert [str(each) for each in fixes([{"name": "app"}], [failed("MptcpSocket")])] == ["GODEBUG=multipathtcp=0"]


def test_what_else_confines_the_container_stays() -> None:
    spec: dict[str, Any] = {"containers": [NODE | {"securityContext": {"runAsUser": 1000} | UNCONFINED}, {"name": "side"}]}
    wanted = fixes(spec["containers"], [failed("IoUring", container="app")])
    [app, side] = applied(spec, wanted)["containers"]
    assert app["securityContext"] == {"runAsUser": 1000} | CONFINED
    assert side == {"name": "side"}
    assert patch(spec, wanted)["containers"][0]["securityContext"] == CONFINED, "the API server merges the rest"


def test_a_value_from_elsewhere_is_not_overwritten() -> None:
    env = [{"name": "UV_USE_IO_URING", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]
    with pytest.raises(NotFixable) as caught:
        fixes([NODE | {"env": env}], [failed("IoUring")])
    assert "nothing was changed" in caught.value.remedy


def test_only_the_container_whose_checkpoint_failed_is_changed() -> None:
    pair = [NODE, {"name": "side", "image": "registry/side:1"}]
    found = fixes(pair, [failed("IoUring", container="side"), failed("Inotify", container="app")])
    told = [(fix.container, str(fix)) for fix in found if not isinstance(fix, Gate)]
    assert told == [
        ("app", "CHOKIDAR_USEPOLLING=1"), ("side", "UV_USE_IO_URING=0"), ("side", "seccompProfile RuntimeDefault")
    ]  # fmt: skip


@given(st.lists(st.dictionaries(st.sampled_from(["reason", "container", "state"]), st.none() | st.text() | st.integers())))
def test_odd_rows_offer_nothing_and_harm_nothing(rows: list[dict[str, Any]]) -> None:
    for fix in fixes([NODE, {"name": "bare"}], rows):
        assert str(fix)


def test_the_pod_template_that_was_read_is_left_as_it_is() -> None:
    spec: dict[str, Any] = {"containers": [dict(NODE)], "hostNetwork": True}
    wanted = fixes(spec["containers"], [failed("IoUring")])
    assert applied(spec, wanted) != spec
    assert "env" not in spec["containers"][0]
    assert not any(line.startswith("-") and not line.startswith("---") for line in diff("s", spec, wanted))
