"""`reprise keys rotate`: no node ever meets a key that it cannot unwrap."""

import base64
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from reprise.archive.crypto import FetchedKeys
from reprise.archive.repository import Repository
from reprise.cli.rotation import Seen, next_step
from reprise.contracts.model import Workload
from typer.testing import Result

Run = Callable[..., Result]
OLD, BOTH, NEW = Seen("k1", frozenset({"k1"})), Seen("k1", frozenset({"k1", "k2"})), Seen("k2", frozenset({"k1", "k2"}))
ORDER = (OLD, BOTH, NEW)


@pytest.mark.parametrize("secret", ORDER)
@pytest.mark.parametrize("pods", [*itertools.product((None, *ORDER), repeat=2)])
def test_a_key_is_active_only_where_every_pod_can_unwrap_it(secret: Seen, pods: tuple[Seen | None, ...]) -> None:
    step = next_step(secret, "k2" if secret is not OLD else "", dict(zip(("a", "b"), pods, strict=True)))
    if step == "switch":
        assert all(pod and "k2" in pod.ids for pod in pods)
    if step == "rewrap":
        assert all(pod and pod.active == "k2" for pod in pods)
    assert (step == "add") == (secret is OLD)


class Rotating:
    """A Secret that each pod sees some looks later, as a kubelet brings it."""

    def __init__(self, data: dict[str, bytes], lag: int) -> None:
        self.data, self.lag, self.next = data, lag, ""
        self.history: list[Seen] = [self.read()]
        self.silent = False

    def read(self) -> Seen:
        return Seen(self.data["active"].decode(), frozenset(self.data) - {"active"})

    def pending(self) -> str:
        return self.next

    def add(self, key_id: str, key: bytes) -> None:
        self.data[key_id], self.next = key, key_id

    def switch(self, key_id: str) -> None:
        self.data["active"] = key_id.encode()

    def finish(self) -> None:
        self.next = ""

    def pods(self) -> dict[str, Seen | None]:
        self.history.append(self.read())
        return {"transfer-a": None if self.silent else self.history[max(0, len(self.history) - 1 - self.lag)]}


@pytest.fixture
def secret(session: Any, monkeypatch: pytest.MonkeyPatch) -> Rotating:
    data = {"active": b"k1", "k1": base64.b64encode(b"1" * 32)}
    session.keys, session.rotating = FetchedKeys(data, "a Secret"), Rotating(data, lag=3)
    monkeypatch.setattr("reprise.cli.commands.keys.time.sleep", lambda _: None)
    return session.rotating  # type: ignore[no-any-return]


def test_a_rotation_waits_for_the_nodes_and_wraps_everything_anew(
    reprise: Run, session: Any, secret: Rotating, write: Callable[..., Any]
) -> None:
    write("ck1")
    told = reprise("keys", "rotate")
    assert told.exit_code == 0, told.output
    new = secret.read().active
    assert new != "k1"
    assert secret.next == ""
    assert f"wrapped under {new}" in told.stderr
    assert "/data/k1" in told.stderr, "how the old one is removed, once nobody needs it"
    del secret.data["k1"]
    manifests = Repository(session.store, session.keys).list_manifests(Workload(namespace="default", name="counter"), "counter")
    assert list(Repository(session.store, session.keys).read_archive(manifests[0]))


def test_a_node_that_does_not_answer_keeps_the_old_key_active_and_the_next_call_goes_on(
    reprise: Run, secret: Rotating, write: Callable[..., Any]
) -> None:
    write("ck1")
    secret.silent = True
    told = reprise("keys", "rotate", "--timeout", "10ms")
    assert told.exit_code == 1
    assert "it has not reached transfer-a" in told.stderr
    assert secret.read().active == "k1"
    begun = secret.next
    secret.silent = False
    assert reprise("keys", "rotate").exit_code == 0
    assert secret.read() == Seen(begun, frozenset({"k1", begun})), "one new key, not two"


def test_a_dry_run_changes_nothing(reprise: Run, secret: Rotating) -> None:
    told = reprise("keys", "rotate", "--dry-run")
    assert "once it has reached transfer-a" in told.stderr
    assert secret.read() == OLD


def test_no_key_is_ever_printed(reprise: Run, secret: Rotating, write: Callable[..., Any]) -> None:
    write("ck1")
    told = reprise("keys", "rotate", "-o", "wide")
    assert not [name for name, key in secret.data.items() if name != "active" and key.decode() in told.output]
