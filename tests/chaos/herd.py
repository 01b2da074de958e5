"""Workloads that are tried at once, each in a namespace of its own. They are used again as long as they stand where they
began: to protect anew ones for each row would take longer than the row.
"""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from cells import HARMS
from reprise_lab import counter
from reprise_lab.shell import LabError, poll
from reprise_lab.verdict import Good
from reprise_lab.witness import Witness

NODE = "n1"
SIZE = len(HARMS)
READY_S = 60
BACK_S = 60


class Herd:
    """namespaces: of a counter each, protected and on NODE."""

    def __init__(self) -> None:
        name = secrets.token_hex(3)
        self.namespaces = [f"chaos-{name}-{number}" for number in range(SIZE)]
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(lambda namespace: counter.deploy(namespace, env=counter.LINGERS), self.namespaces))
        self.ready()

    def ready(self) -> None:
        """Returns when each is protected, on NODE, and has a checkpoint that began after this was called. Raises LabError."""
        since = datetime.now(UTC)
        for namespace in self.namespaces:
            counter.wait_protected(namespace, READY_S)
            node = counter.pod(namespace)["spec"]["nodeName"]
            if node != NODE:
                raise LabError(f"the counter in {namespace} is on {node}, not on {NODE}")
        for namespace in self.namespaces:
            counter.ask_checkpoint(namespace)
        for namespace in self.namespaces:
            poll(READY_S, lambda namespace=namespace: self._kept(namespace, since), f"a checkpoint of {namespace}", 0.2)  # type: ignore[misc]

    def remove(self) -> None:
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(lambda namespace: counter.remove(namespace, wait=False), self.namespaces))

    @staticmethod
    def _kept(namespace: str, since: datetime) -> bool:
        rows = counter.console(f"checkpoints?namespace={namespace}&state=stored&limit=1")
        return any(r["held_at"] and r["stored_at"] and datetime.fromisoformat(r["kubelet_started_at"]) > since for r in rows)


class Stall:
    """The herd at hand, if it still stands."""

    def __init__(self) -> None:
        self._herd: Herd | None = None

    def take(self) -> Herd:
        if self._herd:
            try:
                self._herd.ready()
                return self._herd
            except LabError:
                self.clear()
        self._herd = Herd()
        return self._herd

    def clear(self) -> None:
        if self._herd:
            self._herd.remove()
            self._herd = None


def back(witness: Witness, since: float, seconds: float = BACK_S) -> None:
    """Wait until it answers again and goes on doing so. Raises LabError."""
    poll(
        seconds, lambda: time.monotonic() - witness.last().at < 0.5 and witness.last().at > since + 0.5,
        f"an answer in {witness.namespace}", 0.1,
    )  # fmt: skip


def failovers(namespace: str, since: datetime) -> list[dict[str, Any]]:
    """Those declared since then."""
    rows = counter.console(f"failovers?namespace={namespace}")
    return [r for r in rows if datetime.fromisoformat(r["declared_at"] or r["at"]) > since]


def good(namespace: str) -> list[Good]:
    """The good checkpoints, on the witness's clock; not those that were found damaged since, and told as that. One that ended
    before it began is of a row before, in which clocks jumped: nobody knows when it was.
    """
    ahead = time.time() - time.monotonic()
    rows = counter.console(f"checkpoints?namespace={namespace}&limit=100")
    every = [
        Good(*(datetime.fromisoformat(r[moment]).timestamp() - ahead for moment in ("kubelet_started_at", "stored_at")))
        for r in rows
        if r["kubelet_started_at"] and r["stored_at"] and r["state"] != "failed"
    ]
    return [checkpoint for checkpoint in every if checkpoint.began <= checkpoint.told]
