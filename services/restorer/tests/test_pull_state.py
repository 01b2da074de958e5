"""A failover of a program that hands out its state: the same routes, and what a state does not ask for is not asked for."""

from dataclasses import replace

import pytest
from kubernetes.aio import client
from reprise.archive.facts import ArchiveFacts
from reprise.archive.manifest import Manifest
from reprise.contracts.annotations import RESTORED_GATE
from reprise.contracts.model import CriuStats, Kind, Target, Workload, now
from reprise.contracts.records import StartRecord
from reprise.restorer.adapters.checkpoints import _need
from reprise.restorer.adapters.cluster import shadow_of
from reprise.restorer.decide import plan
from reprise.restorer.model import Attempt, Good, Need, NodeView, Plan, PodView, Saga, Snapshot
from reprise.restorer.outcomes import still_waits

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
POD = PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", "counter-abc")
N1 = NodeView("n1", ready=True, schedulable=True, architecture="amd64", protected_pods=1)
STATE = Good("ck1", Need(), pod_uid="u1", kind="http")


def manifest(kind: Kind) -> Manifest:
    facts = ArchiveFacts(
        runtime="" if kind == "http" else "cri-o", container_id="c1", container_name="counter", base_image="a:1",
        base_image_id="", oci_runtime="", stats=CriuStats(), members=2, kind=kind,
    )  # fmt: skip
    return Manifest(
        checkpoint_id="ck1", workload=WORKLOAD, target=TARGET, trigger="interval", taken_at=now(), size=1 << 40, sha256="",
        recipe_key="", architecture="amd64", kernel="6.1", facts=facts,
    )  # fmt: skip


def test_a_state_asks_nothing_of_a_node() -> None:
    """Neither its architecture, runtime and kernel, nor the image that the program had."""
    assert _need(manifest("http")) == Need()
    assert _need(manifest("criu")).architecture == "amd64"


def test_a_state_goes_where_a_process_could_not() -> None:
    other = replace(N1, name="n2", architecture="arm64", runtime="containerd", kernel="4.0", protected_pods=0)
    decision = plan(Snapshot("node-loss", TARGET, POD, (STATE,), (N1, other)))
    assert isinstance(decision, Plan)
    assert (decision.route, decision.standby, decision.kind) == ("shadow", "n2", "http")


def test_a_planned_moves_kind_is_that_of_the_checkpoint_before() -> None:
    decision = plan(Snapshot("move", TARGET, POD, (STATE,), (N1, replace(N1, name="n2"))))
    assert isinstance(decision, Plan)
    assert decision.kind == "http"


def template(*gates: str) -> client.V1PodTemplateSpec:
    spec = client.V1PodSpec(
        containers=[client.V1Container(name="counter", image="counter:1")],
        readiness_gates=[client.V1PodReadinessGate(condition_type=gate) for gate in gates] or None,
    )
    return client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"app": "counter"}), spec=spec)


@pytest.mark.parametrize("gates", [(), ("other",), (RESTORED_GATE,)])
def test_a_services_users_are_not_sent_to_a_shadow_before_it_has_its_state(gates: tuple[str, ...]) -> None:
    made = shadow_of(template(*gates), "counter-fo-1", "n2", {}, gated=True)
    found = [gate.condition_type for gate in made.spec.readiness_gates]
    assert found.count(RESTORED_GATE) == 1
    assert set(found) == {*gates, RESTORED_GATE}


def test_a_restored_process_needs_no_gate() -> None:
    assert not shadow_of(template(), "counter-fo-1", "n2", {}).spec.readiness_gates


def test_a_process_that_waits_for_its_state_is_waited_for() -> None:
    """It runs, so it is not one that no engine has restored; and it is not back, so the failover does not go on."""
    saga = Saga(failover_id="fo-1", workload=WORKLOAD, target=TARGET, cause="node-loss", declared_at=now())
    start = StartRecord(container_id="c9", pod_uid="u2", container="counter", outcome="starting")
    assert still_waits(saga, start)
    refused = start.model_copy(update={"outcome": "refused", "reason": "checkpoint ck1 cannot be restored: POST answers 409"})
    assert not still_waits(saga.at("restored", attempt=Attempt(plan=Plan("shadow", "n2", "", "ck1"))), refused)
