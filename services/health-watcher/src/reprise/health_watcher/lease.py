"""The node's lease: renewed each second, and told to the engine in node.json.

A lease that was not renewed for FREEZE_AFTER_S has *lapsed*, also if the next renewal succeeds before anybody noticed. So has
one that the arbiter took away, of which the next renewal learns, whatever this node's clock says of the time between. From then
on no renewal gets into node.json until the reconciler has put every verdict to `wait` and has frozen what runs: reinstate(). A
lease that was taken away is not taken anew before that: an agent that is killed meanwhile leaves the refusal to the next one.
"""

import asyncio
import contextlib
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
from reprise.health_watcher.ports import LeaseTaken, Renewal, ResetTimer
from reprise.runtime.nodefiles import NodeFile, NodeFiles, boottime_s
from reprise.runtime.telemetry import log

SINCE_RENEWAL = Gauge("reprise_lease_age_seconds", "Since the start of the last renewal that succeeded")
FREEZE_SECONDS = Gauge("reprise_freeze_seconds", "The longest that freezing this node's containers took since it booted")
CAN_FREEZE = Gauge("reprise_node_guarded", "1 if this node can freeze its containers, so that it may be given up")
RENEWALS = Counter(
    "reprise_lease_renewals_total",
    "Renewals of the node's lease, by the way that took it; none: neither did; refused: it was taken away",
    ["way"],
)
Way = Literal["kv", "kubernetes", "none", "refused"]
for _way in ("kv", "kubernetes", "none", "refused"):
    RENEWALS.labels(_way)
WRITE_EVERY_S = 1.0


class Lease:
    """One per node. record: a file on tmpfs, for the agent that starts after this one. limitation: why containers cannot be
    frozen for sure; empty if they can. clock: seconds of CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        lease: NodeLease,
        kv: Renewal,
        kubernetes: Renewal,
        files: NodeFiles,
        announcer: Announcer,
        record: Path,
        limitation: Callable[[], str],
        watchdog: ResetTimer,
        clock: Callable[[], float] = boottime_s,
    ) -> None:
        self._lease, self._kv, self._kubernetes, self._files = lease, kv, kubernetes, files
        self._announcer, self._limitation, self._watchdog, self.clock = announcer, limitation, watchdog, clock
        self._record = record
        known = self._load()
        self._renewed_at, self._ever = (known.at_s, True) if known else (clock(), False)
        if known:
            self._lease = lease.model_copy(update={"generation": known.generation})
        self._taken: int | None = None
        """The generation that was taken away, until this node has taken its lease anew."""
        self._all_still = False
        """And everything stands still."""
        self.freeze_s = known.freeze_s if known else 0.0
        """The longest that freezing took since this node booted."""
        self.freeze_failed = ""
        """Why a container could not be frozen, until one can."""
        self._unwritable: dict[str, str] = {}
        """What the engine, or the next agent, could not be told, and why."""
        self._hurry = asyncio.Event()
        """The arbiter must not wait for the next renewal to learn of it."""
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
        """Whether it has run out now, or was taken away, whatever was noticed of it."""
        return self._taken is not None or must_freeze(self.silent_s, ever_renewed=self._ever)

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
        log().warning("this node's lease has run out, or was taken away", silent_s=round(self.silent_s, 2), taken=self._taken)

    def reinstate(self) -> None:
        """Every verdict is `wait` or `refuse` and everything that runs is frozen: if it is renewed, it counts again. If it was
        taken away, it may be taken anew now.
        """
        if self._taken is not None and not self._all_still:
            self._all_still = True
            self._hurry.set()
        if not self.overdue:
            self._lapsed = False
            self._publish()

    def safe(self, *, all_frozen: bool) -> bool:
        """Whether nothing runs here that may run elsewhere soon."""
        return may_pet(self.silent_s, ever_renewed=self._ever, all_frozen=all_frozen) and (all_frozen or self._taken is None)

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
        self._write("node.json cannot be written for the engine", lambda: self._files.write_node(file))

    def _write(self, unless: str, act: Callable[[], None]) -> None:
        """unless: what is told if it fails."""
        try:
            act()
        except OSError as error:
            self.note(unless, str(error))
        else:
            self.note(unless, "")

    def note(self, unless: str, error: str) -> None:
        """What the engine or the next agent has to know could not be written down; error empty: it could. The node is not given
        up from then on: it might not freeze, or its engine might not refuse, once this agent is gone.
        """
        if not error:
            self._unwritable.pop(unless, None)
            return
        if unless not in self._unwritable:
            log().error("this node cannot be given up now", reason=unless, error=error)
            self._hurry.set()
        self._unwritable[unless] = f"{unless}: {error}"

    async def renew_for_ever(self) -> None:
        """Renew by KV; by a Kubernetes Lease as well as soon as KV fails."""
        while True:
            self._hurry.clear()
            started = self.clock()
            limitation = self._limitation() or self.freeze_failed or next(iter(self._unwritable.values()), "")
            self._lease = self._lease.model_copy(
                update={
                    "renewals": self._lease.renewals + 1, "sent_at_s": started,
                    "generation": self._lease.generation if self._taken is None else self._taken + 1,
                    # Not before a renewal is known to have succeeded, in its record too: only then this node freezes for sure.
                    "can_freeze": self._ever and not limitation, "freeze_s": self.freeze_s,
                    "watchdog_s": self._watchdog.armed_s,
                }
            )  # fmt: skip
            way = await self._renew()
            RENEWALS.labels(way).inc()
            if way in ("kv", "kubernetes"):
                self._renewed(started)
            if way != "none":
                self._tell_guarded(limitation)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), max(0.05, RENEW_EVERY_S - (self.clock() - started)))

    def _renewed(self, at_s: float) -> None:
        self._taken, self._all_still = None, False
        self._save(at_s)
        # Nobody may have noticed: the machine stood still, or was busy. It may have been given up meanwhile all the same.
        if self._renewed_here and not self._lapsed and at_s - self._renewed_at >= FREEZE_AFTER_S:
            self._lapse()
        self._renewed_at, self._ever, self._renewed_here = at_s, True, True
        self.tried.set()
        self._publish()

    async def _renew(self) -> Way:
        """By the first way that answers; not while something still runs here though the lease was taken away."""
        if self._taken is not None and not self._all_still:
            return "refused"
        try:
            return await self._ask_both()
        except LeaseTaken as refused:
            self._taken, self._all_still = refused.generation, False
            if not self._lapsed:
                self._lapse()
            self.tried.set()
            return "refused"

    async def _ask_both(self) -> Way:
        """Raises LeaseTaken."""
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
        except LeaseTaken:
            raise
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
            known = Renewed.model_validate_json(self._record.read_text())
        except (OSError, ValueError):
            return None
        return known if known.boot_id == self._lease.boot_id else None

    def _save(self, at_s: float) -> None:
        renewed = Renewed(
            boot_id=self._lease.boot_id, at_s=at_s, freeze_s=self.freeze_s, generation=self._lease.generation
        )  # fmt: skip
        record = renewed.model_dump_json()
        self._write("its last renewal cannot be written down for the next agent", lambda: write_whole(self._record, record))
