"""What is made from the models: an example and a schema for each event, and what counts as a breaking change."""

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import jsonschema
import pytest
from pydantic import AwareDatetime
from reprise.contracts import asyncapi, changes, envelope, examples, schemas
from reprise.contracts.events import ALL, CheckpointStored, Event, FailoverDeclared
from reprise.contracts.model import Target

STORED = schemas.event_schema(CheckpointStored)


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.TYPE)
def test_every_event_has_an_example_that_its_schema_and_its_model_take(event: type[Event]) -> None:
    message = examples.message(event)
    jsonschema.validate(message, schemas.event_schema(event), jsonschema.Draft202012Validator)
    _, payload, headers = examples.published(event)
    attributes, received = envelope.decode(payload)
    assert received == examples.example(event)
    assert attributes.id == headers["Nats-Msg-Id"]


def test_an_example_that_lacks_a_value_says_where_to_write_it() -> None:
    class Eaten(Event):
        TYPE: ClassVar[str] = "node.eaten"
        by_whom: str

    with pytest.raises(ValueError, match=r"node\.eaten: give by_whom an example"):
        examples.example(Eaten)


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.TYPE)
def test_the_asyncapi_document_takes_every_example_as_its_payload(event: type[Event]) -> None:
    document = asyncapi.document()
    message = document["components"]["messages"][event.TYPE]
    schema = message["payload"] | {"components": document["components"]}
    jsonschema.validate(message["examples"][0]["payload"], schema, jsonschema.Draft7Validator)
    assert document["channels"][event.TYPE]["address"].startswith(f"reprise.v1.{event.TYPE}.")


def test_a_schema_refuses_what_is_not_its_event() -> None:
    message = examples.message(CheckpointStored)
    for broken in (message | {"type": "dev.reprise.v1.node.lost"}, message | {"data": {}}, message | {"specversion": "2.0"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, STORED)


class TestChanges:
    """Each change is made to a copy of a real schema."""

    @staticmethod
    def told(change: Callable[[dict[str, Any]], object]) -> list[str]:
        new = copy.deepcopy(STORED)
        change(new["$defs"]["CheckpointStored"])
        return changes.breaking({"checkpoint.stored": STORED}, {"checkpoint.stored": new})

    def test_nothing_changed(self) -> None:
        assert self.told(lambda data: None) == []

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: data["properties"].update(later={"type": "string", "default": ""}),
            lambda data: data["properties"]["trigger"]["enum"].append("whim"),
            lambda data: data["properties"]["size"].update(description="bytes"),
            lambda data: data.update(description="other words"),
            lambda data: (data["required"].remove("size"), data["properties"]["size"].update(default=0)),
        ],
        ids=["an optional field", "a value", "a field's words", "an event's words", "a default"],
    )
    def test_what_may_be_added(self, change: Callable[[dict[str, Any]], object]) -> None:
        assert self.told(change) == []

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda data: data["properties"].pop("sha256"), "checkpoint.stored.data.sha256: the field was removed"),
            (lambda data: data["required"].append("new_bytes"), "data.new_bytes: the field is required now"),
            (lambda data: data["properties"]["trigger"]["enum"].remove("first"), "data.trigger: the value 'first' was removed"),
            (lambda data: data["properties"]["size"].update(type="string"), "data.size: type was 'integer' and is 'string'"),
            (lambda data: data["properties"]["size"].update(minimum=1), "data.size: minimum was not told and is 1"),
            (lambda data: data["properties"]["manifest_key"].update(enum=["a"]), "data.manifest_key: its values were not told"),
            (lambda data: data["properties"]["new_bytes"].update(default=0), "data.new_bytes: default was"),
            (lambda data: data["properties"]["new_bytes"]["anyOf"].pop(), "data.new_bytes: anyOf was"),
            (lambda data: data["properties"].update(target={"type": "string"}), "data.target.node: the field was removed"),
        ],
        ids=["removed", "required", "value gone", "type", "narrowed", "listed", "default", "never null", "another model"],
    )
    def test_what_breaks_is_named(self, change: Callable[[dict[str, Any]], object], says: str) -> None:
        assert any(says in line for line in self.told(change))

    def test_an_event_that_is_gone_and_one_that_moved_to_another_subject(self) -> None:
        moved = STORED | {"x-subject": "reprise.v1.elsewhere"}
        assert changes.breaking({"a": STORED, "b": STORED}, {"b": moved}) == [
            "a: the event was removed",
            f"b: x-subject was {STORED['x-subject']!r} and is 'reprise.v1.elsewhere'",
        ]

    def test_a_single_value_that_gets_company_is_a_value_more(self) -> None:
        one, two = {"properties": {"a": {"const": "x"}}}, {"properties": {"a": {"enum": ["x", "y"]}}}
        assert changes.breaking({"e": one}, {"e": two}) == []
        assert changes.breaking({"e": two}, {"e": one}) == ["e.a: the value 'y' was removed"]

    def test_a_model_may_be_renamed(self) -> None:
        class Aim(Target):
            """As a Target."""

        class Declared(FailoverDeclared):
            target: Aim
            at: AwareDatetime

        old, new = (schemas.event_schema(event) for event in (FailoverDeclared, Declared))
        told = changes.breaking({"e": old}, {"e": new})
        assert told == ["e.data.at: the field is required now, and events told before may lack it"]
