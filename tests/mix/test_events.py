"""The 16 events: valid and invalid data, also compared with the published client's models."""

from __future__ import annotations

import hashlib
import json
import typing
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mix_python_sdk.models import sseeventstream

from bridge.mix.events import EVENTS, SCHEMA_VERSION, VALIDATORS
from tests.support.json_texts import JSON_VALUES

REQUIRED: dict[str, dict[str, Any]] = {
    "connected": {"sessionId": "s"},
    "heartbeat": {"type": "t"},
    "error": {"error": "e"},
    "complete": {"type": "t", "done": True},
    "thinking": {"type": "t", "content": "c"},
    "content": {"type": "t", "content": "c"},
    "tool_use_start": {"type": "t", "name": "Bash", "id": "i"},
    "tool_use_parameter_streaming_complete": {"type": "t", "name": "Bash", "input": "{}", "id": "i"},
    "tool_use_parameter_delta": {"type": "t", "toolCallId": "c", "input": "{"},
    "tool_execution_start": {"type": "t", "toolName": "Bash", "progress": "p", "toolCallId": "c"},
    "tool_execution_complete": {"type": "t", "toolName": "Bash", "progress": "p", "toolCallId": "c", "success": False},
    "permission": {
        "type": "t", "id": "i", "sessionId": "s", "toolName": "x_y", "description": "d", "action": "a"
    },
    "notification": {
        "type": "t", "id": "i", "sessionId": "s", "notificationType": "info", "title": "t", "message": "m",
        "responseType": "text", "timeout": 30, "createdAt": 1_764_000_000,
    },
    "user_message_created": {"type": "t", "messageId": "m", "content": "c"},
    "session_created": {"type": "t", "sessionId": "s", "title": "t", "createdAt": 1_764_000_000},
    "session_deleted": {"type": "t", "sessionId": "s"},
}  # fmt: skip
OPTIONAL: dict[str, dict[str, Any]] = {
    "error": {"attempt": 1, "maxAttempts": 3, "parentToolCallId": "p", "retryAfter": 500, "type": "t"},
    "complete": {"content": "c", "messageId": "m", "parentToolCallId": "p", "reasoning": "r", "reasoningDuration": 12},
    "permission": {"params": {"a": [1]}, "path": "/x", "parentToolCallId": "p"},
    "notification": {"choices": ["a", "b"], "parentToolCallId": "p"},
    "connected": {}, "heartbeat": {}, "session_created": {}, "session_deleted": {},
    "tool_execution_start": {"parentToolCallId": "p"},
    "tool_execution_complete": {"parentToolCallId": "p"},
    "user_message_created": {"parentToolCallId": "p"},
}  # fmt: skip
PARENT_AND_MESSAGE: dict[str, Any] = {"assistantMessageId": "m", "parentToolCallId": "p"}


def violations(event: str, data: object) -> str | None:
    return VALIDATORS[event](json.dumps(data))


def sdk_model(event: str) -> type[pydantic.BaseModel]:
    """The client's model of the data of an event."""
    name = "".join(part.capitalize() for part in event.split("_"))
    model: type[pydantic.BaseModel] = getattr(sseeventstream, f"SSE{name}EventData")
    return model


def values_for(annotation: Any) -> st.SearchStrategy[Any]:
    """Values for the client's annotation, as in JSON."""
    if typing.get_origin(annotation) is typing.Union:
        return st.one_of([values_for(member) for member in typing.get_args(annotation)])
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    simple = {str: st.text(), int: st.integers(-(2**63), 2**63), bool: st.booleans(), type(None): st.none()}
    if annotation in simple:
        return simple[annotation]
    if annotation is sseeventstream.Params:
        return st.dictionaries(st.text(), JSON_VALUES, max_size=3)
    if typing.get_origin(annotation) is list:
        return st.lists(st.text(), max_size=3)
    return st.text() | st.sampled_from(["Bash", "server_tool"])  # ToolName, a type alias


