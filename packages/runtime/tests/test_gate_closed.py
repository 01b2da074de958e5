"""Since when the readiness gate keeps a pod out of its Services: since then nobody was sent to it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.aio import client
from reprise.contracts.annotations import RESTORED_GATE, Policy
from reprise.contracts.model import Workload
from reprise.runtime.kube import protected, set_condition

CREATED = datetime(2026, 11, 30, 12, tzinfo=UTC)
CLOSED = CREATED + timedelta(hours=1)


def closed_at(*conditions: client.V1PodCondition, gated: bool = True) -> datetime | None:
    gates = [client.V1PodReadinessGate(condition_type=RESTORED_GATE)] if gated else None
    pod = client.V1Pod(
        metadata=client.V1ObjectMeta(name="p", namespace="default", uid="u1", creation_timestamp=CREATED),
        spec=client.V1PodSpec(containers=[client.V1Container(name="counter", image="counter:1")], readiness_gates=gates),
        status=client.V1PodStatus(conditions=list(conditions)),
    )
    return protected(pod, Workload(namespace="default", name="counter"), Policy(mode="http")).gate_closed_at


def condition(status: str, kind: str = RESTORED_GATE) -> client.V1PodCondition:
    return client.V1PodCondition(type=kind, status=status, last_transition_time=CLOSED)


def test_it_is_closed_since_its_condition_says_so() -> None:
    assert closed_at(condition("False", "Ready"), condition("False")) == CLOSED


def test_one_that_nobody_has_written_yet_was_never_open() -> None:
    assert closed_at(condition("True", "Ready")) == CREATED


def test_one_of_which_it_is_not_known_since_when_was_never_open_either() -> None:
    """It was written once, as closed."""
    assert closed_at(client.V1PodCondition(type=RESTORED_GATE, status="False")) == CREATED


@pytest.mark.parametrize("gated", [True, False])
def test_an_open_one_and_one_that_is_not_listed_keep_it_out_of_nothing(gated: bool) -> None:
    assert closed_at(condition("True" if gated else "False"), gated=gated) is None


@pytest.mark.parametrize("changed", [True, False])
async def test_it_says_since_when_only_if_that_changed(monkeypatch: pytest.MonkeyPatch, changed: bool) -> None:
    sent: list[Any] = []

    async def patch(_self: object, _pod: str, _namespace: str, body: Any, **_: object) -> None:
        sent.extend(body["status"]["conditions"])

    monkeypatch.setattr(client.CoreV1Api, "patch_namespaced_pod_status", patch)
    api = client.ApiClient.__new__(client.ApiClient)
    await set_condition(api, "default", "p", RESTORED_GATE, False, "Blank", "", changed=changed)
    assert ("lastTransitionTime" in sent[0]) is changed
