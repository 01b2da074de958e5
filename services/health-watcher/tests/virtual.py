"""Virtual time: an event loop that never waits. Where nothing is ready, it is at once as late as the next timer.

looptime turns some 40 times before each step of the clock, for what threads or sockets might still bring. Here there are none,
and a model of a minute steps ten thousand times.
"""

import asyncio
from contextvars import ContextVar
from typing import Any

ON_NODE: ContextVar[bool] = ContextVar("ON_NODE", default=False)
"""Whether what runs is on the node that may be paused, and stands still with it."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s. Raises RuntimeError if nothing can happen any more."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self.paused: Any = None
        """simulated.Scenario: the timers of what is on its node stand still with that."""
        self._selector.select = self._skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now_s

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if self.paused is not None and ON_NODE.get():
            when = self.paused.due_s(self._now_s, when)
        return super().call_at(when, callback, *args, context=context)

    async def until(self, when: float) -> None:
        """Whatever stands still."""
        reached = asyncio.Event()
        super().call_at(when, reached.set)
        await reached.wait()

    def _skip(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing is to come")
        self._now_s += max(0.0, timeout)
        return []
