"""Turns events into lines for people: what an agent says piece by piece becomes one line. Pure, time is an argument."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.demo.consumed_record import ConsumedRecord
from bridge.demo.event_text import Fields, Tone, digest, fields_of, printable, said

_PIECES = {"thinking": "content", "content": "content", "tool_use_parameter_delta": "input"}
"""Events that carry a piece of a longer text, and the member that has it."""
_LONGEST_TEXT = 150
"""Characters after which a line is shown: about what fits on a wide screen."""
_LONGEST_WAIT = 1.5
"""Seconds after which a line is shown that is not full: a screen that stands still for longer looks dead."""


class Line(NamedTuple):
    """One line to show: one event, or several that carry pieces of one text."""

    session: str
    event: str
    text: str
    """Safe to print."""
    tone: Tone
    events: int = 1
    is_nested: bool = False
    """Said by a subagent, inside a tool call."""


@dataclass(slots=True)
class _Passage:
    event: str
    origin: tuple[str, str, str]
    """Whose text it is: pieces of another origin begin another line."""
    tone: Tone
    since: float
    pieces: list[str] = field(default_factory=list)

    def line(self, session: str) -> Line:
        text = printable("".join(self.pieces))
        return Line(session, printable(self.event), text, self.tone, len(self.pieces), bool(self.origin[0]))


class LineBuilder:
    """The texts that are being said, at most one a session. One thread only."""

    def __init__(self) -> None:
        self._open: dict[str, _Passage] = {}

    def take(self, arrival: ConsumedRecord, now: float) -> Iterator[Line]:
        """The lines that this event completes, in the order of the session."""
        fields = fields_of(arrival.data)
        open_one = self._open.get(arrival.session)
        if fields is None or arrival.event not in _PIECES or arrival.dead_letter:
            yield from self._close(arrival.session)
            yield _line(arrival, fields)
            return
        if open_one is None or (open_one.event, open_one.origin) != (arrival.event, _origin(fields)):
            yield from self._close(arrival.session)
            tone = digest(arrival.event, arrival.data, fields).tone
            open_one = self._open[arrival.session] = _Passage(arrival.event, _origin(fields), tone, now)
        open_one.pieces.append(said(fields, _PIECES[arrival.event]))
        if sum(map(len, open_one.pieces)) > _LONGEST_TEXT:
            yield from self._close(arrival.session)

    def due(self, now: float) -> Iterator[Line]:
        """The lines that have waited long enough."""
        for session in [each for each, passage in self._open.items() if now - passage.since > _LONGEST_WAIT]:
            yield from self._close(session)

    def rest(self) -> Iterator[Line]:
        """All lines that are left."""
        for session in list(self._open):
            yield from self._close(session)

    def _close(self, session: str) -> Iterator[Line]:
        passage = self._open.pop(session, None)
        if passage is not None:
            yield passage.line(session)


def _origin(fields: Fields) -> tuple[str, str, str]:
    return said(fields, "parentToolCallId"), said(fields, "assistantMessageId"), said(fields, "toolCallId")


def _line(arrival: ConsumedRecord, fields: Fields | None) -> Line:
    shown = digest(arrival.event, arrival.data, fields)
    is_nested = bool(fields and said(fields, "parentToolCallId"))
    event = printable(arrival.event)
    if arrival.dead_letter:
        text = printable(f"dead letter, {arrival.dead_letter}: {shown.text}")
        return Line(arrival.session, event, text, Tone.BAD, is_nested=is_nested)
    return Line(arrival.session, event, shown.text, shown.tone, is_nested=is_nested)
