"""How the engines started protected containers, as their nodes' agents told in KV. Followed: nobody polls for it."""

from dataclasses import dataclass

from reprise.contracts.records import StartRecord
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key
from reprise.runtime.unreadable import UnreadableRecord

QUIET_S = 30.0
REMEMBERED = 10_000
TTL_S = 86400.0
"""As health-watcher makes the bucket: whoever is first does."""


@dataclass(frozen=True)
class Start:
    """One record, and its place in the order in which they were first written: the bucket's epoch, and the revision there."""

    record: StartRecord
    order: tuple[int, int]


class Starts:
    """By container id. What was removed meanwhile is remembered: it tells what came before and after it."""

    def __init__(self, bus: Bus) -> None:
        self.bucket = Bucket(bus, "starts", StartRecord, ttl_s=TTL_S)
        self._known: dict[str, Start] = {}
        self._watched = (0, 0)
        """The epoch and revision that the watch has come to."""

    async def run(self) -> None:
        """Follow the bucket until cancelled."""
        async for change in self.bucket.watch(QUIET_S):
            if change.value is not None:
                epoch, revision = self._watched
                new = change.value.container_id not in self._known
                # Revisions only grow, but for a NATS that lost its data: then they begin anew, and so does an epoch of ours. A
                # watch that starts over repeats what is known.
                self._watched = (epoch + 1 if new and change.revision <= revision else epoch, change.revision)
                self._note(change.value, self._watched)

    def of(self, pod_uid: str, container: str) -> StartRecord | None:
        """The newest of this pod's container."""
        return self.after(pod_uid, container, "")

    def after(self, pod_uid: str, container: str, container_id: str) -> StartRecord | None:
        """The newest that came after that container's; whichever is the newest other one if that one's is not known."""
        before = self._known.get(container_id)
        since = before.order if before else (0, 0)
        found = [
            start for start in self._known.values()
            if (start.record.pod_uid, start.record.container) == (pod_uid, container)
            and start.record.container_id != container_id and start.order > since
        ]  # fmt: skip
        return max(found, key=lambda start: start.order).record if found else None

    def knows(self, container_id: str) -> bool:
        return container_id in self._known

    async def ask(self, container_id: str) -> StartRecord | None:
        """Of one container, past the watch; None too if its record cannot be read. Raises nats.errors.Error or TimeoutError while
        NATS is away.
        """
        try:
            entry = await self.bucket.get(key(container_id)) if container_id else None
        except UnreadableRecord:
            return None
        epoch, watched = self._watched
        if entry and (container_id in self._known or entry.revision > watched):
            self._note(entry.value, (epoch, entry.revision))
        return entry.value if entry else None

    def _note(self, record: StartRecord, order: tuple[int, int]) -> None:
        """The first writing counts for the order: a record may be written again once its container was let run."""
        before = self._known.get(record.container_id)
        if before is None and len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[record.container_id] = Start(record, before.order if before else order)
