"""Selects events, turns them into lines for people, and joins the pieces of a text. Pure; time is an argument.

The data may come from anyone: nothing in a text can move the cursor, change a colour or imitate another line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from bridge.admin.text import matches
from bridge.consumer import Event
from bridge.consumer.record import LIFECYCLE
from bridge.core.terminal_text import shortened, visible

_DELTAS = {"thinking": "content", "content": "content", "tool_use_parameter_delta": "input"}
"""Events that carry a piece of a longer text, and the member that contains it."""
_LONGEST_TEXT = 150
"""Characters after which a line is shown: about the width of a wide screen."""
_LONGEST_WAIT = 1.5
"""Seconds after which an unfinished line is shown: a screen without movement looks dead."""
LONGEST = 400
"""Characters of a text: more than the widest screen shows, and cheap for giant events."""
_JOINER = "\u200d"
"""Joins emoji to one picture. It is removed, because terminals differ on how wide the picture is."""

PLAIN, GOOD, BAD, QUESTION, NOTICE, TOOL = "default", "green", "red", "yellow", "bright_yellow", "cyan"
_NORMAL = frozenset({"attached", "resumed", "ended"})
"""Kinds of lifecycle records about which nobody need worry."""


class Members(dict[str, Any]):
    """The members of an event's data: each as text, empty if it is missing; ``get`` returns them unchanged."""

    def __getitem__(self, name: str) -> str:
        value = self.get(name, "")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:LONGEST]


@dataclass(frozen=True, slots=True)
class TailFilter:
    """The records that meet all of these conditions."""

    sessions: tuple[str, ...] = ()
    """``server/id`` or patterns of it: one of them matches. A pattern without a slash is about the id only."""
    type: str | None = None
    """An event type or a pattern; of lifecycle records the last part of the type counts too."""
    text: str | None = None
    """A text in the data, or in the reason or error of a dead letter."""

    def matches(self, event: Event) -> bool:
        """Return whether the event meets all conditions."""
        named = (matches(event.key if "/" in each else event.session, each) for each in self.sessions)
        return (
            (not self.sessions or any(named))
            and (matches(event.type, self.type) or matches(event.type.removeprefix(LIFECYCLE), self.type))
            and (self.text is None or self.text in _searchable(event))
        )


def _searchable(event: Event) -> str:
    """The reason, the error, and the data: as it is, and with the characters that its JSON escapes stand for."""
    text = f"{event.dead_letter or ''} {event.error or ''} {event.data.decode('utf-8', 'replace')}"
    if "\\" not in text:
        return text
    try:
        return f"{text}\n{json.dumps(event.json(), ensure_ascii=False)}"
    except (ValueError, RecursionError):
        return text


class EventText(NamedTuple):
    """What is shown of one event."""

    text: str
    style: str


def printable(text: str) -> str:
    """Return the text on one line, cut, with everything escaped that is not a visible character or a space."""
    return visible(shortened(text, LONGEST).replace("\n", "⏎ ").replace(_JOINER, ""))


