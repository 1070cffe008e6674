"""The typed events agree with the schemas that the bridge validates."""

from __future__ import annotations

import json
from dataclasses import Field, fields
from itertools import islice
from typing import Any

import pytest

from bridge.consumer import Event, model_of
from bridge.consumer.models import MODELS, Content, MixEvent
from bridge.mix.events import EVENTS
from bridge.simulator.scripts.agent_script import AgentScript
from tests.fakes.consumed_events import consumed_event


def event(kind: str, **members: object) -> Event:
    return consumed_event(json.dumps(members).encode(), type=kind)


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("value", ["text", 1, 1.5, True, None, [1], {"a": 1}])
def test_a_class_accepts_what_its_schema_accepts(name: str, value: object) -> None:
    """For each field a value of each JSON type; closed lists of texts are open here."""
    valid = {each: _valid(str(found.type)) for each, found in _aliases(MODELS[name]).items()}
    assert model_of(event(name, **valid)) is not None
    for alias, field in _aliases(MODELS[name]).items():
        if field.name in {"notification_type", "response_type"}:
            continue
        members = valid | {alias: value}
        is_valid = _is_valid(name, members)
        assert (model_of(event(name, **members)) is not None) == is_valid, (alias, value)


def _aliases(model: type[MixEvent]) -> dict[str, Field[Any]]:
    schema = next(EVENTS[name] for name, found in MODELS.items() if found is model)
    return {str(schema.model_fields[field.name].alias): field for field in fields(model)}


def _valid(annotation: str) -> object:
    return {"str": "info", "float": 1.5, "bool": True, "Any": {}, "list[Any]": []}[annotation.partition(" |")[0]]


def _is_valid(name: str, members: dict[str, object]) -> bool:
    try:
        EVENTS[name].model_validate_json(json.dumps({**members, "notificationType": "info", "responseType": "text"}))
    except ValueError:
        return False
    return True


def test_a_match_statement_gets_the_fields() -> None:
    """Python names are in snake case."""
    match model_of(event("content", type="content", content="Hi", assistantMessageId="m1", later=1)):
        case Content(content=text, assistant_message_id=message):
            assert (text, message) == ("Hi", "m1")
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"no json", b"[" * 100_000, b'{"type":"content","content":1}'])
def test_data_that_violates_the_class_has_no_object(data: bytes) -> None:
    """An object with a wrong type in it would mislead a type checker."""
    assert model_of(consumed_event(data, type="content")) is None


def test_a_type_without_a_class_has_no_object() -> None:
    """The server may be newer."""
    assert model_of(event("novelty", a=1)) is None


def test_every_event_of_the_simulated_agents_has_an_object() -> None:
    for sent in islice(AgentScript(1, "amber", lambda: 0).events(), 300):
        assert isinstance(model_of(consumed_event(sent.data, type=sent.name)), MODELS[sent.name])
