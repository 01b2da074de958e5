"""What the engine did at each start on this node: told as records in KV and, of restores, as events."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nats.errors import Error as NatsError
from reprise.contracts.events import ContainerRestored
from reprise.contracts.model import RestoreStats, Target
from reprise.contracts.records import StartRecord
from reprise.health_watcher.announce import Announcer
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.kv import Bucket, key
from reprise.runtime.nodefiles import NodeFiles, StartFile
from reprise.runtime.telemetry import log

LOOK_S = 0.05
FRESH_NS = 1_000_000_000
REFUSED_KEPT_NS = 300 * 1_000_000_000
KNOWN_S = 120.0
"""For so long its workload is looked for: a shadow is its workload's only once that has adopted it."""
RECORDS_TTL_S = 86400.0


class Starts:
    """node: this one's name."""

    def __init__(
        self, node: str, files: NodeFiles, pods: ProtectedPods, records: Bucket[StartRecord], announcer: Announcer
    ) -> None:
        self._node, self._files, self._pods, self._records, self._announcer = node, files, pods, records, announcer
        self._seen: dict[str, int] = {}
        self._folder_changed_ns = 0
        """As it was when it was read last."""
        self._known: dict[str, StartFile] = {}
        self._untold: dict[str, tuple[StartFile, float]] = {}
        """Restores of which no event was told yet, since when."""
        self._unwritten: dict[str, StartFile] = {}

    def of(self, container_id: str) -> StartFile | None:
        """How it was started; None: not by the engine, or not as a protected one."""
        if container_id and container_id not in self._known and (found := self._files.read_start(container_id)):
            self._known[container_id] = found
        return self._known.get(container_id)

    def forget(self, there: Callable[[str], bool]) -> None:
        """Drop the containers that the runtime no longer has, and the files of refused starts among them. A runtime does not
        delete a container whose `create` failed, and the kubelet retries under a new id, so those files would pile up.
        """
        for name, written_ns in list(self._seen.items()):
            if time.time_ns() - written_ns > REFUSED_KEPT_NS and not there(name):
                with suppress(OSError):
                    self._files.remove_start(name)
        self._known = {name: start for name, start in self._known.items() if name in self._seen or there(name)}

    def settle(self, start: StartFile) -> None:
        """What came of one that was open. Raises OSError."""
        self._files.rewrite_start(start)
        self.look()

    async def run(self) -> None:
        while True:
            self.look()
            await self._write_records()
            self._tell_restores()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Read the files that are new or were written again: each is renamed into place, which the folder's own time tells."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except OSError:
            return
        # Two changes within one tick of the file system's clock look like one: what is fresh is read once more.
        if changed_ns == self._folder_changed_ns and time.time_ns() - changed_ns > FRESH_NS:
            return
        self._folder_changed_ns = changed_ns
        found = self._written()
        for name, written_ns in found.items():
            if self._seen.get(name) != written_ns and (start := self._files.read_start(name)):
                self._known[name] = self._unwritten[name] = start
                if start.is_open:
                    continue  # its state is being handed back (handing.py)
                log().info("container started by the engine", pod=start.pod, container=start.container, outcome=start.outcome,
                           checkpoint=start.checkpoint_id, took_s=start.took_s, reason=start.reason)  # fmt: skip
                if start.outcome == "restored":
                    self._untold[name] = (start, time.monotonic())
        self._seen = found

    @property
    def _folder(self) -> Path:
        return self._files.root / "starts"

    def _written(self) -> dict[str, int]:
        """When each was, by the name of its container."""
        found: dict[str, int] = {}
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    with suppress(OSError):
                        found[entry.name.removesuffix(".json")] = entry.stat().st_mtime_ns
        return found

    async def _write_records(self) -> None:
        """Until NATS has them: whoever waits for a start looks there."""
        for container_id, start in list(self._unwritten.items()):
            record = StartRecord(
                container_id=container_id, pod_uid=start.pod_uid, container=start.container,
                outcome="starting" if start.is_open else start.outcome,
                checkpoint_id=start.checkpoint_id, frozen=start.frozen, reason=start.reason,
            )  # fmt: skip
            try:
                async with asyncio.timeout(2):
                    await self._records.put(key(container_id), record)
            except (NatsError, OSError, TimeoutError) as error:
                log().debug("a start is not told yet", error=repr(error))
                return
            if self._unwritten.get(container_id) is start:
                del self._unwritten[container_id]

    def _tell_restores(self) -> None:
        for container_id, (start, since) in list(self._untold.items()):
            if event := self._event(start):
                self._announcer.announce(event, f"restored-{container_id}")
            if event or time.monotonic() - since > KNOWN_S:
                del self._untold[container_id]

    def _event(self, start: StartFile) -> ContainerRestored | None:
        """None: whose it is, is not known."""
        pod = self._pods.pods.get(start.pod_uid)
        if pod is None:
            return None
        target = Target(
            node=self._node, pod=pod.name, pod_uid=pod.uid, container=start.container, container_id=start.container_id
        )
        return ContainerRestored(
            at=start.moment, node=self._node, workload=pod.workload, target=target, stats=start.criu or RestoreStats(),
            checkpoint_id=start.checkpoint_id, took_s=start.took_s, frozen=start.frozen, kind=start.kind,
        )  # fmt: skip
