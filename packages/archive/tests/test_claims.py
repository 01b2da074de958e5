"""Claims: mutual exclusion on a store without conditional puts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from reprise.archive.claims import FOLDER, STALE_S, Claims
from reprise.archive.store import Entry
from reprise.contracts.errors import StoreUnavailable


@pytest.fixture
def claims(store: Any) -> Claims:
    return Claims(store, sleep=lambda _: None)


def test_while_one_holds_a_key_another_steps_back_and_leaves_no_claim(claims: Claims, store: Any) -> None:
    with claims.hold("key"):
        with pytest.raises(StoreUnavailable) as refused, claims.hold("key"):
            pytest.fail("two hold one key")
        assert refused.value.reason == "Conflict"
        assert len(store.objects) == 1
        with claims.hold("another key"):
            pass
    assert store.objects == {}
    with claims.hold("key"):
        pass


def test_a_claim_is_given_up_when_the_write_fails(claims: Claims, store: Any) -> None:
    with pytest.raises(ZeroDivisionError), claims.hold("key"):
        raise ZeroDivisionError
    assert store.objects == {}


@pytest.mark.parametrize(("age_s", "goes_ahead"), [(STALE_S - 1, False), (STALE_S + 1, True)])
def test_a_dead_writers_claim_counts_until_it_is_stale(
    claims: Claims, store: Any, monkeypatch: pytest.MonkeyPatch, age_s: float, goes_ahead: bool
) -> None:
    listed, now = store.list, datetime.now(UTC)

    def aged(prefix: str) -> list[Entry]:
        dead = Entry(f"{prefix}dead", 5, now - timedelta(seconds=age_s))
        return [dead, *(Entry(entry.key, entry.size, now) for entry in listed(prefix))]

    monkeypatch.setattr(store, "list", aged)
    assert FOLDER.startswith(".reprise/")
    if goes_ahead:
        with claims.hold("key"):
            return
    with pytest.raises(StoreUnavailable), claims.hold("key"):
        pytest.fail("another holds it")


def test_whoever_cannot_see_its_own_claim_does_not_go_ahead(claims: Claims, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "list", lambda _: [])
    with pytest.raises(StoreUnavailable), claims.hold("key"):
        pytest.fail("its claim is not there")
