"""`reprise restore --to`: it keeps what is there first, asks by annotation, and tells the end."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from reprise.cli.ports import PodFacts
from reprise.contracts.model import Workload, checkpoint_id, restore_id
from typer.testing import Result

Run = Callable[..., Result]
CART = Workload(namespace="shop", name="cart")
POD = PodFacts("cart-1", "u1", "n1", "Running", {"app": True}, {"app": "sha256:1"}, {"app": "app:1"})
OLD = {"checkpoint_id": "20261124t100000000-aaaa", "container": "app", "state": "stored"}
OTHER = {"checkpoint_id": "20261124t110000000-aaaa", "container": "app", "state": "stored"}
NAME = restore_id(CART, "app", "0badcafe")


@pytest.fixture
def kept(session: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The checkpoint that is taken first; everything that is asked for has happened already."""
    session.cluster.add("cart", annotations={"reprise.dev/mode": "criu"})
    session.cluster.found = [POD]
    monkeypatch.setattr("reprise.cli.commands.checkpoint.time.time", lambda: 7.25)
    monkeypatch.setattr("reprise.cli.commands.checkpoint.time.sleep", lambda _: None)
    monkeypatch.setattr("reprise.cli.commands.restore.secrets.token_hex", lambda _: "0badcafe")
    name = checkpoint_id("u1", "app", datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC))
    session.tables["checkpoints"] = [{"checkpoint_id": name, "container": "app", "state": "stored"}, OTHER, OLD]
    session.tables["failovers"] = [ended("completed", checkpoint_id=OLD["checkpoint_id"])]
    return name


def ended(state: str, **columns: str) -> dict[str, Any]:
    return {"failover_id": NAME, "state": state, "total_s": 1.2, "reason": None, "message": None, "remedy": None} | columns


def asked(session: Any) -> list[dict[str, str]]:
    return [written for _, written in session.cluster.written if "reprise.dev/restore-id" in written]


def test_what_it_is_now_is_kept_and_then_it_goes_back(reprise: Run, session: Any, kept: str) -> None:
    told = reprise("restore", "shop/cart", "--to", "20261124t10")
    assert told.exit_code == 0, told.output
    assert f"what it is now is kept as {kept}" in told.stderr
    assert f"goes on from {OLD['checkpoint_id']}, after 1.2 s" in told.stderr
    assert asked(session) == [{"reprise.dev/restore-id": "0badcafe", "reprise.dev/restore-to": OLD["checkpoint_id"]}]


def test_what_cannot_be_kept_is_not_given_up_unless_that_is_said(reprise: Run, session: Any, kept: str) -> None:
    session.tables["checkpoints"][0] |= {"state": "failed", "reason": "UnhealthyBefore", "message": "no answer"}
    told = reprise("restore", "shop/cart", "--to", OLD["checkpoint_id"])
    assert told.exit_code == 1
    assert "could not be kept: failed: UnhealthyBefore: no answer (correct that, or add --discard to give it up)" in told.stderr
    assert asked(session) == []
    assert reprise("restore", "shop/cart", "--to", OLD["checkpoint_id"], "--discard").exit_code == 0
    assert len(asked(session)) == 1


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("nosuch", "it has no good checkpoint 'nosuch' (`reprise checkpoint list shop/cart` lists them)"),
        ("20261124t1", "3 of its good checkpoints begin with '20261124t1'"),
    ],
)
def test_a_checkpoint_that_is_not_one_of_its_own_is_told_before_anything_is_asked(
    reprise: Run, session: Any, to: str, said: str
) -> None:
    told = reprise("restore", "shop/cart", "--to", to)
    assert told.exit_code == 1
    assert said in told.stderr
    assert session.cluster.written == []


@pytest.mark.usefixtures("kept")
def test_two_pods_cannot_both_become_one(reprise: Run, session: Any) -> None:
    session.cluster.found = [POD, POD]
    told = reprise("restore", "shop/cart", "--to", OLD["checkpoint_id"])
    assert "it has 2 pods: a checkpoint is one process's (scale it to one replica first)" in told.stderr
    assert session.cluster.written == []


@pytest.mark.usefixtures("kept")
def test_the_end_is_told_as_it_was(reprise: Run, session: Any) -> None:
    session.tables["failovers"] = [ended("completed", checkpoint_id=OTHER["checkpoint_id"])]
    told = reprise("restore", "shop/cart", "--to", OLD["checkpoint_id"])
    assert told.exit_code == 1
    assert f"{OLD['checkpoint_id']} did not come back; it goes on from {OTHER['checkpoint_id']}" in told.stderr
    session.tables["failovers"] = [ended("stepped-aside", reason="RolledOut", message="it is not the newest", remedy="nothing")]
    told = reprise("restore", "shop/cart", "--to", OLD["checkpoint_id"])
    assert told.exit_code == 1
    assert "stepped-aside: RolledOut: it is not the newest (nothing)" in told.stderr


@pytest.mark.usefixtures("kept")
def test_one_that_does_not_end_in_time_goes_on_by_itself(reprise: Run, session: Any) -> None:
    session.tables["failovers"] = []
    told = reprise("restore", "shop/cart", "--to", OLD["checkpoint_id"], "--discard", "--timeout", "1")
    assert told.exit_code == 1
    assert (
        f"no end within 1.0 s (it goes on by itself: `kubectl -n shop describe deployment cart`, `reprise trace {NAME}`)"
        in told.stderr
    )
