"""The node's agent, put together from what it needs from outside: main.py gives it the real things, testing.py some in memory."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kubernetes.aio import client
from reprise.contracts.records import UNREADABLE_HOLD, Fence, HoldRecord, ResumeRecord, StartRecord
from reprise.health_watcher.adapters.disk import Disk
from reprise.health_watcher.adapters.files import bring
from reprise.health_watcher.adapters.marks import FreezingMarks
from reprise.health_watcher.adapters.slots import Slots
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.cold_starts import ColdStarts
from reprise.health_watcher.containers import Containers
from reprise.health_watcher.declarations import Declarations
from reprise.health_watcher.elsewhere import Elsewhere
from reprise.health_watcher.ends import Ends
from reprise.health_watcher.fences import Fences
from reprise.health_watcher.gates import Gates
from reprise.health_watcher.handing import Handing
from reprise.health_watcher.handlers import Handlers
from reprise.health_watcher.history import History
from reprise.health_watcher.holds import Holds
from reprise.health_watcher.how_it_ended import HowItEnded
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.lease import Lease
from reprise.health_watcher.leaving import Leaving
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.model import NodeLease
from reprise.health_watcher.next_steps import NextSteps
from reprise.health_watcher.ports import Accesses, Exits, Freezer, Logs, PodLookup, Renewal, ResetTimer, Runtime
from reprise.health_watcher.reconciler import Reconciler
from reprise.health_watcher.remembering import Remembering
from reprise.health_watcher.removals import Removals
from reprise.health_watcher.resumes import Resumes
from reprise.health_watcher.starts import RECORDS_TTL_S, Starts
from reprise.health_watcher.verdicts import Verdicts
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder, ProtectedPods
from reprise.runtime.kv import Bucket
from reprise.runtime.nodefiles import NodeFiles, boottime_s


@dataclass(frozen=True)
class Outside:
    """run_dir, state_dir: the node's /run/reprise and /var/lib/reprise. clock: seconds of CLOCK_BOOTTIME."""

    lease: NodeLease
    bus: Bus
    kv: Renewal
    kubernetes: Renewal
    lookup: PodLookup
    pods: ProtectedPods
    runtime: Runtime
    freezer: Freezer
    watchdog: ResetTimer
    exits: Exits
    logs: Logs
    recorder: EventRecorder
    api: client.ApiClient
    accesses: Accesses
    run_dir: Path
    state_dir: Path
    clock: Callable[[], float] = boottime_s
    disk: Disk = field(default_factory=Disk)


class Agent:
    """Its parts, by name."""

    def __init__(self, outside: Outside) -> None:
        o, bus = outside, outside.bus
        self.announcer = Announcer(bus)
        self.disk = o.disk
        self.files, self.marks, self.slots = NodeFiles(o.run_dir), FreezingMarks(o.run_dir), Slots(o.state_dir / "slots", o.disk)
        records = o.run_dir / "agent"
        with contextlib.suppress(OSError):
            o.disk.ask("bring", lambda: bring(("renewed.json", "frozen.json"), o.state_dir, records), None)
        self.ledger = Ledger(records / "frozen.json", o.state_dir / "released", o.disk)
        self.history, self.cold = History(o.state_dir / "ends.json", o.disk), ColdStarts(o.state_dir / "cold.json", o.disk)
        self.lease = Lease(
            o.lease, o.kv, o.kubernetes, self.files, self.announcer, records / "renewed.json",
            lambda: o.freezer.limitation() or self.ledger.unwritable, o.watchdog, o.clock,
        )  # fmt: skip
        starts = Bucket(bus, "starts", StartRecord, ttl_s=RECORDS_TTL_S)
        self.starts = Starts(o.lease.node, self.files, o.pods, starts, self.announcer)
        self.fences = Fences(Bucket(bus, "fences", Fence), o.lookup, self.lease, self.ledger)
        self.resumes = Resumes(Bucket(bus, "resumes", ResumeRecord), o.clock, self.fences.changed)
        self.verdicts = Verdicts(
            self.files, o.pods, self.slots, self.starts, self.history, self.lease, self.ledger, self.fences, self.resumes,
            self.cold,
        )  # fmt: skip
        self.reconciler = Reconciler(
            self.lease, self.ledger, self.fences, self.verdicts, o.freezer, self.marks, o.runtime, self.announcer
        )  # fmt: skip
        holds = Bucket(bus, "holds", HoldRecord, instead=UNREADABLE_HOLD)
        self.elsewhere = Elsewhere(bus, holds, self.ledger, self.fences, self.reconciler, self.lease)
        self.hung = Hung()
        self.next_steps = NextSteps(o.pods, self.starts, self.hung, o.clock)
        self.declarations = Declarations(self.announcer, self.slots, self.starts, self.history, self.hung)
        self.leaving = Leaving(self.next_steps, self.elsewhere, self.declarations, self.hung, self.cold)
        remembering = Remembering(
            self.history, self.cold, self.starts, self.slots, self.next_steps, self.hung, o.recorder, self.reconciler.refresh
        )  # fmt: skip
        self.ends = Ends(
            o.pods, HowItEnded(o.runtime, o.logs), self.history, remembering, Removals(o.runtime), self.leaving,
            self.declarations, self.hung, self.fences, self.announcer, o.recorder,
        )  # fmt: skip
        self.gates = Gates(o.api, o.pods, self.starts, self.cold)
        # What may not run is frozen first, then nobody is sent there any more, then what ended is told of.
        self.containers = Containers(o.runtime, o.exits, (self.reconciler, self.gates, self.ends))
        self.holds = Holds(bus, holds, self.ledger, self.fences, self.verdicts, self.reconciler, self.lease)
        self.handing = Handing(
            self.verdicts, self.starts, self.slots, o.pods, o.accesses, o.recorder, o.runtime, self.containers.wake,
            self.ends.expect,
        )  # fmt: skip
        self.handlers = Handlers(o.runtime, self.ledger, self.cold, self.reconciler, self.ends, self.gates.look_again)
        o.pods.on_any(self.reconciler.wake)
