"""One request to the store: let through by the circuit, timed, counted, its error told as ours, tried again where it helps."""

import time
from collections.abc import Callable
from typing import TypeVar

import stamina
from prometheus_client import Counter, Histogram
from reprise.archive.circuit import Circuit
from reprise.archive.s3_errors import Transient, translate
from reprise.contracts.errors import StoreError, StoreUnavailable

REQUESTS = Counter("reprise_store_requests_total", "Requests to the object store", ["operation", "outcome"])
SECONDS = Histogram("reprise_store_request_seconds", "One request to the object store, each try by itself", ["operation"])
WAIT_S = 0.1
WAIT_MAX_S = 3.0
GIVE_UP_S = 60.0
"""Over all tries of one request."""

T = TypeVar("T")


class Calls:
    """The policy for every request to one endpoint. Only what is Transient is tried again and counts against the circuit."""

    def __init__(self, endpoint: str, circuit: Circuit, *, attempts: int = 4) -> None:
        self._endpoint, self.circuit, self._attempts, self._last = endpoint, circuit, attempts, ""

    def run(self, operation: str, key: str, act: Callable[[], T]) -> T:
        """act(), tried again with growing and jittered waits. Raises StoreError."""
        tries = stamina.retry_context(
            on=Transient,
            attempts=self._attempts,
            timeout=GIVE_UP_S,
            wait_initial=WAIT_S,
            wait_max=WAIT_MAX_S,
            wait_jitter=WAIT_S * 5,
        )
        for attempt in tries:
            with attempt:
                if not self.circuit.admits():
                    raise self._open(operation, key)
                return self.once(operation, key, act)
        raise AssertionError("a retry context that neither returned nor raised")

    def once(self, operation: str, key: str, act: Callable[[], T]) -> T:
        """act(), once, even where the circuit is open: what it shows is the news that closes it. Raises StoreError."""
        began, outcome = time.monotonic(), "ok"
        try:
            result = act()
            self.circuit.succeeded()
            return result
        except Exception as error:
            found = error if isinstance(error, StoreError) else translate(error, key=key, endpoint=self._endpoint)
            outcome = found.reason if found else type(error).__name__
            self._judge(found)
            if found is None or found is error:
                raise
            raise found from error
        finally:
            SECONDS.labels(operation).observe(time.monotonic() - began)
            REQUESTS.labels(operation, outcome).inc()

    def _judge(self, error: StoreError | None) -> None:
        """A refusal is an answer; so is a fault of our own, which must not count as the store's."""
        if isinstance(error, Transient):
            self._last = error.message
            self.circuit.failed()
        else:
            self.circuit.succeeded()

    def _open(self, operation: str, key: str) -> StoreUnavailable:
        REQUESTS.labels(operation, "CircuitOpen").inc()
        return StoreUnavailable(
            f"it is not asked: {self._last}; the next try is let through in {self.circuit.retry_in_s:.1f} s",
            subject=key, reason="CircuitOpen", remedy="nothing: it is asked again by itself",
        )  # fmt: skip
