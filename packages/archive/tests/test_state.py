"""A checkpoint of kind http is an archive like any other: two members, no process."""

import io
import json
import os
from pathlib import Path
from typing import Any, cast

import pytest
from reprise.archive.facts import BadArchive
from reprise.archive.inspector import inspect_file
from reprise.archive.repository import Repository
from reprise.archive.source import file_of, open_source
from reprise.archive.testing import FixedKeys, MemoryStore, build, state_members, write_slot
from reprise.archive.writer import verify_archive
from reprise.contracts.model import Target, Workload

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


def stored(repository: Repository, slot: Path) -> bytes:
    """What of it comes back out of the store."""
    manifest = repository.write_archive(slot, checkpoint_id=slot.name, workload=WORKLOAD, target=TARGET, trigger="interval")
    assert (manifest.facts.kind, manifest.facts.runtime, manifest.facts.content_type) == ("http", "", "application/json")
    return b"".join(repository.open(manifest).read())


def test_it_is_stored_encrypted_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store: Any = MemoryStore()
    state = b"a secret of the program's" * 1000
    slot = write_slot(tmp_path / "1", state_members(state))
    came = stored(Repository(store, FixedKeys()), slot)
    with file_of(open_source(slot)) as file:
        assert file.read() == came
    assert state in came
    assert all(b"a secret" not in data for data in store.objects.values())


def test_what_did_not_change_is_not_sent_again(tmp_path: Path) -> None:
    repository, state = Repository(cast(Any, MemoryStore()), FixedKeys()), os.urandom(8 << 20)
    stored(repository, write_slot(tmp_path / "1", state_members(state)))
    manifest = repository.write_archive(
        write_slot(tmp_path / "2", state_members(state + b"!")), checkpoint_id="2", workload=WORKLOAD, target=TARGET,
        trigger="interval",
    )  # fmt: skip
    assert manifest.cost.new < 2 << 20


def test_that_of_another_container_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="container was replaced"):
        verify_archive(open_source(write_slot(tmp_path / "1", state_members(container_id="c0"))), "c1")


def test_a_state_that_does_not_say_whose_it_is_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match=r"lacks slot\.json"):
        verify_archive(open_source(write_slot(tmp_path / "1", {"state": b"x"})), "c1")


def test_it_can_be_inspected() -> None:
    found = inspect_file(io.BytesIO(build(state_members(b"12345"))), "ck1")
    assert (found.facts.kind, found.pod, found.processes) == ("http", "default/counter-1", ())
    assert ("state", 5) in found.members
    assert json.loads(json.dumps(found.facts.model_dump(mode="json")))["content_type"] == "application/json"
