"""The node's lease: renewed each second, and told to the engine in node.json.

A lease that was not renewed for FREEZE_AFTER_S has *lapsed*, also if the next renewal succeeds before anybody noticed. From then
on no renewal gets into node.json until the reconciler has put every verdict to `wait` and has frozen what runs: reinstate().
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge
from reprise.contracts.events import NodeGuarded, NodeUnguarded, node_subject
from reprise.health_watcher.adapters.files import write_whole
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.decide import FREEZE_AFTER_S, RENEW_EVERY_S, lost_after_s, may_pet, must_freeze, patience_s
from reprise.health_watcher.model import NodeLease, Renewed
from reprise.health_watcher.ports import Renewal, ResetTimer
from reprise.runtime.nodefiles import NodeFile, NodeFiles, boottime_s
from reprise.runtime.telemetry import log

SINCE_RENEWAL = Gauge("reprise_lease_age_seconds", "Since the start of the last renewal that succeeded")
FREEZE_SECONDS = Gauge("reprise_freeze_seconds", "The longest that freezing this node's containers took since it booted")
CAN_FREEZE = Gauge("reprise_node_guarded", "1 if this node can freeze its containers, so that it may be given up")
RENEWALS = Counter(
    "reprise_lease_renewals_total", "Renewals of the node's lease, by the way that took it; none: neither did", ["way"]
)
for _way in ("kv", "kubernetes", "none"):
    RENEWALS.labels(_way)
WRITE_EVERY_S = 1.0


class Lease:
    """One per node. limitation: why containers cannot be frozen; empty if they can. clock: seconds of CLOCK_BOOTTIME."""

    def __init__(
        self,
        lease: NodeLease,
        kv: Renewal,
        kubernetes: Renewal,
        files: NodeFiles,
        announcer: Announcer,
        state_dir: Path,
        limitation: Callable[[], str],
        watchdog: ResetTimer,
        clock: Callable[[], float] = boottime_s,
    ) -> None:
        self._lease, self._kv, self._kubernetes, self._files = lease, kv, kubernetes, files
        self._announcer, self._limitation, self._watchdog, self.clock = announcer, limitation, watchdog, clock
        self._renewed_file = state_dir / "renewed.json"
        known = self._load()
        self._renewed_at, self._ever = (known.at_s, True) if known else (clock(), False)
        self.freeze_s = known.freeze_s if known else 0.0
        """The longest that freezing took since this node booted."""
        self.freeze_failed = ""
        """Why a container could not be frozen, until one can."""
        self._unwritable = ""
        self._told: str | None = None
        """What was told of why this node cannot freeze; None: nothing yet."""
        self.tried = asyncio.Event()
        """This agent renewed, or tried for long enough."""
        self._renewed_here = self._lapsed = False
        self.epoch = 0
        """Grows with each lapse: what was asked in an earlier one does not count."""
        self._published: float | None = self._renewed_at if known else None
        before = files.read_node()
        self._may_be_told = before is not None and before.boot_id == lease.boot_id

    @property
    def node(self) -> str:
        return self._lease.node

    @property
    def instance(self) -> str:
        """Names a moment of this lease, for events."""
        return f"{self._lease.boot_id}-{self._lease.renewals}"

    @property
    def silent_s(self) -> float:
        """Since the start of the last renewal that succeeded."""
        return self.clock() - self._renewed_at

    @property
    def overdue(self) -> bool:
        """Whether it has run out now, whatever was noticed of it."""
        return must_freeze(self.silent_s, ever_renewed=self._ever)

    @property
    def held(self) -> bool:
        return self._ever and not self.lapsed()

    def lapsed(self) -> bool:
        """Whether it has run out and was not reinstated since. Not before this agent has tried to renew it."""
        if self.tried.is_set() and not self._lapsed and self.overdue:
            self._lapse()
        return self._lapsed

    def _lapse(self) -> None:
        self._lapsed = True
        self.epoch += 1
        log().warning("this node's lease has run out", silent_s=round(self.silent_s, 2))

    def reinstate(self) -> None:
        """Every verdict is `wait` or `refuse` and everything that runs is frozen: if it is renewed, it counts again."""
        if not self.overdue:
            self._lapsed = False
            self._publish()

    def safe(self, *, all_frozen: bool) -> bool:
        """Whether nothing runs here that may run elsewhere soon."""
        return may_pet(self.silent_s, ever_renewed=self._ever, all_frozen=all_frozen)

    def froze(self, took_s: float) -> None:
        self.freeze_s = max(self.freeze_s, took_s)
        FREEZE_SECONDS.set(self.freeze_s)

    async def wait_to_freeze(self) -> None:
        """An agent that was away does not freeze what runs well if it can renew soon."""
        patience = patience_s(self.silent_s, ever_renewed=self._ever, freeze_s=self.freeze_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.tried.wait(), patience)
        self.tried.set()

    async def write_for_ever(self) -> None:
        """node.json, whatever NATS and the API server do. Until this agent tried to renew, its predecessor's file stands."""
        await self.tried.wait()
        while True:
            self._publish()
            SINCE_RENEWAL.set(self.silent_s)
            await asyncio.sleep(WRITE_EVERY_S)

    def may_be_told(self) -> None:
        """Every pod has its file. Before that, after a boot, the engine must not take this agent for one that is alive: it would
        restore a pod that has no file, and which may run elsewhere by now.
        """
        self._may_be_told = True

    def _publish(self) -> None:
        if not self._may_be_told:
            return
        if self._ever and not self.lapsed():
            self._published = self._renewed_at
        file = NodeFile(
            node=self._lease.node, boot_id=self._lease.boot_id, ttl_s=FREEZE_AFTER_S, renewed_at_s=self._published,
            heartbeat_at_s=self.clock(),
        )  # fmt: skip
        try:
            self._files.write_node(file)
            self._unwritable = ""
        except OSError as error:
            if not self._unwritable:
                log().error("the engine cannot be told of the lease: this node is not given up", error=str(error))
            self._unwritable = f"node.json cannot be written for the engine: {error}"

    async def renew_for_ever(self) -> None:
        """Renew by KV; by a Kubernetes Lease as well as soon as KV fails."""
        while True:
            started, limitation = self.clock(), self._limitation() or self.freeze_failed or self._unwritable
            self._lease = self._lease.model_copy(
                update={
                    "renewals": self._lease.renewals + 1, "sent_at_s": time.monotonic(),
                    # Not before a renewal is known to have succeeded, on disk too: only then this node freezes for sure.
                    "can_freeze": self._ever and not limitation, "freeze_s": self.freeze_s,
                    "watchdog_s": self._watchdog.armed_s,
                }
            )  # fmt: skip
            way = await self._renew()
            RENEWALS.labels(way).inc()
            if way != "none":
                self._renewed(started)
                self._tell_guarded(limitation)
            await asyncio.sleep(max(0.05, RENEW_EVERY_S - (self.clock() - started)))

    def _renewed(self, at_s: float) -> None:
        self._save(at_s)
        # Nobody may have noticed: the machine stood still, or was busy. It may have been given up meanwhile all the same.
        if self._renewed_here and not self._lapsed and at_s - self._renewed_at >= FREEZE_AFTER_S:
            self._lapse()
        self._renewed_at, self._ever, self._renewed_here = at_s, True, True
        self.tried.set()
        self._publish()

    async def _renew(self) -> Literal["kv", "kubernetes", "none"]:
        try:
            async with asyncio.timeout(0.8):
                await self._kv.renew(self._lease)
            return "kv"
        except (NatsError, OSError, TimeoutError):
            pass
        try:
            async with asyncio.timeout(0.8):
                await self._kubernetes.renew(self._lease)
            return "kubernetes"
        except Exception as error:
            log().debug("neither KV nor the API server takes the lease", error=repr(error))
            return "none"

    def _tell_guarded(self, limitation: str) -> None:
        """Once when the agent starts, and whenever it changes."""
        CAN_FREEZE.set(not limitation)
        if limitation == self._told:
            return
        self._told = limitation
        node = self._lease.node
        told: NodeGuarded | NodeUnguarded
        if limitation:
            log().error("this node cannot freeze containers: it is never given up", reason=limitation)
            told = NodeUnguarded(node=node, workload=node_subject(node), detail=limitation)
        else:
            after_s = lost_after_s(self.freeze_s, self._watchdog.armed_s)
            after = f"it freezes when it is cut off, and may be given up {after_s:.1f} s after its last renewal"
            told = NodeGuarded(node=node, workload=node_subject(node), detail=after, freeze_s=self.freeze_s)
        self._announcer.announce(told, f"guard-{node}-{self._lease.boot_id}-{told.at.timestamp()}")

    def _load(self) -> Renewed | None:
        """When the lease was renewed last, if that was in this boot."""
        try:
            known = Renewed.model_validate_json(self._renewed_file.read_text())
        except (OSError, ValueError):
            return None
        return known if known.boot_id == self._lease.boot_id else None

    def _save(self, at_s: float) -> None:
        write_whole(self._renewed_file, Renewed(boot_id=self._lease.boot_id, at_s=at_s, freeze_s=self.freeze_s).model_dump_json())
