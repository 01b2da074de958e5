"""A witness outside the cluster: it asks every address that could answer for an app, over and over, and trusts nothing else.

The app stamps each answer with its run id (a new one at each blank start) and its count.
"""

import http.client
import itertools
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from reprise_lab import listing
from reprise_lab.shell import LabError, poll

ASK_EVERY_S = 0.03
MEASURES_S = 0.01
"""What measures silences of a tenth of a second asks more often; it costs the machine a tenth of a core each."""
SCOUT_EVERY_S = 0.15
TIMEOUT_S = 0.1
PORT = 8080


@dataclass(frozen=True)
class Answer:
    """One answer: when it came (monotonic seconds), from which address, and what it said."""

    at: float
    address: str
    run: str
    count: int


def ask(address: str, path: str = "/state", method: str = "GET", timeout_s: float = TIMEOUT_S) -> dict[str, object] | None:
    """One request; None if there is no good answer. A short time-out: one lost packet must not cost a second."""
    connection = http.client.HTTPConnection(address, PORT, timeout=timeout_s)
    try:
        connection.request(method, path)
        return dict(json.loads(connection.getresponse().read()))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


class Scout:
    """Where pods are, asked once for all witnesses: twenty that each list their own keep the API server from everything else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, list[dict[str, Any]]]] = {}

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """As they were at most SCOUT_EVERY_S ago; the last that were seen, while the API server is away."""
        with self._lock:
            at, found = self._seen.get(selector, (-SCOUT_EVERY_S, []))
            if time.monotonic() - at >= SCOUT_EVERY_S:
                with suppress(LabError, ValueError):  # ValueError: an answer that was cut off
                    found = list(listing.get("/api/v1/pods", labelSelector=selector)["items"])
                self._seen[selector] = (time.monotonic(), found)
        return [pod for pod in found if pod["metadata"]["namespace"] == namespace]


SCOUT = Scout()


@dataclass
class Witness:
    """Use as a context manager; `history` grows while it runs. every_s: between two questions to an address. service: the address
    of a Service, which is asked instead of the pods: what its users see.
    """

    namespace: str
    selector: str = "app=counter"
    every_s: float = ASK_EVERY_S
    service: str = ""
    history: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def __enter__(self) -> "Witness":
        self._look()
        self._scout = threading.Thread(target=self._scout_for_ever, daemon=True)
        self._scout.start()
        poll(10, lambda: bool(self.history), f"an answer in {self.namespace}", 0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in [self._scout, *self._threads.values()]:
            thread.join(5)

    def _scout_for_ever(self) -> None:
        while not self._stop.wait(SCOUT_EVERY_S):
            self._look()

    def _look(self) -> None:
        found = SCOUT.pods(self.namespace, self.selector) if not self.service else []
        for address in [self.service] if self.service else [pod["status"].get("podIP") for pod in found]:
            if address and address not in self._threads:
                self._threads[address] = threading.Thread(target=self._ask_for_ever, args=(address,), daemon=True)
                self._threads[address].start()

    def _ask_for_ever(self, address: str) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            said = ask(address)
            if said and "run" in said:
                self.history.append(Answer(time.monotonic(), address, str(said["run"]), int(str(said["count"]))))
            time.sleep(max(0.0, self.every_s - (time.monotonic() - began)))

    def last(self) -> Answer:
        if not self.history:
            raise LabError(f"nothing in {self.namespace} has answered")
        return self.history[-1]

    def wait(self, run: str, since: float, seconds: float) -> Answer:
        """The first answer of that run after `since`. Raises LabError if none comes in time."""
        end = time.monotonic() + seconds
        seen = 0
        while time.monotonic() < end:
            found = self.history
            for answer in found[seen:]:
                if answer.at > since and answer.run == run:
                    return answer
            seen = len(found)
            time.sleep(0.005)
        raise LabError(f"run {run} did not answer within {seconds:g} s")

    def after_gap(self, run: str, since: float, seconds: float, gap_s: float = 0.25) -> Answer:
        """The first answer of that run after a silence of gap_s, whoever else answered meanwhile: one that was on its way at the
        fault does not count.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for earlier, later in itertools.pairwise(answer for answer in self.history[-6000:] if answer.run == run):
                if later.at - earlier.at > gap_s and later.at > since:
                    return later
            time.sleep(0.01)
        raise LabError(f"run {run} did not come back within {seconds:g} s")

    def runs(self, since: float = 0.0) -> set[str]:
        """Every run id that answered after `since`."""
        return {answer.run for answer in self.history if answer.at > since}

    def answers(self, since: float) -> list[Answer]:
        """In the order in which they came, whoever gave them."""
        return sorted((answer for answer in self.history if answer.at > since), key=lambda answer: answer.at)

    def lost_increments(self, since: float) -> int:
        """The most that the count ever went back by; negative if it only grew."""
        return max((earlier.count - later.count for earlier, later in itertools.pairwise(self.answers(since))), default=0)

    def longest_silence_s(self, since: float) -> float:
        return max((later.at - earlier.at for earlier, later in itertools.pairwise(self.answers(since))), default=0.0)

    def overlaps(self, since: float) -> bool:
        """Whether an address answered again after another one had."""
        order = [address for address, _ in itertools.groupby(answer.address for answer in self.answers(since))]
        return len(order) != len(set(order))
