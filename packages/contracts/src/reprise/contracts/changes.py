"""What a change of the contract breaks: for a reader who knows the old one, or for events that were told by it.

Within v1 events and optional fields may be added, lists of values may grow, and a required field may get a default. All else
is breaking: what an old reader knows stays as it is, and an event that lies in the stream can still be read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_WORDS = ("$schema", "title", "description", "examples")
_TOLD_APART = ("properties", "required", "enum", "const", "$defs", *_WORDS)


def breaking(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> list[str]:
    """What breaks between two sets of event schemas by name; each line names the event, the field and what happened."""
    found: list[str] = []
    for name, before in old.items():
        if name not in new:
            found.append(f"{name}: the event was removed")
        else:
            found += _compare(name, _resolved(before), _resolved(new[name]))
    return found


def _compare(path: str, old: Schema, new: Schema) -> Iterator[str]:
    yield from _properties(path, old, new)
    yield from _values(path, old, new)
    for word in sorted((set(old) | set(new)) - set(_TOLD_APART)):
        before, after = old.get(word), new.get(word)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _compare(f"{path} ({word})", before, after)
        elif word == "anyOf" and before and after and len(before) == len(after):
            for one, other in zip(before, after, strict=True):
                yield from _compare(path, one, other)
        elif before != after and not (word == "default" and word not in old):
            yield f"{path}: {word} was {_said(before)} and is {_said(after)}"


def _properties(path: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name, schema in before.items():
        if name not in after:
            yield f"{path}.{name}: the field was removed"
        else:
            yield from _compare(f"{path}.{name}", schema, after[name])
    for name in new.get("required", []):
        if name not in old.get("required", []):
            yield f"{path}.{name}: the field is required now, and events told before may lack it"


def _values(path: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = _allowed(old), _allowed(new)
    if (before is None) != (after is None):
        yield f"{path}: its values were {_said(before)} and are {_said(after)}"
    for value in before or []:
        if value not in (after or [value]):
            yield f"{path}: the value {value!r} was removed"


def _allowed(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _said(value: Any) -> str:
    return "not told" if value is None else repr(value)


def _resolved(schema: Schema) -> Schema:
    """With each `$ref` replaced by what it names: models may be renamed, moved and split."""
    definitions = schema.get("$defs", {})

    def walk(value: Any) -> Any:
        if isinstance(value, Mapping):
            if "$ref" in value:
                named = definitions[value["$ref"].rpartition("/")[2]]
                return walk({**named, **{k: v for k, v in value.items() if k != "$ref"}})
            return {key: walk(inner) for key, inner in value.items() if key != "$defs"}
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    resolved: Schema = walk(schema)
    return resolved
