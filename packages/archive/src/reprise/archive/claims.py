"""Conditional writes for a store without them: a writer claims the key first, and goes ahead only if it is alone.

Each claim is an object of its own below `.reprise/claims/<key's hash>/`. Whoever lists second sees the other's claim, so
of two at most one goes ahead; both may step back, and try again at random times. That needs a store whose listings show
every finished write, as S3's do since 2020.

What is lost against a conditional put: a claim older than STALE_S counts as left by a writer that died, so a writer
that is held up for longer than that between its claim and its write can overwrite another's. And a write costs five
requests instead of one.
"""

import hashlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reprise.archive.store import Store
from reprise.contracts.errors import StoreUnavailable

FOLDER = ".reprise/claims/"
STALE_S = 60.0
PATIENCE_S = 20.0


class Claims:
    """Mutual exclusion by key between all who use the same bucket."""

    def __init__(self, store: Store, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store, self._sleep = store, sleep

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Raises StoreUnavailable if others hold it for too long."""
        folder = f"{FOLDER}{hashlib.sha256(key.encode()).hexdigest()[:32]}/"
        waited_s = 0.0
        while True:
            claim = f"{folder}{uuid.uuid4().hex}"
            self._store.put(claim, b"claim")
            try:
                if self._alone(folder, claim):
                    yield
                    return
            finally:
                self._store.delete(claim)
            if waited_s > PATIENCE_S:
                raise StoreUnavailable("others are writing it", subject=key, reason="Conflict", remedy="nothing: try again")
            pause_s = random.uniform(0.02, 0.2)
            self._sleep(pause_s)
            waited_s += pause_s

    def _alone(self, folder: str, claim: str) -> bool:
        entries = list(self._store.list(folder))
        own = next((entry for entry in entries if entry.key == claim), None)
        if own is None:  # taken for a dead one's and removed, or a listing that cannot be relied on
            return False
        others = [entry for entry in entries if entry.key != claim]
        # Both ages are by the store's clock, so that ours does not matter.
        stale = [entry for entry in others if (own.modified - entry.modified).total_seconds() > STALE_S]
        for entry in stale:
            self._store.delete(entry.key)
        return len(stale) == len(others)
