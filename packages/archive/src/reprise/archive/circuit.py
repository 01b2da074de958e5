"""A circuit breaker: after repeated failures callers fail at once, and one trial at a time finds out when it is over."""

import threading
import time
from collections.abc import Callable

from prometheus_client import Enum

STATE = Enum("reprise_store_circuit", "Whether requests to the store are let through", states=["closed", "half-open", "open"])


class Circuit:
    """closed -(failures in a row)-> open -(a while)-> half-open -(trial succeeds)-> closed, or -(fails)-> open, for longer.

    A trial that never reports does not wedge it: after another while the next caller becomes the trial.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        open_s: float = 1.0,
        open_max_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures, self._open_s, self._open_max_s, self._clock = failures, open_s, open_max_s, clock
        self._lock = threading.Lock()
        self._in_a_row, self._wait_s, self._until, self._state = 0, open_s, 0.0, "closed"

    @property
    def state(self) -> str:
        return self._state

    @property
    def retry_in_s(self) -> float:
        """Until the next trial is let through; 0 if there is nothing to wait for."""
        return 0.0 if self._state == "closed" else max(0.0, self._until - self._clock())

    def admits(self) -> bool:
        """Whether a request may go now. One that is let through must be followed by succeeded() or failed()."""
        with self._lock:
            if self._state == "closed":
                return True
            if self._clock() < self._until:
                return False
            self._enter("half-open")
            self._until = self._clock() + self._wait_s
            return True

    def succeeded(self) -> None:
        """The store answered, whatever it said."""
        with self._lock:
            self._in_a_row, self._wait_s = 0, self._open_s
            self._enter("closed")

    def failed(self) -> None:
        with self._lock:
            self._in_a_row += 1
            if self._state == "open":  # one that was under way when it opened tells nothing new
                return
            if self._state == "half-open":
                self._wait_s = min(self._wait_s * 2, self._open_max_s)
            if self._state == "half-open" or self._in_a_row >= self._failures:
                self._until = self._clock() + self._wait_s
                self._enter("open")

    def _enter(self, state: str) -> None:
        self._state = state
        STATE.state(state)
