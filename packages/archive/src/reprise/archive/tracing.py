"""The steps of an upload as spans of whoever calls: OpenTelemetry's API alone, which does nothing unless somebody set it up."""

from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


def step(name: str) -> AbstractContextManager[Span]:
    return trace.get_tracer("reprise").start_as_current_span(name)


def traceparent() -> str:
    """The current span's; empty outside any."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")
