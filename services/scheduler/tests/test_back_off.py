"""What fails of a cause that lasts is tried ever less often, and told once: each try is a pause of the app for nothing (I6)."""

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.annotations import CHECKPOINT_NOW, parse
from reprise.contracts.causes import LASTING
from reprise.contracts.events import CheckpointDue, CheckpointFailed, CheckpointStored
from reprise.contracts.model import CriuStats, Workload
from reprise.contracts.records import Newest
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer
from reprise.scheduler.decide import BACK_OFF_MOST_S, back_off_s, counted, held_off_s
from reprise.scheduler.handlers import Handlers
from reprise.scheduler.model import Harm
from reprise.scheduler.timers import Timers

NOW = 1_790_000_000.0
INTERVAL_S = 10.0
NONE = Harm(pod_uid="u1", container="c")
WORKLOAD = Workload(namespace="default", name="watcher")


@given(st.integers(0, 10_000), st.floats(1, 7 * 86400))
def test_it_never_waits_less_than_its_interval_nor_more_than_an_hour_or_that(failures: int, interval_s: float) -> None:
    waits = [back_off_s(number, interval_s) for number in (failures, failures + 1)]
    assert waits == sorted(waits)
    assert all(interval_s <= wait_s <= max(interval_s, BACK_OFF_MOST_S) for wait_s in waits)


@given(st.lists(st.sampled_from(["", "IoUring", "Inotify", "CriuFailed", "UnhealthyAfter", "KubeletTimeout"]), max_size=12))
def test_only_the_same_lasting_reason_in_a_row_counts(outcomes: list[str]) -> None:
    harm, failures, last = NONE, 0, ""
    for number, reason in enumerate(outcomes):
        harm = counted(harm, f"ck{number:03}", reason, NOW)
        if reason in LASTING:
            failures, last = (failures + 1 if reason == last else 1), reason
        elif reason != "KubeletTimeout":
            failures, last = 0, ""
        assert (harm.failures, harm.lasting) == (failures, last)


@pytest.mark.parametrize("back_s", [0.0, 3600.0, 86400.0])
def test_a_clock_that_was_set_back_does_not_make_it_wait_longer(back_s: float) -> None:
    harm = counted(NONE, "ck1", "IoUring", NOW)
    assert held_off_s(harm, INTERVAL_S, "interval", NOW - back_s) == back_off_s(1, INTERVAL_S)


