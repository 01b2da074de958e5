"""One trace goes on through messages, is named by OpenTelemetry's conventions, and is kept whole or not at all."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from reprise.contracts.errors import RecoveryError
from reprise.contracts.events import Event, FailoverDeclared, NodeLost, node_subject
from reprise.contracts.model import Target, Workload
from reprise.runtime import telemetry
from reprise.runtime.telemetry import about, link, sampler, span, traceparent
from reprise.runtime.testing import MemoryBus, MemoryServer, Spans, recorded_spans

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="c", container_id="c1")
DECLARED = FailoverDeclared(node="n1", workload=WORKLOAD, failover_id="fo-1", target=TARGET, cause="crash", detail="it ended")


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recorded_spans() as found:
        yield found


async def test_a_trace_goes_on_in_whoever_handles_the_message(spans: Spans) -> None:
    bus = MemoryBus(MemoryServer())

    async def handle(event: Event) -> None:
        with span("work"):
            await bus.publish(NodeLost(node="n1", workload=node_subject("n1"), detail="d"), dedup_id="lost")

    with span("failover.declared", root=True):
        await bus.publish(DECLARED, dedup_id="declared")
    await bus.process("restorer-failovers", "declared", handle)
    assert len({each.context.trace_id for each in spans.all() if each.context}) == 1
    assert spans.tree() == [
        "failover.declared",
        "failover.declared > publish failover.declared",
        "failover.declared > publish failover.declared > restorer failover.declared",
        "failover.declared > publish failover.declared > restorer failover.declared > work",
        "failover.declared > publish failover.declared > restorer failover.declared > work > publish node.lost",
    ]


async def test_messages_are_told_by_the_conventions_for_messaging_and_kubernetes(spans: Spans) -> None:
    async def handle(_event: Event) -> None:
        """Nothing to do."""

    bus = MemoryBus(MemoryServer())
    await bus.publish(DECLARED, dedup_id="declared")
    await bus.process("restorer-failovers", "declared", handle)
    sent, handled = spans.named("publish failover.declared"), spans.named("restorer failover.declared")
    assert (sent.kind, handled.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    both = {
        "messaging.system": "nats",
        "messaging.destination.name": "reprise.v1.failover.declared.n1.default.counter",
        "messaging.destination.template": "reprise.v1.failover.declared.{node}.{namespace}.{workload}",
        "messaging.message.id": "declared",
        "cloudevents.event_type": "dev.reprise.v1.failover.declared",
        "k8s.node.name": "n1", "k8s.namespace.name": "default", "k8s.deployment.name": "counter", "k8s.pod.name": "counter-1",
        "k8s.pod.uid": "u1", "k8s.container.name": "c", "reprise.failover.id": "fo-1", "reprise.failover.cause": "crash",
    }  # fmt: skip
    assert both.items() <= dict(sent.attributes or {}).items()
    assert both.items() <= dict(handled.attributes or {}).items()
    assert (sent.attributes or {})["messaging.operation.type"] == "send"
    assert {"messaging.operation.type": "process", "messaging.consumer.group.name": "restorer-failovers"}.items() <= dict(
        handled.attributes or {}
    ).items()


def test_an_event_about_a_node_names_no_pod() -> None:
    assert about(NodeLost(node="n1", workload=node_subject("n1"), detail="d")) == {"k8s.node.name": "n1"}


def test_an_error_is_told_by_its_reason(spans: Spans) -> None:
    with pytest.raises(RecoveryError), span("work"):
        raise RecoveryError("no", subject="pod", reason="NoStandby")
    assert spans.named("work").status.status_code == StatusCode.ERROR
    assert (spans.named("work").attributes or {})["error.type"] == "NoStandby"


def test_a_link_leads_to_another_trace_and_an_empty_one_nowhere(spans: Spans) -> None:
    with span("checkpoint.due", root=True):
        made_in = traceparent()
    with span("saga.plan", root=True, links=[""]):
        link(made_in, reprise_checkpoint_id="ck1")
    with span("saga.place", root=True, links=[made_in]):
        link("")
    due = spans.named("checkpoint.due").context
    for name in ("saga.plan", "saga.place"):
        (found,) = spans.named(name).links
        assert due
        assert found.context.trace_id == due.trace_id
        assert (own := spans.named(name).context)
        assert own.trace_id != due.trace_id


def test_a_notice_begins_when_what_it_notices_happened(spans: Spans) -> None:
    with span("failover.declared", ago_s=2.5):
        pass
    found = spans.named("failover.declared")
    assert found.start_time
    assert found.end_time
    assert 2.4 < (found.end_time - found.start_time) / 1e9 < 4


@pytest.mark.parametrize(
    ("attributes", "kept"),
    [
        ({telemetry.TRIGGER: "interval"}, False),
        ({telemetry.TRIGGER: "first"}, True),
        ({telemetry.TRIGGER: "demand"}, True),
        ({"reprise.failover.id": "fo-1"}, True),
        ({}, True),
    ],
)
def test_only_checkpoints_by_interval_are_thinned_out(attributes: dict[str, str], kept: bool) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler(0.0))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("root", attributes=attributes), tracer.start_as_current_span("child"):
        assert trace.get_current_span().get_span_context().is_valid, "logs have a trace id all the same"
    names = [each.name for each in exporter.get_finished_spans()]
    assert names == (["child", "root"] if kept else [])


def test_a_share_of_the_checkpoints_is_kept_and_all_of_each() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler(0.25))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    for _ in range(400):
        with (
            tracer.start_as_current_span("due", attributes={telemetry.TRIGGER: "interval"}),
            tracer.start_as_current_span("kubelet"),
        ):
            pass
    found: list[ReadableSpan] = list(exporter.get_finished_spans())
    assert 40 < len(found) / 2 < 180
    assert len({each.context.trace_id for each in found if each.context}) == len(found) / 2
