"""Histories are compared, so times and the fences' numbers must be the same in each."""

import random
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from reprise.contracts import records
from reprise.restorer import planning

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def the_same_in_each_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "secrets", SimpleNamespace(randbits=lambda _bits: 7))
    monkeypatch.setattr(planning, "now", lambda: AT)


@pytest.fixture
def explored(request: pytest.FixtureRequest) -> random.Random:
    """Choose the part of a model that this run explores. Seeded like hypothesis: `make component SEED=n`."""
    return random.Random(request.config.getoption("--hypothesis-seed"))
