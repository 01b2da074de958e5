"""Keys: rotation leaves packs alone, and what was encrypted for one place opens in no other."""

import base64
import os
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.crypto import TAG, Cipher, KeyUnavailable, SecretKeys, Wrapped
from reprise.archive.keyring import Keyring
from reprise.archive.layout import Lineage
from reprise.archive.testing import MemoryStore

LINEAGE = Lineage("default", "deployment.counter", "counter")
KEY = bytes(range(32))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "k1").write_bytes(os.urandom(32))
    (tmp_path / "k2").write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    (tmp_path / "active").write_text("k1\n")
    return tmp_path


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_what_is_encrypted_is_decrypted(plain: bytes, ordinal: int) -> None:
    cipher, out = Cipher(KEY, "ns/w/c", "p1"), bytearray(len(plain) + TAG)
    cipher.encrypt_into(ordinal, plain, memoryview(out), b"x")
    assert cipher.decrypt(ordinal, out, b"x") == plain
    assert cipher.encrypt(ordinal, plain, b"x") == out


@pytest.mark.parametrize(
    ("key", "owner", "name", "ordinal", "context"),
    [
        (bytes(32), "ns/w/c", "p1", 1, b"chunk"),
        (KEY, "ns/other/c", "p1", 1, b"chunk"),
        (KEY, "ns/w/c", "p2", 1, b"chunk"),
        (KEY, "ns/w/c", "p1", 2, b"chunk"),
        (KEY, "ns/w/c", "p1", 1, b"footer"),
    ],
)
def test_a_piece_opens_only_where_it_belongs(key: bytes, owner: str, name: str, ordinal: int, context: bytes) -> None:
    sealed = Cipher(KEY, "ns/w/c", "p1").encrypt(1, b"memory", b"chunk")
    with pytest.raises(InvalidTag):
        Cipher(key, owner, name).decrypt(ordinal, sealed, context)


def test_keys_are_made_once_and_read_again(secret: Path) -> None:
    store = MemoryStore()
    first = Keyring(store, SecretKeys(secret)).data_key(LINEAGE, create=True)
    assert Keyring(store, SecretKeys(secret)).data_key(LINEAGE) == first
    assert first not in b"".join(store.objects.values())


def test_two_nodes_that_make_a_key_at_once_have_the_same(secret: Path) -> None:
    store, other = MemoryStore(), []

    def step(verb: str, key: str) -> None:
        if verb == "create" and not other:
            other.append(b"")
            other[0] = Keyring(store, SecretKeys(secret)).data_key(LINEAGE, create=True)

    store.step = step
    assert Keyring(store, SecretKeys(secret)).data_key(LINEAGE, create=True) == other[0]


def test_a_reader_does_not_make_a_key(secret: Path) -> None:
    with pytest.raises(KeyUnavailable, match="not in the store"):
        Keyring(MemoryStore(), SecretKeys(secret)).data_key(LINEAGE)


def test_rotation_wraps_keys_anew_and_the_old_one_can_go(secret: Path) -> None:
    store = MemoryStore()
    keyring = Keyring(store, SecretKeys(secret))
    before = keyring.data_key(LINEAGE, create=True), keyring.page_key(LINEAGE)
    (secret / "active").write_text("k2")
    assert keyring.rewrap() == ["keys/default/deployment.counter.json", "keys/default/tenant.json"]
    assert keyring.rewrap() == []
    (secret / "k1").unlink()
    fresh = Keyring(store, SecretKeys(secret))
    assert (fresh.data_key(LINEAGE), fresh.page_key(LINEAGE)) == before


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b'{"kek": "k1", "wrapped": "!"}', b'{"kek": "../k1", "wrapped": ""}', b'{"kek": "k9", "wrapped": ""}']
)
def test_a_damaged_key_object_is_an_error_that_names_it(secret: Path, damage: bytes) -> None:
    store = MemoryStore()
    store.put("keys/default/deployment.counter.json", damage)
    with pytest.raises(Exception, match="key") as told:
        Keyring(store, SecretKeys(secret)).data_key(LINEAGE)
    assert type(told.value).__name__ in ("DamagedObject", "KeyUnavailable")


def test_a_wrapped_key_is_bound_to_what_it_is_for(secret: Path) -> None:
    keys = SecretKeys(secret)
    wrapped = keys.wrap(KEY, b"keys/a/tenant.json")
    assert keys.unwrap(wrapped, b"keys/a/tenant.json") == KEY
    with pytest.raises(KeyUnavailable):
        keys.unwrap(wrapped, b"keys/b/tenant.json")
    with pytest.raises(KeyUnavailable):
        keys.unwrap(Wrapped("k2", wrapped.data), b"keys/a/tenant.json")


def test_a_key_of_another_length_is_refused(secret: Path) -> None:
    (secret / "k1").write_text("short")
    with pytest.raises(KeyUnavailable, match="32 bytes"):
        SecretKeys(secret).wrap(KEY, b"")
