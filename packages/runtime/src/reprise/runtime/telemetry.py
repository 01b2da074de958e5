"""Logs as JSON with trace ids, and spans over OTLP. Call configure() once, first thing in main."""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()


def configure(service: str, *, node: str = "", otlp_endpoint: str = "", level: str = "info") -> TracerProvider:
    """Set up logging and tracing for this process; service and node name every line and span."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            _add_trace_ids,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, **({"node": node} if node else {}))
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
    # The exporter logs each failed batch with a stack trace; an absent collector must not flood the log.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    resource = Resource.create(
        {
            "service.name": f"reprise-{service}",
            "service.namespace": "reprise",
            **({"k8s.node.name": node} if node else {}),
        }
    )
    provider = TracerProvider(resource=resource)
    if otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)
    return provider


def log() -> Any:
    """The logger; bind what it is about: `log().bind(pod=...)`."""
    return structlog.get_logger()


@contextmanager
def span(name: str, *, parent: str = "", kind: SpanKind = SpanKind.INTERNAL, **attributes: Any) -> Iterator[Span]:
    """A span; parent is a traceparent header, else the current span. Attribute names: `_` stands for `.`."""
    context = _PROPAGATOR.extract({"traceparent": parent}) if parent else None
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    with trace.get_tracer("reprise").start_as_current_span(name, context=context, kind=kind, attributes=named) as current:
        yield current


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
