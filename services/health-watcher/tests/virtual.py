"""Virtual time: an event loop that never waits. Where nothing is ready, it is at once as late as the next timer.

looptime turns some 40 times before each step of the clock, for what threads or sockets might still bring. Here there are none,
and a model of a minute steps ten thousand times.
"""

import asyncio
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s. Raises RuntimeError if nothing can happen any more."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector.select = self._skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now_s

    def _skip(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing is to come")
        self._now_s += max(0.0, timeout)
        return []
