"""Whether a container can be checkpointed is a matter of whether it lives, not of whether it is Ready."""

from dataclasses import replace
from datetime import UTC, datetime

from kubernetes.aio import client
from reprise.runtime.kube import ProtectedContainer
from reprise.scheduler.decide import alive_since_s

NOW = 1_790_000_000.0
PASSIVE = ProtectedContainer(
    "c", "image", "c1", running=True, ready=False, started=True, started_at=datetime.fromtimestamp(NOW, UTC)
)


def test_one_that_is_not_ready_on_purpose_is_checkpointed_like_any_other() -> None:
    assert alive_since_s(PASSIVE) == NOW


def test_one_that_does_not_run_is_not() -> None:
    assert alive_since_s(replace(PASSIVE, running=False)) is None


def test_one_whose_startupprobe_has_not_passed_yet_is_not() -> None:
    starting = replace(PASSIVE, startup=client.V1Probe(), started=False)
    assert alive_since_s(starting) is None
    assert alive_since_s(replace(starting, started=True)) == NOW
