"""How a container ended: what the runtime knows of it, and the end of its log."""

import asyncio
import time
from dataclasses import dataclass

from reprise.health_watcher.model import Subject
from reprise.health_watcher.ports import Ended, Logs, Runtime
from reprise.runtime.cri import CriError, Status
from reprise.runtime.cri.client import State
from reprise.runtime.kube import ProtectedPod
from reprise.runtime.telemetry import log

KNOWN_S, LOOK_S = 2.0, 0.02
"""For so long the runtime is asked how it ended: an exit file tells before the runtime knows."""
LOG_LOOK_S, LOG_SAME, LOG_LOOKS = 0.05, 2, 10
"""A log's end is read again until it was the same so often; not more often than so."""
SIGKILL_CODE = 137


@dataclass(frozen=True)
class End:
    """One that ended, with all that is known of it. expected: it was ended here, to be restored."""

    ended: Ended
    pod: ProtectedPod
    subject: Subject
    status: Status
    expected: bool

    @property
    def lived_s(self) -> float | None:
        """None: nobody knows when it began."""
        if self.ended.lived_s is not None:
            return self.ended.lived_s
        began_ns = self.status.started_at_ns
        return max(0.0, (self.status.finished_at_ns - began_ns) / 1e9) if began_ns else None


class HowItEnded:
    """Asks."""

    def __init__(self, runtime: Runtime, logs: Logs) -> None:
        self._runtime, self._logs = runtime, logs

    async def status(self, container_id: str) -> Status:
        """Return the status once the runtime reports the end. Its state after KNOWN_S: `running` if the runtime
        still does not, `unknown` if it cannot be asked.
        """
        state: State = "unknown"
        for _ in range(round(KNOWN_S / LOOK_S)):
            try:
                found = await self._runtime.status(container_id)
            except CriError as error:
                log().debug("it is not known how it ended", id=container_id[:12], error=str(error))
                state = "unknown"
                break
            state = found.state
            if found.state == "exited":
                return found
            await asyncio.sleep(LOOK_S)
        return Status(state, SIGKILL_CODE, "Unknown", 0, time.time_ns(), "")

    async def tail(self, path: str) -> str:
        """Once it stays as it is: the runtime writes what the process said last a little after it has told of the end."""
        tail, same = await asyncio.to_thread(self._logs.tail, path), 0
        for _ in range(LOG_LOOKS):
            await asyncio.sleep(LOG_LOOK_S)
            before, tail = tail, await asyncio.to_thread(self._logs.tail, path)
            same = same + 1 if tail == before else 0
            if same == LOG_SAME:
                break
        return tail
