"""Owners read on their pods whether these are protected; each change is told once, by the leader, and repeated by nobody."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from reprise.contracts.annotations import Policy
from reprise.contracts.events import CheckpointStaged, CheckpointStored
from reprise.contracts.model import CriuStats, Target, Workload, checkpoint_id
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.scheduler.adapters.conditions import condition
from reprise.scheduler.model import Protection
from reprise.scheduler.owners import GONE_KEPT, Owners

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="c", container_id="c1")
CONTAINER = ProtectedContainer("c", "counter:1", "c1", running=True, ready=True)
POD = ProtectedPod(
    WORKLOAD, Policy(mode="criu", interval_s=10), "default", "counter-1", "u1", "n1", "10.0.0.1", "10.0.0.9", "Running", False,
    (CONTAINER,),
)  # fmt: skip
LABELS = {"workload_namespace": "default", "workload_kind": "Deployment", "workload": "counter", "workload_container": "c"}

Change = Callable[[ProtectedPod | None, ProtectedPod | None], None]


class Pods:
    """The informer and the API server's pods in one: what is written is seen at once."""

    def __init__(self) -> None:
        self.pods = {"u1": POD}
        self.changed: Change = lambda before, after: None
        self.conditions: list[str] = []
        self.away = False

    def on_change(self, callback: Change) -> None:
        self.changed = callback

    async def write(self, pod: ProtectedPod, found: Protection) -> bool:
        if self.away:
            return False
        status = "True" if found.protected else "False"
        self.conditions.append(f"{status} {found.reason}")
        if pod.uid in self.pods:
            self.pods[pod.uid] = replace(self.pods[pod.uid], condition=(status, found.reason))
        return True

    def run(self, **changed: object) -> None:
        container = replace(CONTAINER, **changed)  # type: ignore[arg-type]
        self.pods["u1"] = replace(self.pods["u1"], containers=(container,))


class Election:
    leading = True


class Told(list[str]):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    async def record(self, workload: Workload, type_: str, reason: str, message: str) -> None:
        self.append(f"{type_} {reason}")
        self.messages.append(message)


@pytest.fixture
def pods() -> Pods:
    return Pods()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def owners(pods: Pods, told: Told) -> Owners:
    return Owners(pods, Election(), pods, told)  # type: ignore[arg-type]


def stored(ago_s: float = 0.0) -> CheckpointStored:
    due = datetime.now(UTC) - timedelta(seconds=ago_s)
    return CheckpointStored(
        node="n1", workload=WORKLOAD, checkpoint_id=checkpoint_id("u1", "c", due), target=TARGET, trigger="interval",
        manifest_key="k", size=1, sha256="0", transfer_s=0, kubelet_s=0, stats=CriuStats(),
    )  # fmt: skip


def see_good(owners: Owners) -> CheckpointStored:
    """One that was stored, and lies ready on its node."""
    newest = stored()
    owners.see(newest)
    owners.see(
        CheckpointStaged(
            node="n1", workload=WORKLOAD, checkpoint_id=newest.checkpoint_id, target=TARGET, reference="slot", pull_s=0
        )
    )
    return newest


async def test_a_new_pod_is_not_protected_until_its_first_checkpoint_is_stored(owners: Owners, pods: Pods, told: Told) -> None:
    await owners.look()
    assert (pods.conditions, told) == (["False NoCheckpoint"], [])
    see_good(owners)
    await owners.look()
    await owners.look()
    assert (pods.conditions[1:], told) == (["True Armed"], ["Normal Protected"])


async def test_the_end_of_its_protection_is_a_warning(owners: Owners, pods: Pods, told: Told) -> None:
    pods.pods["u1"] = replace(POD, condition=("True", "Armed"))
    owners.see(stored(ago_s=120))
    await owners.look()
    await owners.look()
    assert (pods.conditions, told) == (["False Stale"], ["Warning NotProtected"])


async def test_a_restart_changes_nothing_that_an_owner_reads(owners: Owners, pods: Pods, told: Told) -> None:
    see_good(owners)
    await owners.look()
    pods.run(running=False)
    await owners.look()
    pods.run()
    await owners.look()
    assert (pods.conditions, told) == (["True Armed"], ["Normal Protected"])


async def test_a_condition_that_could_not_be_written_is_written_later_and_told_then(
    owners: Owners, pods: Pods, told: Told
) -> None:
    pods.away = True
    see_good(owners)
    await owners.look()
    assert not told
    pods.away = False
    await owners.look()
    assert told == ["Normal Protected"]


async def test_a_workload_that_is_no_more_annotated_is_told_so(owners: Owners, pods: Pods, told: Told) -> None:
    before = replace(POD, condition=("True", "Armed"))
    del pods.pods["u1"]
    pods.changed(before, None)
    await owners.look()
    assert (pods.conditions, told) == (["False NotAnnotated"], ["Warning NotProtected"])


