"""The events of the Mix contract (0.8.1) as frozen dataclasses, for consumers that want types.

Python names are in snake case: ``toolCallId`` is ``tool_call_id``. Members that a class does not list, because the
server is newer, are in ``Event.json()``. The bridge makes the schemas that it validates from these classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from bridge.consumer.record import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The stream is open."""

    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The connection is alive."""

    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """A run failed, or is tried again after ``retry_after`` milliseconds."""

    error: str
    attempt: float | None = None
    max_attempts: float | None = None
    parent_tool_call_id: str | None = None
    retry_after: float | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """An event of a run."""

    type: str
    parent_tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(RunEvent):
    """One answer is complete. The session continues."""

    done: bool
    content: str | None = None
    message_id: str | None = None
    reasoning: str | None = None
    reasoning_duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking(RunEvent):
    """A part of the agent's reasoning."""

    content: str
    assistant_message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content(RunEvent):
    """A part of the answer."""

    content: str
    assistant_message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUseStart(RunEvent):
    """The agent starts a tool call."""

    name: str
    id: str
    assistant_message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUseParameterStreamingComplete(RunEvent):
    """The input of the tool call is complete."""

    name: str
    input: Any
    id: str
    assistant_message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUseParameterDelta(RunEvent):
    """A part of the tool call's input."""

    tool_call_id: str
    input: Any
    assistant_message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolExecutionStart(RunEvent):
    """The tool runs."""

    tool_name: str
    progress: str
    tool_call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolExecutionComplete(RunEvent):
    """The tool has run."""

    tool_name: str
    progress: str
    tool_call_id: str
    success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission(RunEvent):
    """The agent asks for permission."""

    id: str
    session_id: str
    tool_name: str
    description: str
    action: str
    params: Any = None
    path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification(RunEvent):
    """The agent notifies or asks a person."""

    id: str
    session_id: str
    notification_type: str
    title: str
    message: str
    response_type: str
    timeout: float | str | None
    created_at: float | str
    choices: list[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMessageCreated(RunEvent):
    """A person wrote a message."""

    message_id: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated:
    """A session was created."""

    type: str
    session_id: str
    title: str
    created_at: float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDeleted:
    """A session was deleted."""

    type: str
    session_id: str


MixEvent = (
    Connected
    | Heartbeat
    | Error
    | Complete
    | Thinking
    | Content
    | ToolUseStart
    | ToolUseParameterStreamingComplete
    | ToolUseParameterDelta
    | ToolExecutionStart
    | ToolExecutionComplete
    | Permission
    | Notification
    | UserMessageCreated
    | SessionCreated
    | SessionDeleted
)

MODELS: Mapping[str, type[MixEvent]] = {
    re.sub("(?<!^)(?=[A-Z])", "_", model.__name__).lower(): model for model in MixEvent.__args__
}
"""By SSE event name."""


def model_of(event: Event) -> MixEvent | None:
    """Return the event's data as an object of its class; None if its type is unknown, or its data violates the class.

    Such data is in the topics with ``events.unknown`` or ``events.invalid`` set to publish, and in dead letters.
    """
    model = MODELS.get(event.type)
    try:
        members = event.json() if model is not None else None
    except (ValueError, RecursionError):
        return None
    if model is None or not isinstance(members, dict):
        return None
    arguments = {}
    for field in fields(model):
        value = members.get(_camel(field.name), MISSING)
        if value is MISSING and field.default is MISSING:
            return None
        if value is not MISSING:
            if not _fits(value, str(field.type)):
                return None
            arguments[field.name] = value
    return model(**arguments)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "float": (int, float),
    "None": (type(None),),
    "list[Any]": (list,),
    "Any": (object,),
}
"""What a member may be, for each word of an annotation. JSON's true and false are no numbers."""


def _fits(value: object, annotation: str) -> bool:
    words = annotation.split(" | ")
    if isinstance(value, bool):
        return "bool" in words or "Any" in words
    return any(isinstance(value, _TYPES[word]) for word in words)