class Cluster:
    """One protected pod, whose checkpoints fail of `reason`; empty: they do not. Time is virtual."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.reason, self.tries, self.reports = NOW, "Inotify", list[float](), list[str]()
        clock = SimpleNamespace(time=lambda: self.now_s, monotonic=lambda: self.now_s)
        monkeypatch.setattr("reprise.scheduler.timers.time", clock)
        monkeypatch.setattr("reprise.scheduler.handlers.time", clock)
        self.server = MemoryServer()
        bus = MemoryBus(self.server)
        harms = Bucket(bus, "harms", Harm)
        self._changed: Callable[[ProtectedPod | None, ProtectedPod | None], None] = lambda before, after: None
        self.pods: dict[str, ProtectedPod] = {}
        self.timers = Timers(bus, cast(Any, self), cast(Any, SimpleNamespace(leading=True)), harms, 0)
        self._handle: Callable[[Any], Awaitable[None]] = Handlers(
            bus, harms, Bucket(bus, "newest", Newest), cast(Any, self)
        ).on_outcome

    def on_change(self, changed: Callable[[ProtectedPod | None, ProtectedPod | None], None]) -> None:
        self._changed = changed

    async def record(self, workload: Workload, type_: str, reason: str, message: str) -> None:
        self.reports.append(f"{type_} {reason}: {message}")

    def run_pod(self, uid: str, **annotations: str) -> None:
        told = {"reprise.dev/mode": "criu", "reprise.dev/interval": f"{INTERVAL_S:g}s"} | annotations
        container = ProtectedContainer(
            "c", "image", container_id=f"c-{uid}", running=True, ready=True, started_at=datetime.fromtimestamp(NOW, UTC)
        )
        pod = ProtectedPod(
            WORKLOAD, parse(told).policy, "default", f"watcher-{uid}", uid, "n1", "10.0.0.1", "10.0.0.2", "Running", False,
            (container,),
        )  # fmt: skip
        self.pods = {uid: pod}
        self._changed(None, pod)

    async def wait(self, seconds: float) -> None:
        """Serve whatever comes due within that time."""
        end_s = self.now_s + seconds
        when = self.timers._when
        while when and min(when.values()) <= end_s:
            name = min(when, key=lambda each: when[each])
            self.now_s = max(self.now_s, when.pop(name))
            known = len(self.server.events)
            await self.timers._serve(name)
            for event in list(self.server.events.values())[known:]:
                if isinstance(event, CheckpointDue):
                    self.tries.append(self.now_s - NOW)
                    await self._handle(self._outcome(event))
        self.now_s = end_s

    def _outcome(self, due: CheckpointDue) -> CheckpointFailed | CheckpointStored:
        if self.reason:
            return CheckpointFailed(
                node="n1", workload=WORKLOAD, checkpoint_id=due.checkpoint_id, target=due.target, reason=self.reason,
                message="m", remedy="do this",
            )  # fmt: skip
        return CheckpointStored(
            node="n1", workload=WORKLOAD, checkpoint_id=due.checkpoint_id, target=due.target, trigger=due.trigger,
            manifest_key="k", size=1, sha256="0", transfer_s=0, kubelet_s=0, stats=CriuStats(),
        )  # fmt: skip


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(monkeypatch)
    made.run_pod("u1")
    return made


async def test_it_is_tried_less_and_less_and_then_each_hour_and_reported_once(cluster: Cluster) -> None:
    await cluster.wait(24 * 3600)
    gaps = [after - before for before, after in itertools.pairwise(cluster.tries)]
    assert len(cluster.tries) < 40, "of 8,640 intervals"
    assert 2 * INTERVAL_S <= gaps[0] <= 3 * INTERVAL_S
    assert all(after >= before - INTERVAL_S for before, after in itertools.pairwise(gaps))
    assert max(gaps) <= BACK_OFF_MOST_S + INTERVAL_S
    assert len(cluster.tries) > 23, "it is not given up"
    [report] = cluster.reports
    assert "CheckpointFailed: Inotify: m" in report
    assert "To do: do this" in report


async def test_once_it_succeeds_it_is_due_at_each_interval_again(cluster: Cluster) -> None:
    await cluster.wait(3600)
    cluster.reason = ""
    await cluster.wait(2 * BACK_OFF_MOST_S)
    cluster.tries.clear()
    await cluster.wait(100)
    assert len(cluster.tries) == 10


async def test_another_reason_begins_anew_and_is_reported(cluster: Cluster) -> None:
    await cluster.wait(24 * 3600)
    cluster.reason = "IoUring"
    await cluster.wait(2 * BACK_OFF_MOST_S)
    assert ["Inotify: m" in cluster.reports[0], "IoUring: m" in cluster.reports[1]] == [True, True]
    assert len(cluster.reports) == 2


async def test_the_next_pod_begins_anew(cluster: Cluster) -> None:
    await cluster.wait(24 * 3600)
    cluster.reason = ""
    cluster.tries.clear()
    cluster.run_pod("u2")
    await cluster.wait(100)
    assert len(cluster.tries) >= 10


async def test_what_its_owner_asks_for_is_tried_at_once(cluster: Cluster) -> None:
    await cluster.wait(24 * 3600)
    cluster.reason, tried = "", len(cluster.tries)
    cluster.run_pod("u1", **{CHECKPOINT_NOW: datetime.fromtimestamp(cluster.now_s, UTC).isoformat()})
    await cluster.wait(1)
    assert len(cluster.tries) == tried + 1
    await cluster.wait(100)
    assert len(cluster.tries) >= tried + 10, "a remedy that helped is known by it"


async def test_what_may_pass_is_tried_at_each_interval(cluster: Cluster) -> None:
    cluster.reason = "KubeletTimeout"
    await cluster.wait(100)
    assert len(cluster.tries) >= 10
    assert cluster.reports == []
