"""Events as CloudEvents 1.0 in structured JSON, with the distributed tracing extension (`traceparent`)."""

import json
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from reprise.contracts.errors import MalformedEvent, UnknownEventType, UnknownEventVersion
from reprise.contracts.events import BY_TYPE, VERSION, Event
from ulid import ULID

CONTENT_TYPE = "application/cloudevents+json"
TYPE_PREFIX = "dev.reprise."


class Envelope(BaseModel):
    """The CloudEvents attributes that Reprise sets."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    specversion: str = "1.0"
    id: str = Field(min_length=1)
    """Names the event; the same id is the same event, told again."""
    source: str = Field(min_length=1)
    """Which service told it: `reprise/<service>/<pod>`."""
    type: str = Field(min_length=1)
    """`dev.reprise.v1.` and the event's name."""
    subject: str = ""
    """The workload: `<namespace>/<kind>/<name>`."""
    time: AwareDatetime
    datacontenttype: str = "application/json"
    traceparent: str = ""
    """W3C trace context of the step that told it; empty if it was not traced."""
    data: dict[str, Any]


def type_of(event: type[Event]) -> str:
    """The CloudEvents type of an event."""
    return f"{TYPE_PREFIX}{VERSION}.{event.TYPE}"


def encode(event: Event, *, source: str, event_id: str = "", traceparent: str = "") -> tuple[str, bytes]:
    """Wrap an event. Returns its CloudEvents id (the dedup key) and the JSON bytes."""
    event_id = event_id or str(ULID())
    workload = event.workload
    envelope = Envelope(
        id=event_id,
        source=source,
        type=type_of(type(event)),
        subject=f"{workload.namespace}/{workload.kind}/{workload.name}",
        time=event.at,
        traceparent=traceparent,
        data=event.model_dump(mode="json"),
    )
    return event_id, envelope.model_dump_json(exclude_defaults=False).encode()


def decode(payload: bytes) -> tuple[Envelope, Event]:
    """Unwrap an event.

    Raises MalformedEvent, UnknownEventVersion or UnknownEventType, each saying what is wrong with which event.
    """
    envelope = attributes(payload)
    version, _, name = envelope.type.removeprefix(TYPE_PREFIX).partition(".")
    if not envelope.type.startswith(TYPE_PREFIX) or version != VERSION:
        raise UnknownEventVersion(
            f"type {envelope.type!r} is not of contract {VERSION}",
            subject=f"event {envelope.id}",
            remedy="run services of one major version, or upgrade this one",
        )
    model = BY_TYPE.get(name)
    if model is None:
        raise UnknownEventType(f"type {envelope.type!r} is not known to this version", subject=f"event {envelope.id}")
    try:
        return envelope, model.model_validate(envelope.data)
    except ValidationError as error:
        raise MalformedEvent(
            f"data of {envelope.type!r} does not fit: {_problems(error)}", subject=f"event {envelope.id}"
        ) from error


def attributes(payload: bytes) -> Envelope:
    """The CloudEvents attributes of an event of whatever type and version, its data unread. Raises MalformedEvent."""
    try:
        envelope = Envelope.model_validate(json.loads(payload))
    except (ValueError, RecursionError) as error:
        raise MalformedEvent(
            f"not a CloudEvent: {_first_line(error)}", remedy="see docs/events.md for the form of an event"
        ) from error
    if envelope.specversion != "1.0":
        raise MalformedEvent(f"CloudEvents specversion {envelope.specversion!r}", subject=f"event {envelope.id}")
    return envelope


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}" for e in error.errors()[:5])


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return _problems(error)
    return str(error).partition("\n")[0]
