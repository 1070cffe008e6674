"""One line for people of what an event says, whatever its data holds. Pure.

The text comes from anywhere: nothing in a digest can move a cursor, change a colour or pretend to be another line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

LONGEST = 400
"""Characters of a digest: more than the widest screen shows, less than a giant event would cost."""
_JOINER = "\u200d"
"""Joins emoji to one picture. It draws nothing itself, and terminals differ on how wide the picture is: left out."""

Fields = Mapping[str, Any]


class Tone(Enum):
    """What sort of thing is said; the screen gives each its colour."""

    USER = auto()
    SPEECH = auto()
    THOUGHT = auto()
    TOOL = auto()
    QUIET = auto()
    GOOD = auto()
    BAD = auto()
    ASKING = auto()
    NOTICE = auto()
    NEWS = auto()
    PLAIN = auto()


class Digest(NamedTuple):
    """What is shown of one event."""

    text: str
    tone: Tone


def printable(text: str) -> str:
    """The text on one line, cut, with everything escaped that is not a visible character or a space."""
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(map(_visible, cut))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if character == "\n":
        return "⏎ "
    return "" if character == _JOINER else repr(character)[1:-1]


def fields_of(data: bytes) -> Fields | None:
    """The data's members; None when it is no JSON object."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def digest(event: str, data: bytes, fields: Fields | None) -> Digest:
    """What to show of an event; ``fields`` are those of its data."""
    say = _SAYINGS.get(event)
    if fields is None or say is None:
        return Digest(printable(data[: 4 * LONGEST].decode(errors="replace")), Tone.PLAIN)
    text, tone = say(fields)
    return Digest(printable(text), tone)


def said(fields: Fields, name: str) -> str:
    """A member as text, whatever it is; empty when it is not there."""
    value = fields.get(name, "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:LONGEST]


def _complete(fields: Fields) -> Digest:
    took = fields.get("reasoningDuration")
    after = f" after {took / 1000:.1f} s of thinking" if isinstance(took, int | float) else ""
    return Digest(f"✓ done{after}: {said(fields, 'content')}", Tone.GOOD)


def _executed(fields: Fields) -> Digest:
    good = fields.get("success") is True
    text = f"{'✓' if good else '✗'} {said(fields, 'toolName')}: {said(fields, 'progress')}"
    return Digest(text, Tone.GOOD if good else Tone.BAD)


def _permission(fields: Fields) -> Digest:
    what = f"may I {said(fields, 'action')} {said(fields, 'toolName')}? {said(fields, 'description')}"
    return Digest(f"{what} {said(fields, 'params')}", Tone.ASKING)


def _notification(fields: Fields) -> Digest:
    kind, choices = said(fields, "notificationType"), fields.get("choices")
    options = f" ({' / '.join(map(str, choices))})" if isinstance(choices, list) else ""
    tone = {"error": Tone.BAD, "question": Tone.ASKING}.get(kind, Tone.NOTICE)
    return Digest(f"{kind}: {said(fields, 'title')}: {said(fields, 'message')}{options}", tone)


def _error(fields: Fields) -> Digest:
    attempt = f", attempt {said(fields, 'attempt')} of {said(fields, 'maxAttempts')}" if "attempt" in fields else ""
    return Digest(f"✗ {said(fields, 'error')}{attempt}", Tone.BAD)


_SAYINGS: Mapping[str, Callable[[Fields], Digest]] = {
    "user_message_created": lambda fields: Digest(f"» {said(fields, 'content')}", Tone.USER),
    "thinking": lambda fields: Digest(said(fields, "content"), Tone.THOUGHT),
    "content": lambda fields: Digest(said(fields, "content"), Tone.SPEECH),
    "complete": _complete,
    "tool_use_start": lambda fields: Digest(f"calls {said(fields, 'name')}", Tone.TOOL),
    "tool_use_parameter_delta": lambda fields: Digest(said(fields, "input"), Tone.QUIET),
    "tool_use_parameter_streaming_complete": lambda fields: Digest(
        f"{said(fields, 'name')} {said(fields, 'input')}", Tone.TOOL
    ),
    "tool_execution_start": lambda fields: Digest(
        f"▸ {said(fields, 'toolName')}: {said(fields, 'progress')} …", Tone.TOOL
    ),
    "tool_execution_complete": _executed,
    "permission": _permission,
    "notification": _notification,
    "error": _error,
    "session_created": lambda fields: Digest(
        f"new session {said(fields, 'sessionId')}: {said(fields, 'title')}", Tone.NEWS
    ),
    "session_deleted": lambda fields: Digest(f"session {said(fields, 'sessionId')} was deleted", Tone.NEWS),
}
