"""Histories are compared, so the fences' numbers must be the same in each."""

from types import SimpleNamespace

import pytest
from reprise.contracts import records


@pytest.fixture(autouse=True)
def the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "secrets", SimpleNamespace(randbits=lambda _bits: 7))