async def test_who_does_not_lead_says_nothing_and_shows_no_series(
    owners: Owners, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    see_good(owners)
    await owners.look()
    assert REGISTRY.get_sample_value("reprise_recovery_point_timestamp_seconds", LABELS)
    assert REGISTRY.get_sample_value("reprise_workload_protected", LABELS | {"reason": "Armed"}) == 1
    assert REGISTRY.get_sample_value("reprise_standby_staged", LABELS) == 0
    monkeypatch.setattr(Election, "leading", False)
    written = len(pods.conditions)
    pods.pods["u1"] = replace(POD, condition=("", ""))
    await owners.look()
    assert len(pods.conditions) == written
    assert REGISTRY.get_sample_value("reprise_recovery_point_timestamp_seconds", LABELS) is None


async def test_a_standby_is_told_as_warm_only_where_nothing_is_left_to_fetch(owners: Owners, pods: Pods) -> None:
    newest = see_good(owners)
    for warm in (False, True):
        owners.see(
            CheckpointStaged(node="n2", workload=WORKLOAD, checkpoint_id=newest.checkpoint_id, target=TARGET, reference="r",
                             pull_s=1, role="standby", warm=warm)
        )  # fmt: skip
        await owners.look()
        assert REGISTRY.get_sample_value("reprise_standby_staged", LABELS) == 1
        assert REGISTRY.get_sample_value("reprise_standby_warm", LABELS) == float(warm)


@pytest.mark.parametrize("kind", ["StatefulSet", "Pod"])
async def test_a_standby_is_told_of_whatever_its_kind_is(owners: Owners, pods: Pods, kind: str) -> None:
    workload = Workload.model_validate({"namespace": "default", "kind": kind, "name": "db"})
    pods.pods = {"u1": replace(POD, workload=workload)}
    await owners.look()
    labels = LABELS | {"workload_kind": kind, "workload": "db"}
    assert REGISTRY.get_sample_value("reprise_standby_staged", labels) == 0
    pods.pods = {"u1": replace(POD, workload=workload, policy=POD.policy.model_copy(update={"prestage": "none"}))}
    await owners.look()
    assert REGISTRY.get_sample_value("reprise_standby_staged", labels) is None, "none is wanted"


SECOND = replace(POD, name="counter-2", uid="u2")


def see_other(owners: Owners, *, ago_s: float = 0.0) -> None:
    """A good one of the second pod's, on the same node."""
    target = TARGET.model_copy(update={"pod": "counter-2", "pod_uid": "u2"})
    newest = stored(ago_s).model_copy(update={"target": target})
    owners.see(newest)
    owners.see(
        CheckpointStaged(node="n1", workload=WORKLOAD, checkpoint_id=newest.checkpoint_id, target=target, reference="s", pull_s=0)
    )


async def test_each_of_two_pods_stands_for_itself_and_the_workload_as_its_worst(owners: Owners, pods: Pods, told: Told) -> None:
    pods.pods["u2"] = SECOND
    for _ in range(3):
        see_good(owners)  # the other one's next checkpoint takes nothing from it
        await owners.look()
    assert pods.conditions == ["True Armed", "False NoCheckpoint"], "and neither flips"
    assert told.messages[0].endswith(". Its pod counter-2 is not: NoCheckpoint: no checkpoint is stored yet")
    assert REGISTRY.get_sample_value("reprise_workload_protected", LABELS | {"reason": "NoCheckpoint"}) == 0
    see_other(owners)
    for _ in range(2):
        await owners.look()
    assert pods.conditions[2:] == ["True Armed"]
    assert "is not" not in told.messages[1]
    assert REGISTRY.get_sample_value("reprise_workload_protected", LABELS | {"reason": "Armed"}) == 1


async def test_the_recovery_point_of_several_pods_is_the_oldest(owners: Owners, pods: Pods) -> None:
    pods.pods["u2"] = SECOND
    see_other(owners, ago_s=20)
    see_good(owners)
    await owners.look()
    point = REGISTRY.get_sample_value("reprise_recovery_point_timestamp_seconds", LABELS)
    assert point == pytest.approx(datetime.now(UTC).timestamp() - 20, abs=5)


async def test_after_a_restart_of_ours_a_pod_keeps_its_condition_until_events_tell_of_it(
    owners: Owners, pods: Pods, told: Told
) -> None:
    """Of two on one node the stream holds the last event of only one."""
    pods.pods = {"u1": replace(POD, condition=("True", "Armed")), "u2": replace(SECOND, condition=("True", "Armed"))}
    see_good(owners)
    await owners.look()
    assert "False NoCheckpoint" not in pods.conditions
    owners._began -= 60
    await owners.look()
    assert "False NoCheckpoint" in pods.conditions


async def test_a_pod_that_was_moved_is_told_by_what_it_came_of_until_its_first_checkpoint(owners: Owners, pods: Pods) -> None:
    newest = see_good(owners)
    owners.see(
        CheckpointStaged(node="n2", workload=WORKLOAD, checkpoint_id=newest.checkpoint_id, target=TARGET, reference="r",
                         pull_s=1, role="standby", warm=True)
    )  # fmt: skip
    pods.pods = {"u9": replace(POD, name="counter-9", uid="u9", node="n2"), "u2": SECOND}
    await owners.look()
    assert pods.conditions == ["True Armed", "False NoCheckpoint"]


async def test_what_is_known_of_pods_that_are_gone_does_not_grow(owners: Owners, pods: Pods) -> None:
    for number in range(50):
        target = TARGET.model_copy(update={"pod_uid": f"gone-{number}"})
        owners.see(stored().model_copy(update={"target": target}))
    see_good(owners)
    await owners.look()
    assert len(owners._known[WORKLOAD, "c"]) == GONE_KEPT + 1


def test_the_time_of_a_conditions_change_stays_while_its_status_does() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = Protection(True, "Armed", "its kubelet restarts it")
    assert condition("", found, now)["lastTransitionTime"] == "2026-01-01T00:00:00+00:00"
    assert "lastTransitionTime" not in condition("True", found, now)
