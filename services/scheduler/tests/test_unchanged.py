"""A program that says that its state did not change is protected by the checkpoint that has it, however old that is."""

from datetime import UTC, datetime, timedelta

from reprise.contracts.events import CheckpointSkipped, CheckpointStaged, CheckpointStored
from reprise.contracts.model import CriuStats, Target, Workload, checkpoint_id
from reprise.scheduler.model import Known
from reprise.scheduler.protection import FOLLOWED, protection, seen

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="c", container_id="c1")
AT = datetime(2026, 11, 30, tzinfo=UTC)
STORED = CheckpointStored(
    node="n1", workload=WORKLOAD, checkpoint_id=checkpoint_id("u1", "c", AT), target=TARGET, trigger="interval", manifest_key="",
    size=1, sha256="", transfer_s=0, kubelet_s=0, stats=CriuStats(), kind="http",
)  # fmt: skip
HERE = CheckpointStaged(
    node="n1", workload=WORKLOAD, checkpoint_id=STORED.checkpoint_id, target=TARGET, reference="", pull_s=0, role="own"
)


def skipped(after_s: float, reason: str = "Unchanged") -> CheckpointSkipped:
    name = checkpoint_id("u1", "c", AT + timedelta(seconds=after_s))
    return CheckpointSkipped(node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, reason=reason, message="")


def is_protected(known: Known, after_s: float) -> bool:
    now = AT + timedelta(seconds=after_s)
    return protection(known, pod_uid="u1", node="n1", running=True, interval_s=10, prestaged=False, now=now).protected


def test_what_did_not_change_is_as_good_as_new() -> None:
    known = seen(seen(Known(), STORED), HERE)
    assert not is_protected(known, 600)
    assert is_protected(seen(known, skipped(590)), 600)
    assert CheckpointSkipped in FOLLOWED


def test_one_that_was_skipped_for_another_reason_is_not() -> None:
    known = seen(seen(Known(), STORED), HERE)
    assert not is_protected(seen(known, skipped(590, "TooSoon")), 600)


def test_without_a_checkpoint_there_is_nothing_that_did_not_change() -> None:
    assert seen(Known(), skipped(5)) == Known()
