"""The S3 store on two independent servers, MinIO and SeaweedFS: each test runs on both."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from reprise.archive.calls import REQUESTS
from reprise.archive.s3 import S3Store, s3_store
from reprise.archive.s3_client import SIGNED_BYTES, Body
from reprise.contracts.errors import NotStored, StoreUnavailable

pytestmark = pytest.mark.component

LARGE = bytes(range(256)) * (8 << 12)  # 8 MiB: sent unsigned, with its checksum
SMALL = b"a manifest"
SIZES = pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])


def together(*acts: Callable[[], Any]) -> list[Any]:
    """All at the same moment; their results."""
    gate = threading.Barrier(len(acts))

    def act(one: Callable[[], Any]) -> Any:
        gate.wait()
        return one()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [work.result() for work in [pool.submit(act, one) for one in acts]]


@SIZES
def test_what_is_put_is_got_back_bit_for_bit(s3: S3Store, data: bytes) -> None:
    s3.put("archives/a b/ü+&=.json", memoryview(data))
    assert s3.get("archives/a b/ü+&=.json") == data
    assert s3.size("archives/a b/ü+&=.json") == len(data)


def test_a_range_is_what_a_slice_would_be(s3: S3Store) -> None:
    s3.put("pack", LARGE)
    size = len(LARGE)
    for offset, length in ((0, 1), (5, 10), (1000, 4 << 20), (size - 3, 3), (size - 3, 100), (7, 0), (size, 5), (size + 9, 0)):
        assert s3.get("pack", offset, length) == LARGE[offset : offset + length if length else None]


def test_what_is_not_there_is_not_stored_and_can_be_deleted(s3: S3Store) -> None:
    for ask in (s3.get, s3.size, s3.get_versioned):
        with pytest.raises(NotStored, match="folder/nothing"):
            ask("folder/nothing")
    s3.delete("folder/nothing")
    s3.put("folder/nothing", b"something")
    s3.delete("folder/nothing")
    s3.delete("folder/nothing")
    with pytest.raises(NotStored):
        s3.get("folder/nothing")


def test_a_listing_of_more_than_one_page_is_whole_with_sizes_and_times(s3: S3Store) -> None:
    keys = [f"many/{kind}{n:04}" for n in range(525) for kind in ("a/", "a-")]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: s3.put(key, key.encode()), keys))
    s3.put("manyfold", b"")
    found = list(s3.list("many/"))
    assert sorted(entry.key for entry in found) == sorted(keys)
    assert all(entry.size == len(entry.key) and abs(entry.modified.timestamp() - time.time()) < 60 for entry in found)
    assert [entry.key for entry in s3.list("many/a/052")] == [f"many/a/{n:04}" for n in range(520, 525)]
    assert list(s3.list("none/")) == []


@SIZES
def test_of_two_that_create_at_once_exactly_one_does(s3: S3Store, data: bytes) -> None:
    for turn in range(8):
        won = together(*(partial(s3.create, f"lock-{turn}", data + b"%d" % n) for n in range(4)))
        assert won.count(True) == 1
        assert s3.get(f"lock-{turn}") == data + b"%d" % won.index(True)
    assert s3.create("lock-0", data) is False


def test_of_two_that_replace_at_once_exactly_one_does(s3: S3Store) -> None:
    s3.put("pointer", b"0")
    for turn in range(8):
        _, version = s3.get_versioned("pointer")
        won = together(*(partial(s3.replace, "pointer", b"%d.%d" % (turn, n), version) for n in range(4)))
        assert won.count(True) == 1
        assert s3.get("pointer") == b"%d.%d" % (turn, won.index(True))


def test_an_old_version_and_a_deleted_object_are_not_replaced(s3: S3Store) -> None:
    s3.put("pointer", b"1")
    data, version = s3.get_versioned("pointer")
    assert (data, s3.replace("pointer", b"2", version)) == (b"1", True)
    assert s3.replace("pointer", b"3", version) is False
    s3.delete("pointer")
    assert s3.replace("pointer", b"3", version) is False
    with pytest.raises(NotStored):
        s3.get("pointer")


def test_after_a_refused_put_no_request_meets_a_connection_that_hangs_up(s3: S3Store) -> None:
    """A server need not read the body of what it refuses, and then closes the connection a moment later."""
    s3.create("taken", b"first")
    before = failed_requests()
    for _ in range(100):
        assert s3.create("taken", b"second") is False
        s3.put("other", b"other")
    assert failed_requests() == before


def failed_requests() -> float:
    """Requests of this process that got no answer from the store."""
    told = [sample for family in REQUESTS.collect() for sample in family.samples if sample.name.endswith("_total")]
    return sum(sample.value for sample in told if sample.labels["outcome"] not in ("ok", "ConditionNotMet", "NotStored"))


def test_counting_up_by_compare_and_set_loses_no_count(s3: S3Store) -> None:
    s3.put("count", b"0")

    def count() -> None:
        for _ in range(5):
            while True:
                data, version = s3.get_versioned("count")
                if s3.replace("count", b"%d" % (int(data) + 1), version):
                    break

    together(count, count, count)
    assert s3.get("count") == b"15"


@pytest.fixture
def without_conditions(s3: S3Store) -> S3Store:
    """As if the server had no conditional puts."""
    s3._conditional = False
    return s3


def test_without_conditional_puts_claims_keep_creation_exclusive(without_conditions: S3Store) -> None:
    store = without_conditions
    for turn in range(4):
        won = together(*(partial(store.create, f"lock-{turn}", b"%d" % n) for n in range(3)))
        assert won.count(True) == 1
        assert store.get(f"lock-{turn}") == b"%d" % won.index(True)
    assert list(store.list(".reprise/claims/")) == []


def test_without_conditional_puts_a_changed_object_is_not_replaced(without_conditions: S3Store) -> None:
    store = without_conditions
    store.put("pointer", b"1")
    _, version = store.get_versioned("pointer")
    won = together(*(partial(store.replace, "pointer", b"2.%d" % n, version) for n in range(3)))
    assert won.count(True) == 1
    assert store.get("pointer") == b"2.%d" % won.index(True)


def test_both_servers_are_found_to_have_conditional_puts_and_the_probe_leaves_nothing(s3: S3Store) -> None:
    s3.create("anything", SMALL)
    assert s3._conditional is True
    assert list(s3.list(".reprise/probe/")) == []


def test_an_answer_lost_on_the_way_does_not_make_a_creator_its_own_rival(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.create("warm-up", SMALL)
    real, tries = s3._client.put_body, []

    def deaf(*args: Any) -> None:
        tries.append(args)
        real(*args)
        if len(tries) == 1:
            raise TimeoutError("the answer is lost")

    monkeypatch.setattr(s3._client, "put_body", deaf)
    assert s3.create("key", SMALL) is True
    assert len(tries) == 2


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_bit_that_flips_on_the_way_is_refused_by_the_store(s3: S3Store, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    whole = Body.__iter__

    def flipping(self: Body) -> Iterator[memoryview]:
        for part in whole(self):
            yield memoryview(bytes([part[0] ^ 1]) + bytes(part[1:]))

    monkeypatch.setattr(Body, "__iter__", flipping)
    with pytest.raises(StoreUnavailable) as refused:
        s3.put("pack", data)
    assert refused.value.reason == "DamagedInTransit"
    monkeypatch.undo()
    with pytest.raises(NotStored):
        s3.get("pack")


@pytest.mark.parametrize("size", [0, 1, SIGNED_BYTES - 1, SIGNED_BYTES, SIGNED_BYTES + 1])
def test_a_body_is_accepted_whichever_way_it_is_signed(s3: S3Store, size: int) -> None:
    s3.put("body", bytes(size))
    assert s3.size("body") == size


def test_many_threads_share_one_store(s3: S3Store) -> None:
    def work(n: int) -> bool:
        s3.put(f"shared/{n}", b"%d" % n * 1000)
        return s3.get(f"shared/{n}") == b"%d" % n * 1000

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(work, range(120)))


def test_virtual_style_addressing_works_as_path_style_does(s3_server: Any, s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], socket.getaddrinfo

    def resolve(host: str, *args: Any, **more: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host.endswith("s3.test") else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    virtual = s3_store(s3_server.settings(endpoint=f"s3.test:{s3_server.port}", addressing="virtual", bucket=s3._bucket))
    virtual.put("folder/key", LARGE)
    assert set(asked) == {f"{s3._bucket}.s3.test"}
    assert s3.get("folder/key") == LARGE
    assert [entry.key for entry in virtual.list("folder/")] == ["folder/key"]


def test_keys_come_in_the_order_of_their_bytes_also_where_folders_and_names_mix(s3: S3Store) -> None:
    keys = [f"o/{key}" for key in ("a/0", "a-0", "a0", "a/b/1", "a/b-1", "a.0")]
    for key in keys:
        s3.put(key, b"x")
    assert [entry.key for entry in s3.list("o/")] == sorted(keys)
