"""The 16 events of the Mix agent server's contract (0.8.1) as pydantic models, and validators made from them.

Required fields must exist, and no value is converted ("yes" is not a bool). Unknown fields pass. Where the contract has
no type (tool input, params, choices, times, timeouts), every reasonable form passes. ``notificationType`` and
``responseType`` are closed lists, because the contract closes them and its own client rejects other values. Tool names,
``action`` and ``type`` are open: new tools come without a new contract. Optional fields may be null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NotRequired, Required

import typing_extensions
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictStr, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel, to_snake

from bridge.core.records.json_text import NotJson, plain
from bridge.core.records.rules import Validator
from bridge.core.stream.event import Event

SCHEMA_VERSION = "mix-0.8.1/1"
"""Changes with every change of a model, because a changed model starts a new epoch (a test compares the two)."""

Number = StrictFloat  # any JSON number, whole or not
Time = Number | StrictStr  # the contract defines neither the unit nor the format
Tool = Annotated[StrictStr, Field(description="A core tool (Bash, Edit, Task, ...) or <server>_<tool>")]


class MixEvent(BaseModel):
    """The data of one event. Fields that are not listed pass unchecked."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel)


class Connected(MixEvent):
    """The stream is open."""

    session_id: StrictStr


class Heartbeat(MixEvent):
    """The connection is alive."""

    type: StrictStr


class Nested(MixEvent):
    """An event that a subagent may send on behalf of a tool call."""

    parent_tool_call_id: StrictStr | None = None


class Error(Nested):
    """A run failed, or is tried again after ``retryAfter`` milliseconds."""

    error: StrictStr
    attempt: Number | None = None
    max_attempts: Number | None = None
    retry_after: Number | None = None
    type: StrictStr | None = None


class RunEvent(Nested):
    """An event of a run with a type."""

    type: StrictStr


class Complete(RunEvent):
    """One answer is complete. The session continues."""

    done: StrictBool
    content: StrictStr | None = None
    message_id: StrictStr | None = None
    reasoning: StrictStr | None = None
    reasoning_duration: Number | None = None


class Thinking(RunEvent):
    """A part of the agent's reasoning."""

    content: StrictStr
    assistant_message_id: StrictStr | None = None


class Content(Thinking):
    """A part of the answer."""


class ToolUseStart(RunEvent):
    """The agent starts a tool call."""

    name: Tool
    id: StrictStr
    assistant_message_id: StrictStr | None = None


class ToolUseParameterStreamingComplete(RunEvent):
    """The input of the tool call is complete."""

    name: Tool
    input: Any
    id: StrictStr
    assistant_message_id: StrictStr | None = None


class ToolUseParameterDelta(RunEvent):
    """A part of the tool call's input."""

    tool_call_id: StrictStr
    input: Any
    assistant_message_id: StrictStr | None = None


class ToolExecutionStart(RunEvent):
    """The tool runs."""

    tool_name: Tool
    progress: StrictStr
    tool_call_id: StrictStr


class ToolExecutionComplete(ToolExecutionStart):
    """The tool has run."""

    success: StrictBool


class Permission(RunEvent):
    """The agent asks for permission."""

    id: StrictStr
    session_id: StrictStr
    tool_name: Tool
    description: StrictStr
    action: StrictStr
    params: Any = None
    path: StrictStr | None = None


class Notification(RunEvent):
    """The agent notifies or asks a person."""

    id: StrictStr
    session_id: StrictStr
    notification_type: Literal["info", "warning", "error", "question"]
    title: StrictStr
    message: StrictStr
    response_type: Literal["acknowledge", "text", "choice"]
    timeout: Time | None
    created_at: Time
    choices: list[Any] | None = None


class UserMessageCreated(RunEvent):
    """A person wrote a message."""

    message_id: StrictStr
    content: StrictStr


class SessionDeleted(MixEvent):
    """A session was deleted."""

    type: StrictStr
    session_id: StrictStr


class SessionCreated(SessionDeleted):
    """A session was created."""

    title: StrictStr
    created_at: Time


_MODELS = (
    *(Connected, Heartbeat, Error, Complete, Thinking, Content, ToolUseStart, ToolUseParameterStreamingComplete),
    *(ToolUseParameterDelta, ToolExecutionStart, ToolExecutionComplete, Permission, Notification, UserMessageCreated),
    *(SessionCreated, SessionDeleted),
)
EVENTS: Mapping[str, type[MixEvent]] = MappingProxyType({to_snake(model.__name__): model for model in _MODELS})
"""All models by the SSE event name."""


def validator_of(model: type[MixEvent]) -> Validator:
    """A fast validator of the model's fields. Thread-safe.

    Only the result of the check is used, so the fields are checked as those of a dict. That takes half the time, and
    unknown fields are not parsed into objects.
    """
    validate = TypeAdapter(_as_typed_dict(model)).validator.validate_json

    def check(data: str, /) -> str | None:
        try:
            validate(data)
        except ValidationError as error:
            return _violations(error) if _concerns_fields(error) else check_plain(data)
        return None

    def check_plain(data: str) -> str | None:
        """Check again: pydantic's parser rejects some valid JSON (lone surrogates, long numbers, deep nesting)."""
        try:
            validate(plain(data))
        except NotJson as error:
            return str(error)
        except ValidationError as error:
            return _violations(error)
        return None

    return check


def _as_typed_dict(model: type[MixEvent]) -> Any:  # noqa: ANN401 - a type that is created at run time has no static type
    make: Any = typing_extensions.TypedDict  # pydantic needs Python 3.12 for the standard library's
    need = {True: Required, False: NotRequired}
    fields = {
        str(field.alias): need[field.is_required()][field.rebuild_annotation()] for field in model.model_fields.values()
    }
    typed_dict = make(model.__name__, fields)
    typed_dict.__pydantic_config__ = ConfigDict(extra="ignore", cache_strings="none")
    return typed_dict


def _concerns_fields(error: ValidationError) -> bool:
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] != "json_invalid"


def _violations(error: ValidationError) -> str:
    """Up to three violations on one line: field and reason, never the value."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'data'}: {each['msg']}" for each in found[:3])


VALIDATORS: Mapping[str, Validator] = MappingProxyType({name: validator_of(model) for name, model in EVENTS.items()})


def deletes(event: Event, session_id: str) -> bool:
    """Whether this event reports that the session was deleted. A stream reports other sessions' deletions too."""
    if event.name != "session_deleted":
        return False
    try:
        value = json.loads(event.data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("sessionId") == session_id
