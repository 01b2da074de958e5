"""What a restore will not be as its owner may think is told when protection begins: one Event each, for every kind."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client
from reprise.contracts.annotations import Policy
from reprise.contracts.model import Workload
from reprise.runtime.kube import ProtectedContainer, ProtectedPod, protected
from reprise.scheduler.advice import Advice, findings

APP = ProtectedContainer("app", "app:1", "c1", running=True, liveness=object())
POD = ProtectedPod(
    workload=Workload(namespace="shop", name="cart"), policy=Policy(mode="criu"), namespace="shop", name="cart-1", uid="u1",
    node="n1", ip="", host_ip="", phase="Running", deleting=False, containers=(APP,),
)  # fmt: skip
KINDS: dict[str, ProtectedPod] = {
    "NoProbe": replace(POD, containers=(replace(APP, liveness=None),)),
    "NotRestorable": replace(POD, containers=(replace(APP, interactive=True),)),
    "PostStartRunsAgain": replace(POD, containers=(replace(APP, post_start=True),)),
    "NotMovable": replace(POD, containers=(APP, replace(APP, name="other"))),
    "NoSuchContainer": replace(POD, policy=Policy(mode="criu", containers=("app", "misspelt"))),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("owner", ["Deployment", "StatefulSet", "Pod"])
async def test_each_is_told_once_for_each_pod_of_any_owner(kind: str, owner: Any) -> None:
    told: list[tuple[str, str]] = []

    async def record(workload: Workload, _type: str, reason: str, message: str) -> None:
        told.append((reason, message))

    pod = replace(KINDS[kind], workload=Workload(namespace="shop", kind=owner, name="cart"))
    pods: Any = SimpleNamespace(problems={}, pods={"u1": pod})
    recorder: Any = SimpleNamespace(record=record)
    advice = Advice(pods, recorder)
    for _ in range(3):
        await advice._look()
    assert [reason for reason, _ in told] == [kind]
    assert all("app" in message or "misspelt" in message or "cart-1" in message for _, message in told)


def test_of_one_that_has_nothing_odd_nothing_is_told() -> None:
    assert list(findings(POD)) == []
    fresh = replace(POD, policy=Policy(mode="http"), containers=(replace(APP, interactive=True, post_start=True),))
    assert list(findings(fresh)) == [], "a fresh process takes its state back"


def test_a_post_start_hook_is_read_from_the_pods_spec() -> None:
    hook = client.V1Lifecycle(post_start=client.V1LifecycleHandler(_exec=client.V1ExecAction(command=["/warm"])))
    container = client.V1Container(name="app", image="app:1", lifecycle=hook)
    pod = client.V1Pod(
        metadata=client.V1ObjectMeta(name="cart-1", namespace="shop", uid="u1"), spec=client.V1PodSpec(containers=[container]),
        status=client.V1PodStatus(phase="Running"),
    )  # fmt: skip
    assert protected(pod, POD.workload, POD.policy).containers[0].post_start
