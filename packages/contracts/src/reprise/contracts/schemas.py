"""The JSON Schema of each event: of the whole CloudEvent, as it arrives by NATS or by a webhook.

A field with a default is not required: an older service of v1 does not send it yet. What is not named is allowed: a newer
one may send more.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from reprise.contracts import subjects
from reprise.contracts.envelope import Envelope, type_of
from reprise.contracts.events import Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Without pydantic's titles, which say each field's name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def event_schema(event: type[Event]) -> Schema:
    """One event as a JSON Schema that needs no other file."""
    body, definitions = parts(event)
    about = {"$schema": DIALECT, "title": event.TYPE, "description": says(event), "x-subject": address(event)}
    return about | body | {"$defs": definitions}


def parts(event: type[Event], ref: str = "#/$defs/{model}") -> tuple[Schema, dict[str, Schema]]:
    """The CloudEvent's schema, and those that it refers to by name; ref: how it does."""
    data = event.model_json_schema(ref_template=ref, schema_generator=_Untitled)
    definitions = data.pop("$defs", {}) | {event.__name__: data}
    whole = Envelope.model_json_schema(schema_generator=_Untitled)
    properties = whole["properties"]
    properties["specversion"] = {"const": "1.0", "type": "string"}
    properties["type"] |= {"const": type_of(event)}
    properties["data"] = {"$ref": ref.format(model=event.__name__)}
    body = {"type": "object", "properties": properties, "required": ["specversion", *whole["required"]]}
    return body, {name: definitions[name] for name in sorted(definitions)}


def address(event: type[Event]) -> str:
    """The event's subject, its last three tokens as parameters."""
    return f"{subjects.ROOT}.{event.TYPE}.{{node}}.{{namespace}}.{{workload}}"


def says(model: type[BaseModel]) -> str:
    """What an event or a noun says, in one paragraph."""
    return " ".join((model.__doc__ or "").split())


def own_fields(event: type[Event]) -> dict[str, FieldInfo]:
    """The event's fields without those that all events have."""
    return {name: field for name, field in event.model_fields.items() if name not in Event.model_fields}
