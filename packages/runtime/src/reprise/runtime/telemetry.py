"""Logs as JSON with trace ids, and spans over OTLP. Call configure() once, first thing in main."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from reprise.contracts.events import Event
from reprise.contracts.model import Target, Workload

_PROPAGATOR = TraceContextTextMapPropagator()
TRIGGER = "reprise.checkpoint.trigger"


def configure(
    service: str,
    *,
    node: str = "",
    pod: str = "",
    namespace: str = "",
    otlp_endpoint: str = "",
    level: str = "info",
    checkpoint_ratio: float = 1.0,
) -> TracerProvider:
    """Set up logging and tracing for this process; service and node name every line and span.

    checkpoint_ratio: of the checkpoints that come by interval, how many have their trace kept; everything else is kept.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _add_trace_ids,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, **({"node": node} if node else {}))
    others = logging.StreamHandler(sys.stdout)  # what libraries log, in the same form
    others.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[others])
    # The exporter logs each failed batch with a stack trace; an absent collector must not flood the log.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    # A line for each try of TLS: many clients begin each pull from the node-local registry with one.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    resource = Resource.create(
        {
            "service.name": f"reprise-{service}",
            "service.namespace": "reprise",
            **({"k8s.node.name": node} if node else {}),
            **({"k8s.pod.name": pod, "service.instance.id": pod} if pod else {}),
            **({"k8s.namespace.name": namespace} if namespace else {}),
        }
    )
    provider = TracerProvider(sampler=sampler(checkpoint_ratio), resource=resource)
    if otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)
    return provider


def log() -> Any:
    """The logger; bind what it is about: `log().bind(pod=...)`."""
    return structlog.get_logger()


def sampler(checkpoint_ratio: float) -> Sampler:
    """By the trace's root, which carries its decision along: a trace is kept whole or not at all."""
    return ParentBased(root=_ByTrigger(checkpoint_ratio))


class _ByTrigger(Sampler):
    """Checkpoints by interval are alike and many: a share of them will do. Failovers, and what people ask for, are kept."""

    def __init__(self, checkpoint_ratio: float) -> None:
        self._few = TraceIdRatioBased(checkpoint_ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        one_of_many = (attributes or {}).get(TRIGGER) == "interval"
        chosen = self._few if one_of_many else ALWAYS_ON
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        return f"ByTrigger{{interval:{self._few.rate}}}"


@contextmanager
def span(
    name: str,
    *,
    parent: str = "",
    root: bool = False,
    links: Sequence[str] = (),
    ago_s: float = 0.0,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, Any] | None = None,
    **named: Any,
) -> Iterator[Span]:
    """A span; parent is a traceparent header, else the current span; root: neither, a trace begins.

    links: traceparents of other traces that this one has to do with; empty ones are left out. ago_s: it began so long before.
    Names of further attributes: `_` stands for `.`. An exception that leaves it is recorded, with its reason as error.type.
    """
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else Context() if root else None
    given = {**(attributes or {}), **{key.replace("_", "."): value for key, value in named.items()}}
    began_ns = time.time_ns() - round(ago_s * 1e9) if ago_s else None
    with trace.get_tracer("reprise").start_as_current_span(
        name, context=context, kind=kind, attributes=given, links=[Link(each) for each in _contexts(links)], start_time=began_ns
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_attribute("error.type", getattr(error, "reason", "") or type(error).__name__)
            raise


def link(traceparent: str, **named: Any) -> None:
    """Link the current span to another trace, which became known while it ran; nothing if there is none."""
    for context in _contexts([traceparent]):
        trace.get_current_span().add_link(context, {key.replace("_", "."): value for key, value in named.items()})


def _contexts(traceparents: Sequence[str]) -> list[SpanContext]:
    found = [
        trace.get_current_span(_PROPAGATOR.extract({"traceparent": each})).get_span_context() for each in traceparents if each
    ]
    return [context for context in found if context.is_valid]


def about(event: Event) -> dict[str, Any]:
    """What an event is about, by OpenTelemetry's semantic conventions for Kubernetes, and our own ids beside them."""
    ours = {"checkpoint_id": "reprise.checkpoint.id", "failover_id": "reprise.failover.id", "cause": "reprise.failover.cause",
            "trigger": TRIGGER, "reason": "reprise.reason"}  # fmt: skip
    told = {name: getattr(event, field) for field, name in ours.items() if getattr(event, field, "")}
    target = getattr(event, "target", None)
    return {"k8s.node.name": event.node} | of_workload(event.workload) | (of_target(target) if target else {}) | told


def of_workload(workload: Workload) -> dict[str, str]:
    if workload.namespace == "-":
        return {}  # the event is about a node
    named = {"Deployment": "k8s.deployment.name", "StatefulSet": "k8s.statefulset.name", "Pod": "k8s.pod.name"}[workload.kind]
    return {"k8s.namespace.name": workload.namespace, named: workload.name}


def of_target(target: Target) -> dict[str, str]:
    return {"k8s.pod.name": target.pod, "k8s.pod.uid": target.pod_uid, "k8s.container.name": target.container}


def traceparent(context: Context | None = None) -> str:
    """The current span as a W3C traceparent; empty outside any span."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context)
    return carrier.get("traceparent", "")


def received_trace_id() -> str:
    """The trace of the message that is being handled; empty if it came with none."""
    parent = getattr(trace.get_current_span(), "parent", None)
    return f"{parent.trace_id:032x}" if parent else ""


def _add_trace_ids(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event
