"""Keeps the brake's account (rules/brake.py): in KV, so that an arbiter that takes over knows what the one before gave up."""

import time
from collections.abc import Callable, Collection

from pydantic import BaseModel
from reprise.health_watcher.rules.brake import GivenUp, Whole, why_not
from reprise.runtime.kv import Bucket, key

KEY = key("given-up")


class Account(BaseModel):
    """Nodes that were given up, each with how many protected pods ran there."""

    nodes: dict[str, int] = {}


class Brake:
    """One per arbiter; only the leader asks it. No two clocks are compared: what another one wrote is as old as when it was first
    read here, so that taking over can only make the brake hold longer.
    """

    def __init__(self, records: Bucket[Account], share: float, window_s: float) -> None:
        self._records, self._share, self._window_s = records, share, window_s
        self._since: dict[str, float] = {}

    async def enter(
        self, node: str, pods: int, whole: Callable[[], Whole], lost: Callable[[str], bool], there: Collection[str] | None, *,
        forced: bool = False,
    ) -> str:  # fmt: skip
        """Write down that the node is given up now. Returns why it may not be; empty if it may.

        lost: whether a node has not returned. there: the nodes that the API server has; None: unknown. Raises nats.errors.Error.
        """
        while True:
            entry = await self._records.get(KEY)
            known = {n: count for n, count in (entry.value.nodes if entry else {}).items() if there is None or n in there}
            now = time.monotonic()
            self._since = {name: self._since.get(name, now) for name in known}
            given_up = {name: GivenUp(count, now - self._since[name], lost(name)) for name, count in known.items()}
            why = why_not(node, pods, given_up, whole(), share=self._share, window_s=self._window_s)
            if why and not forced:
                return why
            if node in known and given_up[node].counts(self._window_s):
                return ""
            kept = {name: count for name, count in known.items() if given_up[name].counts(self._window_s)}
            account = Account(nodes=kept | {node: pods})
            if await (self._records.update(KEY, account, entry.revision) if entry else self._records.create(KEY, account)):
                self._since[node] = now
                return ""
