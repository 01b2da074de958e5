"""Where an event is published: `reprise.v1.<noun>.<verb>.<node>.<namespace>.<workload>`.

A '.' within a name becomes '_', so that a name is always one token. The subject is an address to filter by;
the truth is in the event.
"""

import re

from reprise.contracts.events import VERSION, Event

STREAM = "REPRISE"
ROOT = f"reprise.{VERSION}"
DEAD_LETTER_STREAM = "REPRISE_DEAD"
DEAD_LETTER_ROOT = f"reprise-dead.{VERSION}"

_UNSAFE = re.compile(r"[^A-Za-z0-9_\-]")


def token(name: str) -> str:
    """A name as one subject token: NATS's separators, wildcards and white space become '_'."""
    return _UNSAFE.sub("_", name) or "-"


def of(event: Event) -> str:
    """The subject that the event is published on."""
    place = (event.node or "-", event.workload.namespace, event.workload.name)
    return ".".join((ROOT, event.TYPE, *map(token, place)))


def pattern(event: type[Event], node: str = "*") -> str:
    """A filter for one type of event, on one node or on all."""
    return f"{ROOT}.{event.TYPE}.{token(node) if node != '*' else node}.*.*"


def matching(event_type: str = "", *, node: str = "", namespace: str = "", workload: str = "") -> str:
    """A filter by whatever is given. Two names can have the same token: what comes is to be looked at."""
    return ".".join((ROOT, event_type or "*.*", *(token(each) if each else "*" for each in (node, namespace, workload))))


def dead_letter(consumer: str) -> str:
    """Where a message goes that this consumer can never handle."""
    return f"{DEAD_LETTER_ROOT}.{token(consumer)}"
