"""Live references of pods that are gone, on a real MinIO and a real NATS: removed, unless they move on meanwhile."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from reprise.archive import images
from reprise.archive.layout import live_key
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.s3 import S3Store
from reprise.archive.testing import FixedKeys, build, members
from reprise.contracts.errors import StoreUnavailable
from reprise.contracts.model import Target, Workload
from reprise.restorer import decide
from reprise.restorer.adapters import checkpoints
from reprise.restorer.adapters.checkpoints import StoredReferences
from reprise.restorer.leftovers import LeftOvers
from reprise.restorer.model import PodNames, Standby
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket

pytestmark = pytest.mark.component

WORKLOAD = Workload(namespace="default", name="counter")
NOW = timedelta()
Write = Callable[[str, str], Manifest]


@pytest.fixture
def repository(store: S3Store) -> Repository:
    return Repository(store, FixedKeys())


@pytest.fixture
def write(repository: Repository, tmp_path: Path) -> Write:
    """A checkpoint under this id, of the pod with this UID; published as its pod's own."""

    def write(checkpoint_id: str, uid: str) -> Manifest:
        path = tmp_path / f"{checkpoint_id}.tar"
        path.write_bytes(build(members(pages=checkpoint_id.encode().ljust(4096, b"."))))
        target = Target(node="n1", pod=f"counter-{uid}", pod_uid=uid, container="counter", container_id="c1")
        manifest = repository.write_archive(
            path, checkpoint_id=checkpoint_id, workload=WORKLOAD, target=target, trigger="interval"
        )
        repository.publish_image(manifest, uid)
        return manifest

    return write


@pytest.fixture
async def bus(nats_server: Any) -> AsyncIterator[Bus]:
    found = Bus(f"nats://127.0.0.1:{nats_server.port}", "test")
    await found.connect()
    yield found
    await found.drain(2)


class Pods:
    """ports.Pods."""

    def __init__(self, *uids: str) -> None:
        self.uids = uids

    async def everyone(self) -> tuple[PodNames, ...]:
        return tuple(PodNames(WORKLOAD, uid, ("counter:1",)) for uid in self.uids)


async def test_what_pods_that_are_gone_showed_is_retentions_again(
    repository: Repository, write: Write, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (decide, checkpoints):
        monkeypatch.setattr(module, "LEFT_OVER_S", 0.0)
    for number, uid in (("1", "u1"), ("2", "u2"), ("3", "u3")):
        write(number, uid)
    assert repository.prune(WORKLOAD, "counter", 1) == []
    looks = LeftOvers(bus, StoredReferences(repository), Pods("u3"), lambda: True)
    await looks.look()
    assert repository.live("default", "u1", "counter")
    await looks.look()
    assert repository.live("default", "u1", "counter") is None
    assert repository.live("default", "u3", "counter")
    assert repository.prune(WORKLOAD, "counter", 1) == ["1", "2"]


async def test_a_standbys_record_that_changed_is_not_removed(bus: Bus) -> None:
    bucket = Bucket(bus, "standby", Standby)
    first = await bucket.put("a.b.c.d", Standby(node="n1"))
    await bucket.put("a.b.c.d", Standby(node="n2"))
    assert not await bucket.remove("a.b.c.d", first)
    entry = await bucket.get("a.b.c.d")
    assert entry
    assert [found.value.node for found in await bucket.entries()] == ["n2"]
    assert await bucket.remove("a.b.c.d", entry.revision)
    assert await bucket.entries() == []


def test_one_that_moves_on_between_the_look_and_the_removal_survives(repository: Repository, write: Write) -> None:
    write("1", "u1")
    (found,) = repository.idle_references(NOW)
    write("2", "u1")
    assert not repository.withdraw_reference(found)
    shown = repository.live("default", "u1", "counter")
    assert shown
    assert shown.checkpoint_id == "2"


def test_a_publication_within_the_removal_waits_for_its_end(
    repository: Repository, write: Write, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After compare-and-set has taken it out, and before it is deleted, nothing is written that would be deleted."""
    manifest = write("1", "u1")
    (found,) = repository.idle_references(NOW)
    key, delete = live_key("default", "u1", "counter"), S3Store.delete
    refused = []

    def in_between(self: S3Store, name: str) -> None:
        if name == key:
            monkeypatch.undo()
            with pytest.raises(StoreUnavailable):
                repository.publish_image(manifest, "u1")
            refused.append(repository.live("default", "u1", "counter"))
        delete(self, name)

    monkeypatch.setattr(S3Store, "delete", in_between)
    assert repository.withdraw_reference(found)
    assert refused == [None]
    repository.publish_image(manifest, "u1")
    assert repository.live("default", "u1", "counter")


def test_a_removal_that_was_interrupted_is_ended_by_the_next(repository: Repository, write: Write, store: S3Store) -> None:
    write("1", "u1")
    key = live_key("default", "u1", "counter")
    store.put(key, images.WITHDRAWN)
    (found,) = repository.idle_references(NOW)
    assert (found.namespace, found.live_id, found.pointer) == ("default", "u1", None)
    assert repository.withdraw_reference(found)
    assert list(store.list("live/")) == []


def test_age_is_by_the_stores_own_clock(repository: Repository, write: Write) -> None:
    write("1", "u1")
    assert repository.idle_references(timedelta(minutes=1)) == []
    assert len(repository.idle_references(NOW)) == 1