@st.composite
def sdk_samples(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An event and data made from the client's declarations, now and then with something missing, added or wrong."""
    event = draw(st.sampled_from(sorted(EVENTS)))
    data = {}
    for name, field in sdk_model(event).model_fields.items():
        if field.is_required() or draw(st.booleans()):
            data[field.alias or name] = draw(values_for(field.annotation))
    data.update(draw(st.dictionaries(st.sampled_from(["new", *data]), JSON_VALUES, max_size=1)))
    if draw(st.integers(0, 4)) == 0:
        data.pop(draw(st.sampled_from(sorted(data))))
    return event, data


@settings(deadline=None, database=None)
@given(sdk_samples())
def test_data_that_the_published_client_accepts_is_valid(sample: tuple[str, dict[str, Any]]) -> None:
    """Without conversions (a "yes" for a bool), the client accepts nothing that the bridge calls invalid."""
    event, data = sample
    text = json.dumps(data)
    try:
        sdk_model(event).model_validate_json(text, strict=True)
    except pydantic.ValidationError:
        return
    assert VALIDATORS[event](text) is None


def test_the_models_have_the_clients_16_events_and_fields() -> None:
    """Names and required fields are those of the published client."""
    assert len(EVENTS) == 16
    assert set(EVENTS) == set(typing.get_args(sseeventstream.SSEContentEventEvent)) == set(VALIDATORS)
    for event, model in EVENTS.items():
        theirs = {field.alias or name: field.is_required() for name, field in sdk_model(event).model_fields.items()}
        assert {field.alias: field.is_required() for field in model.model_fields.values()} == theirs


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_required_fields_suffice_and_each_is_required(event: str) -> None:
    """The contract's required fields, and no others, must exist."""
    data = REQUIRED[event]
    assert violations(event, data) is None
    for name in data:
        assert violations(event, {k: v for k, v in data.items() if k != name}) == f"{name}: Field required"


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_optional_fields_may_be_null_or_absent_but_not_of_another_type(event: str) -> None:
    """Only unknown fields have no type."""
    optional = OPTIONAL.get(event, PARENT_AND_MESSAGE)
    assert violations(event, REQUIRED[event] | optional | {"brand_new": [None, {"x": 1}]}) is None
    assert violations(event, REQUIRED[event] | dict.fromkeys(optional)) is None
    for name in set(optional) - {"params"}:
        wrong = violations(event, REQUIRED[event] | {name: {"secret": "payload"}})
        assert wrong is not None
        assert wrong.startswith(f"{name}: ")
        assert "payload" not in wrong


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        ("complete", "done", "yes"),
        ("complete", "done", 1),
        ("content", "content", 42),
        ("content", "content", None),
        ("notification", "notificationType", "success"),
        ("notification", "responseType", "password"),
        ("notification", "createdAt", {}),
        ("error", "retryAfter", "500"),
    ],
)
def test_no_value_is_converted_and_closed_lists_are_closed(event: str, field: str, value: object) -> None:
    """A value of another type or outside a closed list is invalid and is not shown."""
    wrong = violations(event, REQUIRED[event] | {field: value})
    assert wrong is not None
    assert wrong.startswith(field)
    assert "\n" not in wrong


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        ("tool_use_parameter_streaming_complete", "input", {"command": "ls"}),
        ("tool_use_parameter_delta", "input", None),
        ("permission", "params", [1]),
        ("permission", "action", "something new"),
        ("tool_use_start", "name", "a tool of tomorrow"),
        ("notification", "timeout", 1.5),
        ("notification", "timeout", None),
        ("notification", "createdAt", "2026-01-31T00:00:00Z"),
        ("notification", "choices", [{"label": "a"}]),
        ("session_created", "createdAt", 1.5e12),
        ("complete", "reasoningDuration", 0.25),
    ],
)
def test_values_that_the_contract_leaves_open_are_valid(event: str, field: str, value: object) -> None:
    """A slightly newer server's events are valid."""
    assert violations(event, REQUIRED[event] | {field: value}) is None


@pytest.mark.parametrize("data", ["[]", "null", '"text"', "1"])
def test_data_must_be_an_object(data: str) -> None:
    """Every other JSON value is invalid."""
    assert VALIDATORS["content"](data) == "data: Input should be an object"


def test_json_that_the_fast_parser_rejects_is_checked_again() -> None:
    """Lone surrogates, long numbers and deep nesting are valid in fields of the right type only."""
    for extreme in ('"\\ud800"', "1" * 5000, "[" * 400 + "]" * 400):
        assert VALIDATORS["content"](f'{{"type":"t","content":"\\udc00","new":{extreme}}}') is None
        assert VALIDATORS["content"](f'{{"type":"\\ud800","new":{extreme}}}') == "content: Field required"
    assert VALIDATORS["content"]('{"type":') == "not JSON (RFC 8259) after character 8"


def test_at_most_three_violations_are_reported() -> None:
    """The line must stay short."""
    assert VALIDATORS["notification"]("{}") == "type: Field required; id: Field required; sessionId: Field required"


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_the_json_schema_has_the_field_names_of_the_wire(event: str) -> None:
    """Required fields by their JSON names. More fields are allowed."""
    schema = EVENTS[event].model_json_schema()
    assert set(schema.get("required", ())) == set(REQUIRED[event])
    assert set(OPTIONAL.get(event, PARENT_AND_MESSAGE)) == set(schema["properties"]) - set(REQUIRED[event])
    assert schema["additionalProperties"] is True
    assert schema["description"]


def test_a_changed_schema_has_a_new_version() -> None:
    """A changed version starts a new epoch: change it together with this digest."""
    rules = [
        {key: value for key, value in EVENTS[event].model_json_schema().items() if key not in {"description", "title"}}
        for event in sorted(EVENTS)
    ]
    digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:12]
    assert (SCHEMA_VERSION, digest) == ("mix-0.8.1/1", "e95a823c870c")
