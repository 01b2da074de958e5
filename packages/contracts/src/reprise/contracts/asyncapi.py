"""The contract as an AsyncAPI 3.0 document: every subject, and the message on it. Seen from Reprise: it sends."""

from importlib.metadata import version
from typing import Any

from reprise.contracts import envelope, examples, schemas, subjects
from reprise.contracts.events import ALL, VERSION, Event

ABOUT = f"""\
Reprise keeps stateful programs on Kubernetes alive with their memory. Each of its steps is a CloudEvents 1.0 event in
structured JSON on the JetStream stream `{subjects.STREAM}`, where it stays for seven days.

Within {VERSION} events and optional fields are added and lists of values grow; nothing is removed or made narrower. So ignore
fields that you do not know, take a missing field as its default, and do not fail on a value that is new to you."""

_PARAMETERS = {
    "node": "The node that the event is about; `-` if none.",
    "namespace": "The workload's namespace; `-` if the event is about a node.",
    "workload": "The workload's name, or the node's if the event is about a node.",
}
_HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "Nats-Msg-Id": {"type": "string", "description": "The CloudEvents id: told twice within two minutes, stored once."},
        "Content-Type": {"const": envelope.CONTENT_TYPE},
        "traceparent": {"type": "string", "description": "W3C trace context, as in the CloudEvent."},
    },
}


def document() -> dict[str, Any]:
    """The whole document; its schemas are those of schemas.py, each named once."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Reprise", "version": version("reprise-contracts"), "description": ABOUT},
        "defaultContentType": envelope.CONTENT_TYPE,
        "servers": {
            "cluster": {
                "host": "nats.reprise-system:4222",
                "protocol": "nats",
                "description": "NATS with JetStream, as `kubectl -n reprise-system port-forward svc/nats 4222` reaches it.",
            }
        },
        "channels": {event.TYPE: _channel(event) for event in ALL},
        "operations": {event.TYPE: _operation(event) for event in ALL},
        "components": {
            "messages": {event.TYPE: _message(event) for event in ALL},
            "messageTraits": {"headers": {"headers": _HEADERS}},
            "parameters": {
                name: {"description": f"{text} Characters other than A-Z a-z 0-9 _ - are replaced by '_'."}
                for name, text in _PARAMETERS.items()
            },
            "schemas": _schemas(),
        },
    }


def _channel(event: type[Event]) -> dict[str, Any]:
    return {
        "address": schemas.address(event),
        "messages": {event.TYPE: {"$ref": f"#/components/messages/{event.TYPE}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS},
    }


def _operation(event: type[Event]) -> dict[str, Any]:
    summary = f"{schemas.says(event)} Subscribe to {subjects.pattern(event)}"
    return {"action": "send", "channel": {"$ref": f"#/channels/{event.TYPE}"}, "summary": summary}


def _message(event: type[Event]) -> dict[str, Any]:
    payload, _ = schemas.parts(event, "#/components/schemas/{model}")
    return {
        "name": event.TYPE,
        "title": event.__name__,
        "summary": schemas.says(event),
        "contentType": envelope.CONTENT_TYPE,
        "traits": [{"$ref": "#/components/messageTraits/headers"}],
        "payload": payload,
        "examples": [{"payload": examples.message(event)}],
    }


def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for event in ALL:
        found |= schemas.parts(event, "#/components/schemas/{model}")[1]
    return {name: found[name] for name in sorted(found)}
