"""The wrapped keys in the store: one for each tenant and each workload, made at first use, unwrapped once per process."""

import base64
import json
import os
import threading

from reprise.archive.crypto import KEY, KeyUnavailable, KeyWrapper, Wrapped, derive
from reprise.archive.layout import Lineage
from reprise.archive.store import Store
from reprise.contracts.errors import DamagedObject, NotStored


class Keyring:
    """Raises KeyUnavailable, StoreError."""

    def __init__(self, store: Store, wrapper: KeyWrapper) -> None:
        self._store, self._wrapper = store, wrapper
        self._known: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def page_key(self, lineage: Lineage) -> bytes:
        """For page hashes: the tenant's, so that they tell nothing to another tenant."""
        return derive(self._get(f"keys/{lineage.namespace}/tenant.json", True), b"", b"reprise 1 page hashes")

    def data_key(self, lineage: Lineage, *, create: bool = False) -> bytes:
        """The workload's. Only a writer may make one: a reader's new key would only hide that the old one is lost."""
        return self._get(f"keys/{lineage.owner}.json", create)

    def rewrap(self, namespace: str = "") -> list[str]:
        """Wrap every key under the active key-encryption key; no pack is touched. Returns the keys changed.

        Interrupted, it is simply run again. The old key-encryption key may be thrown away when this returns nothing.
        """
        changed = []
        active = self._wrapper.active
        for entry in self._store.list(f"keys/{namespace}/" if namespace else "keys/"):
            body, version = self._store.get_versioned(entry.key)
            wrapped = _decode(body, entry.key)
            if wrapped.kek_id == active:
                continue
            key = self._wrapper.unwrap(wrapped, entry.key.encode())
            if self._store.replace(entry.key, _encode(self._wrapper.wrap(key, entry.key.encode())), version):
                changed.append(entry.key)
        return changed

    def _get(self, name: str, create: bool) -> bytes:
        with self._lock:
            if name not in self._known:
                self._known[name] = self._load(name, create)
            return self._known[name]

    def _load(self, name: str, create: bool) -> bytes:
        try:
            body = self._store.get(name)
        except NotStored as error:
            if not create:
                raise KeyUnavailable("the key that it was encrypted with is not in the store", subject=name) from error
            key = os.urandom(KEY)
            if self._store.create(name, _encode(self._wrapper.wrap(key, name.encode()))):
                return key
            body = self._store.get(name)  # another node was first
        key = self._wrapper.unwrap(_decode(body, name), name.encode())
        if len(key) != KEY:
            raise KeyUnavailable("it is not 32 bytes", subject=name)
        return key


def _encode(wrapped: Wrapped) -> bytes:
    return json.dumps({"version": 1, "kek": wrapped.kek_id, "wrapped": base64.b64encode(wrapped.data).decode()}).encode()


def _decode(body: bytes, name: str) -> Wrapped:
    try:
        told = json.loads(body)
        return Wrapped(str(told["kek"]), base64.b64decode(told["wrapped"], validate=True))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedObject("it is no wrapped key", subject=name) from error
