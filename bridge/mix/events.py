"""The 16 events of the Mix agent server's contract (0.8.1) as pydantic models, and validators made from them.

How strict, field by field: a required field must be there, text must be text and a truth value ``true`` or ``false``:
nothing is converted ("yes" is no bool). Unknown fields pass. Where the contract gives no type (tool input, params,
choices, times, time-outs) any sensible form passes. ``notificationType`` and ``responseType`` are closed lists, because
the contract closes them and its own client refuses other values; tool names, ``action`` and ``type`` are open: new
tools come without a new contract. Optional fields may be null.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NotRequired, Required

import typing_extensions
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictStr, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from bridge.core.records.json_text import NotJson, plain
from bridge.core.records.rules import Validator

SCHEMA_VERSION = "mix-0.8.1/1"
"""Changes with every change of a model: it is part of what decides the numbering (a test holds the two together)."""

Number = StrictFloat  # any JSON number, whole or not
Moment = Number | StrictStr  # the contract says neither the unit nor the form
Tool = Annotated[StrictStr, Field(description="A core tool (Bash, Edit, Task, ...) or <server>_<tool>")]


class MixEvent(BaseModel):
    """The data of one event. Fields that are not listed pass unchecked."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel)


class Nested(MixEvent):
    """An event that a subagent may send on behalf of a tool call."""

    parent_tool_call_id: StrictStr | None = None


class Connected(MixEvent):
    """The stream is open."""

    session_id: StrictStr


class Heartbeat(MixEvent):
    """The connection lives."""

    type: StrictStr


class Error(Nested):
    """A run failed, or will be tried again after ``retryAfter`` milliseconds."""

    error: StrictStr
    attempt: Number | None = None
    max_attempts: Number | None = None
    retry_after: Number | None = None
    type: StrictStr | None = None


class Complete(Nested):
    """One answer is finished; the session goes on."""

    type: StrictStr
    done: StrictBool
    content: StrictStr | None = None
    message_id: StrictStr | None = None
    reasoning: StrictStr | None = None
    reasoning_duration: Number | None = None


class Thinking(Nested):
    """A piece of the agent's reasoning."""

    type: StrictStr
    content: StrictStr
    assistant_message_id: StrictStr | None = None


class Content(Nested):
    """A piece of the answer."""

    type: StrictStr
    content: StrictStr
    assistant_message_id: StrictStr | None = None


class ToolUseStart(Nested):
    """The agent begins to call a tool."""

    type: StrictStr
    name: Tool
    id: StrictStr
    assistant_message_id: StrictStr | None = None


class ToolUseParameterStreamingComplete(Nested):
    """The tool call's input is complete."""

    type: StrictStr
    name: Tool
    input: Any
    id: StrictStr
    assistant_message_id: StrictStr | None = None


class ToolUseParameterDelta(Nested):
    """A piece of the tool call's input."""

    type: StrictStr
    tool_call_id: StrictStr
    input: Any
    assistant_message_id: StrictStr | None = None


class ToolExecutionStart(Nested):
    """The tool runs."""

    type: StrictStr
    tool_name: Tool
    progress: StrictStr
    tool_call_id: StrictStr


class ToolExecutionComplete(Nested):
    """The tool has run."""

    type: StrictStr
    tool_name: Tool
    progress: StrictStr
    tool_call_id: StrictStr
    success: StrictBool


class Permission(Nested):
    """The agent asks whether it may."""

    type: StrictStr
    id: StrictStr
    session_id: StrictStr
    tool_name: Tool
    description: StrictStr
    action: StrictStr
    params: Any = None
    path: StrictStr | None = None


class Notification(Nested):
    """The agent tells or asks a person something."""

    type: StrictStr
    id: StrictStr
    session_id: StrictStr
    notification_type: Literal["info", "warning", "error", "question"]
    title: StrictStr
    message: StrictStr
    response_type: Literal["acknowledge", "text", "choice"]
    timeout: Moment | None
    created_at: Moment
    choices: list[Any] | None = None


class UserMessageCreated(Nested):
    """A person wrote."""

    type: StrictStr
    message_id: StrictStr
    content: StrictStr


class SessionCreated(MixEvent):
    """A session began."""

    type: StrictStr
    session_id: StrictStr
    title: StrictStr
    created_at: Moment


class SessionDeleted(MixEvent):
    """A session is gone."""

    type: StrictStr
    session_id: StrictStr


EVENTS: Mapping[str, type[MixEvent]] = MappingProxyType(
    {
        "connected": Connected,
        "heartbeat": Heartbeat,
        "error": Error,
        "complete": Complete,
        "thinking": Thinking,
        "content": Content,
        "tool_use_start": ToolUseStart,
        "tool_use_parameter_streaming_complete": ToolUseParameterStreamingComplete,
        "tool_use_parameter_delta": ToolUseParameterDelta,
        "tool_execution_start": ToolExecutionStart,
        "tool_execution_complete": ToolExecutionComplete,
        "permission": Permission,
        "notification": Notification,
        "user_message_created": UserMessageCreated,
        "session_created": SessionCreated,
        "session_deleted": SessionDeleted,
    }
)


def json_schema(event: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of the data of an event; KeyError for one that the contract does not have."""
    return EVENTS[event].model_json_schema()


def validator_of(model: type[MixEvent]) -> Validator:
    """A quick validator of the model's fields. Thread-safe.

    Nobody wants the model's instance on the way to Kafka, so the fields are checked as those of a dict: half the time,
    and unknown fields are not even built.
    """
    validate = TypeAdapter(_as_typed_dict(model)).validator.validate_json

    def check(data: str, /) -> str | None:
        try:
            validate(data)
        except ValidationError as error:
            return _complaint(error) if _is_about_fields(error) else check_plain(data)
        return None

    def check_plain(data: str) -> str | None:
        """Look again: the parser refuses some JSON (lone surrogates, very long numbers, deep nesting)."""
        try:
            validate(plain(data))
        except NotJson as error:
            return str(error)
        except ValidationError as error:
            return _complaint(error)
        return None

    return check


def _as_typed_dict(model: type[MixEvent]) -> Any:  # noqa: ANN401 - a type made while running has no static type
    make: Any = typing_extensions.TypedDict  # pydantic takes the standard library's only from Python 3.12
    need = {True: Required, False: NotRequired}
    fields = {
        str(field.alias): need[field.is_required()][field.rebuild_annotation()] for field in model.model_fields.values()
    }
    typed_dict = make(model.__name__, fields)
    typed_dict.__pydantic_config__ = ConfigDict(extra="ignore", cache_strings="none")
    return typed_dict


def _is_about_fields(error: ValidationError) -> bool:
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] != "json_invalid"


def _complaint(error: ValidationError) -> str:
    """Up to three mistakes on one line: field and what is wrong, never the value."""
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, mistake['loc'])) or 'data'}: {mistake['msg']}" for mistake in mistakes[:3])


VALIDATORS: Mapping[str, Validator] = MappingProxyType({name: validator_of(model) for name, model in EVENTS.items()})
