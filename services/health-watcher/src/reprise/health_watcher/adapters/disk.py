"""The node's state disk, /var/lib/reprise: it may be full, read-only or hang, and the agent freezes and renews all the same.

One thread of its own does whatever is done there, in order. Who asks waits for WAIT_S at most; from then on, until the disk has
answered, nobody waits for it, and what was known last is told. What is written is kept in memory until the disk has taken it.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from prometheus_client import Gauge
from reprise.health_watcher.adapters.files import write_whole
from reprise.runtime.telemetry import log

WAIT_S = 0.2
"""Once for each time that it hangs. With the guard's own look it stays below decide.BEGIN_S."""
AGAIN_S = 5.0
MOST_KNOWN = 10_000
HANGS = Gauge("reprise_state_disk_hangs", "1 while the node's state disk (/var/lib/reprise) does not answer")
T = TypeVar("T")


class Disk:
    """wait_s: see the module."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hangs: Future[Any] | None = None
        self._known: dict[Hashable, Any] = {}
        self._unwritten: dict[Hashable, Callable[[], None]] = {}
        self._lock = threading.Lock()
        """Of _unwritten; never held while the disk is asked."""
        self._writes: Future[Any] | None = None

    def ask(self, name: Hashable, act: Callable[[], T], otherwise: T) -> T:
        """What act returns. While the disk hangs: what this question was answered last, or else `otherwise`. Raises OSError as
        act does.
        """
        if not self.hangs() and self._answers(job := self._do(act)):
            self._known.pop(name, None)
            self._known[name] = job.result()
            if len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        found: T = self._known.get(name, otherwise)
        return found

    def write(self, path: Path, text: str) -> None:
        """Whole, and sooner or later: the newest counts."""
        self.do(path, lambda: write_whole(path, text))

    def do(self, name: Hashable, act: Callable[[], None]) -> None:
        """Sooner or later, again until it succeeds; what is to be done last under this name counts."""
        with self._lock:
            self._unwritten[name] = act
        self.try_again()

    async def run(self) -> None:
        """What the disk did not take is tried again."""
        while True:
            await asyncio.sleep(AGAIN_S)
            self.try_again()

    def try_again(self) -> None:
        if self._unwritten and not self.hangs() and (self._writes is None or self._writes.done()):
            self._writes = self._do(self._write_all)
            self._answers(self._writes)

    def hangs(self) -> bool:
        if self._hangs and self._hangs.done():
            log().warning("the state disk answers again")
            self._hangs = None
            HANGS.set(0)
        return self._hangs is not None

    def _do(self, act: Callable[[], T]) -> "Future[T]":
        if self._thread is None:  # a daemon: what hangs there does not keep the process from ending
            self._thread = threading.Thread(target=self._work, name="state-disk", daemon=True)
            self._thread.start()
        job: Future[T] = Future()
        self._jobs.put((act, job))
        return job

    def _answers(self, job: "Future[Any]") -> bool:
        try:
            job.exception(self._wait_s)
        except TimeoutError:
            log().error("the state disk hangs: nothing waits for it any more")
            self._hangs = job
            HANGS.set(1)
            return False
        return True

    def _work(self) -> None:
        while True:
            act, job = self._jobs.get()
            try:
                job.set_result(act())
            except BaseException as error:
                job.set_exception(error)

    def _write_all(self) -> None:
        with self._lock:
            left = list(self._unwritten.items())
        for name, act in left:
            try:
                act()
            except OSError as error:
                log().error("the state disk takes no record: it is kept in memory", record=str(name), error=str(error))
                continue
            with self._lock:
                if self._unwritten.get(name) is act:
                    del self._unwritten[name]
