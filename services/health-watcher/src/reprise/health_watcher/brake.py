"""Keeps the brake's account (rules/brake.py): in KV, so that an arbiter that takes over knows what the one before gave up."""

from collections.abc import Awaitable, Callable, Collection

from pydantic import BaseModel
from reprise.health_watcher.rules.brake import GivenUp, Whole, why_not
from reprise.runtime.kv import Bucket, key
from reprise.runtime.nodefiles import boottime_s

KEY = key("given-up")


class Account(BaseModel):
    """Nodes that were given up, each with how many protected pods ran there."""

    nodes: dict[str, int] = {}


class Brake:
    """One per arbiter; only the leader asks it. No two clocks are compared: what another one wrote is as old as when it was first
    read here, so that taking over can only make the brake hold longer.
    """

    def __init__(self, records: Bucket[Account], share: float, window_s: float, clock: Callable[[], float] = boottime_s) -> None:
        self._records, self._share, self._window_s = records, share, window_s
        self._since: dict[str, float] = {}
        self._clock = clock

    async def enter(
        self, node: str, pods: int, whole: Callable[[], Awaitable[Whole]], lost: Callable[[str], bool],
        there: Collection[str] | None, *, forced: bool = False,
    ) -> str:  # fmt: skip
        """Write down that the node is given up now. Returns why it may not be; empty if it may.

        whole: asked only if another node counts. lost: whether a node has not returned. there: the nodes that the API server has;
        None: unknown. Raises nats.errors.Error or TimeoutError.
        """
        while True:
            entry = await self._records.get(KEY)
            known = {n: count for n, count in (entry.value.nodes if entry else {}).items() if there is None or n in there}
            now = self._clock()
            self._since = {name: self._since.get(name, now) for name in known}
            given_up = {name: GivenUp(count, now - self._since[name], lost(name)) for name, count in known.items()}
            kept = {name: count for name, count in known.items() if given_up[name].counts(self._window_s)}
            if node in kept:
                return ""
            if kept and not forced:
                found = await whole()
                if why := why_not(node, pods, given_up, found, share=self._share, window_s=self._window_s):
                    return why
            account = Account(nodes=kept | {node: pods})
            if await (self._records.update(KEY, account, entry.revision) if entry else self._records.create(KEY, account)):
                self._since[node] = now
                return ""
