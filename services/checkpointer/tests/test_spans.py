"""A checkpoint's trace on its node: probed, taken by the kubelet, probed again, told."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from reprise.checkpointer.decide import Failure
from reprise.checkpointer.dumping import Dumping
from reprise.checkpointer.handlers import Handlers
from reprise.checkpointer.testing import WELL, Machine, agent_says
from reprise.checkpointer.turns import Turns
from reprise.contracts.annotations import Policy
from reprise.contracts.events import CheckpointDue
from reprise.contracts.model import Target, Workload, now
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.telemetry import about, span
from reprise.runtime.testing import MemoryBus, MemoryServer, Spans, recorded_spans

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
POD = ProtectedPod(
    WORKLOAD, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "10.0.0.1", "10.0.0.9", "Running", False,
    (ProtectedContainer("counter", "counter:1", "c1", running=True, ready=True),),
)  # fmt: skip


class Pods:
    pods = {"u1": POD}  # noqa: RUF012


class Recorder:
    async def record(self, *_: Any) -> None:
        """Not what is tested here."""


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recorded_spans() as found:
        yield found


async def checkpoint(node: Machine) -> MemoryServer:
    server = MemoryServer()
    agent_says(server, WELL)
    bus = MemoryBus(server)
    due = CheckpointDue(
        node="n1", workload=WORKLOAD, checkpoint_id="ck1", target=TARGET, trigger="interval", due_at=now(), interval_s=10, keep=3
    )
    handlers = Handlers(bus, Pods(), Dumping(node, node, node, 120.0), None, Recorder(), Turns(lambda: 0.0, 2))  # type: ignore[arg-type]
    with span("checkpoint.due", root=True, attributes=about(due)):
        await bus.publish(due, dedup_id="due")
    await bus.process("checkpointer-n1", "due", handlers.on_due)
    return server


async def test_a_good_checkpoint_shows_both_probes_and_the_call_between_them(spans: Spans) -> None:
    await checkpoint(Machine())
    above = "checkpoint.due > publish checkpoint.due > checkpointer checkpoint.due > "
    assert [each.removeprefix(above) for each in spans.tree() if each.startswith(above)] == [
        "probe before", "kubelet checkpoint", "probe after", "publish checkpoint.taken",
    ]  # fmt: skip
    call = spans.named("kubelet checkpoint")
    assert call.kind == SpanKind.CLIENT
    assert (call.attributes or {})["k8s.container.name"] == "counter"
    assert (spans.named("checkpoint.due").attributes or {})["reprise.checkpoint.id"] == "ck1"


async def test_a_refusal_of_the_kubelet_is_an_error_with_its_reason(spans: Spans) -> None:
    await checkpoint(Machine(answer=Failure("Forbidden", "no right", "grant it")))
    call, told = spans.named("kubelet checkpoint"), spans.named("publish checkpoint.failed")
    assert call.status.status_code == StatusCode.ERROR
    assert (call.attributes or {})["error.type"] == "Forbidden"
    assert (told.attributes or {})["reprise.reason"] == "Forbidden"