def members_of(data: bytes) -> Members | None:
    """Return the data's members. None if it is not a JSON object."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return Members(parsed) if isinstance(parsed, dict) else None


def describe(event: str, data: bytes, members: Members | None) -> EventText:
    """Describe an event; ``members`` are those of its data."""
    if members is not None and event.startswith(LIFECYCLE):
        style = GOOD if event.removeprefix(LIFECYCLE) in _NORMAL else BAD
        return EventText(printable("{reason}: {detail}".format_map(members)), style)
    if members is None or event not in _FORMATS:
        return EventText(printable(data[: 4 * LONGEST].decode(errors="replace")), PLAIN)
    template, style = _FORMATS[event]
    text, style = (template.format_map(members), style) if isinstance(template, str) else template(members)
    return EventText(printable(text), style)


def _complete(members: Members) -> EventText:
    duration = members.get("reasoningDuration")
    after = f" after {duration / 1000:.1f} s of thinking" if isinstance(duration, int | float) else ""
    return EventText(f"✓ done{after}: {members['content']}", GOOD)


def _executed(members: Members) -> EventText:
    mark, style = ("✓", GOOD) if members.get("success") is True else ("✗", BAD)
    return EventText(f"{mark} {members['toolName']}: {members['progress']}", style)


def _notification(members: Members) -> EventText:
    kind, choices = members["notificationType"], members.get("choices")
    options = f" ({' / '.join(map(str, choices))})" if isinstance(choices, list) else ""
    style = {"error": BAD, "question": QUESTION}.get(kind, NOTICE)
    return EventText(f"{kind}: {members['title']}: {members['message']}{options}", style)


def _error(members: Members) -> EventText:
    attempt = f", attempt {members['attempt']} of {members['maxAttempts']}" if members["attempt"] else ""
    return EventText(f"✗ {members['error']}{attempt}", BAD)


_FORMATS: Mapping[str, tuple[str | Callable[[Members], EventText], str]] = {
    "user_message_created": ("» {content}", "bold"),
    "thinking": ("{content}", "italic bright_black"),
    "content": ("{content}", PLAIN),
    "complete": (_complete, ""),
    "tool_use_start": ("calls {name}", TOOL),
    "tool_use_parameter_delta": ("{input}", "bright_black"),
    "tool_use_parameter_streaming_complete": ("{name} {input}", TOOL),
    "tool_execution_start": ("▸ {toolName}: {progress} …", TOOL),
    "tool_execution_complete": (_executed, ""),
    "permission": ("may I {action} {toolName}? {description} {params}", QUESTION),
    "notification": (_notification, ""),
    "error": (_error, ""),
    "session_created": ("new session {sessionId}: {title}", "bold magenta"),
    "session_deleted": ("session {sessionId} was deleted", "bold magenta"),
}
"""For each event a template and its style, or a function that returns both."""


class Line(NamedTuple):
    """One line: one event, or the joined pieces of one text. All texts are safe to print."""

    session: str
    """``<server>/<session id>``."""
    event: str
    text: str
    style: str
    events: int = 1
    is_nested: bool = False
    """Whether a subagent published it, inside a tool call."""
    time: datetime | None = None
    """When the bridge received the first of its events."""


@dataclass(slots=True)
class _OpenLine:
    event: str
    origin: tuple[str, str, str]
    """The tool call and message of the text: pieces of another origin begin another line."""
    style: str
    since: float
    time: datetime
    pieces: list[str] = field(default_factory=list)


class LineBuilder:
    """Joins pieces, at most one line per session at a time. One thread only."""

    def __init__(self, longest_wait: float = _LONGEST_WAIT) -> None:
        self._longest_wait = longest_wait
        self._open: dict[str, _OpenLine] = {}

    def add(self, record: Event, now: float) -> Iterator[Line]:
        """Yield the lines that this event completes, in the session's order."""
        session, event, members = record.key, record.type, members_of(record.data)
        if members is None or event not in _DELTAS or record.dead_letter:
            yield from self._finish(session)
            yield _line(record, members)
            return
        line = self._open.get(session)
        if line is None or (line.event, line.origin) != (event, _origin(members)):
            yield from self._finish(session)
            style = describe(event, record.data, members).style
            line = self._open[session] = _OpenLine(event, _origin(members), style, now, record.time)
        line.pieces.append(members[_DELTAS[event]])
        if sum(map(len, line.pieces)) > _LONGEST_TEXT:
            yield from self._finish(session)

    def due(self, now: float) -> Iterator[Line]:
        """Yield the lines that have waited long enough."""
        for session in [each for each, line in self._open.items() if now - line.since > self._longest_wait]:
            yield from self._finish(session)

    def rest(self) -> Iterator[Line]:
        """Yield all unfinished lines."""
        for session in list(self._open):
            yield from self._finish(session)

    def _finish(self, session: str) -> Iterator[Line]:
        if (line := self._open.pop(session, None)) is not None:
            text = printable("".join(line.pieces))
            yield Line(session, line.event, text, line.style, len(line.pieces), bool(line.origin[0]), line.time)


def _origin(members: Members) -> tuple[str, str, str]:
    return members["parentToolCallId"], members["assistantMessageId"], members["toolCallId"]


def _line(record: Event, members: Members | None) -> Line:
    text, style = describe(record.type, record.data, members)
    if record.dead_letter:
        parts = (f"dead letter, {record.dead_letter}", record.error, text)
        text, style = printable(": ".join(filter(None, parts))), BAD
    elif record.replayed:
        text = printable(f"replayed: {text}")
    is_nested = bool(members and members["parentToolCallId"])
    return Line(record.key, printable(record.type), text, style, is_nested=is_nested, time=record.time)
