"""A listing is whole, whatever a server says of where it ends."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.calls import Calls
from reprise.archive.circuit import Circuit
from reprise.archive.s3 import S3Store

KEYS = [f"packs/{number:03}" for number in range(60)]


class Server:
    """Ends its listings where it likes, though never before the first key."""

    def __init__(self, ends: list[int]) -> None:
        self._ends = ends

    def list_objects(self, _bucket: str, *, prefix: str, recursive: bool, start_after: str | None) -> Iterator[Any]:
        assert recursive
        left = [key for key in KEYS if key.startswith(prefix) and key > (start_after or "")]
        end = self._ends.pop() if self._ends else len(left)
        return iter([SimpleNamespace(object_name=key, size=1, last_modified=None, is_dir=False) for key in left[:end]])


@given(st.lists(st.integers(1, 20), max_size=8))
def test_every_key_is_listed_once_however_short_the_pages_are(ends: list[int]) -> None:
    client: Any = Server(ends)
    store = S3Store(client, "bucket", Calls("server", Circuit()))
    assert [entry.key for entry in store.list("packs/")] == KEYS
