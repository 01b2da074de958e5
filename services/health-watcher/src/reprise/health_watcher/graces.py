"""Which containers are within the grace of their own spec (rules/grace.py): who stood still, and until when, is noted here."""

import asyncio
import time
from collections.abc import Callable

from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.rules.grace import grace_left_s, is_asked
from reprise.runtime.kube import ProtectedContainer

LOOK_S = 0.2
KNOWN_S = 86400.0


class Graces:
    """wall: the node's wall clock, by which its kubelet counts, and says when a container was started."""

    def __init__(self, ledger: Ledger, wall: Callable[[], float] = time.time) -> None:
        self._ledger, self._wall = ledger, wall
        self._stood_at: dict[str, float] = {}
        """When each was last seen to stand still, by the loop's clock."""

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for container_id in (*self._ledger.frozen, *(held.container_id for held in self._ledger.held.values())):
            self._stood_at[container_id] = now_s
        self._stood_at = {name: at for name, at in self._stood_at.items() if now_s - at < KNOWN_S}

    def left_s(self, container: ProtectedContainer) -> float:
        return grace_left_s(container, *self._since(container))

    def is_asked(self, container: ProtectedContainer) -> bool:
        """Whether its livenessProbe counts now."""
        return is_asked(container, *self._since(container))

    def _since(self, container: ProtectedContainer) -> tuple[float, float | None]:
        started_s = self._wall() - container.started_at.timestamp() if container.started_at else 0.0
        stood_at = self._stood_at.get(container.container_id)
        return started_s, asyncio.get_running_loop().time() - stood_at if stood_at is not None else None
