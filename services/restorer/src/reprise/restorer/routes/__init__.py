"""The ways of bringing a workload back. Each has its own steps, in order, and says how what it did is undone."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from reprise.restorer.model import Saga

Step = Callable[[Saga], Awaitable[Saga]]
"""Idempotent: whoever is killed within it, another replica does it again. Returns the record with the step after it."""


class Route(Protocol):
    """Raises Abandon, from any step, if the attempt cannot go on."""

    steps: Mapping[str, Step]

    async def undo(self, saga: Saga) -> None:
        """Nothing that this attempt started is left, and what it held up goes on."""
        ...
