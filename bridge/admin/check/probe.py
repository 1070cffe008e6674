"""``mix-bridge check --probe``: whether a server resumes a session's stream, by the rules of the daemon.

The stream is read for a few seconds, closed, and requested again before its last event. At most one connection exists
at a time. A Mix server without ids is not asked twice: each of its readers takes part in the session's runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bridge.admin.check.line import Line, State
from bridge.admin.text import counted
from bridge.admin.waits import calling_after
from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.actions import Action, Announce, NoIds, Publish, Reconnect, StartEpoch, TakesPart
from bridge.core.stream.continuity import Continuity
from bridge.core.stream.event import Event
from bridge.core.stream.facts import LOSSES
from bridge.core.stream.overlap import OverlapWindow, extended
from bridge.sse.connection import Connector
from bridge.sse.event_stream import EventStream
from bridge.sse.reconnection import Disconnected, Kind, Outcome

_TRIES: Final = 4
"""Requests after the cut: the daemon needs up to two to judge a replay, and a busy server may refuse one or two."""
_PAUSE: Final = 1.0
"""Seconds before another request: some servers refuse a reader until they notice that the last one has left."""
_ANSWER: Final = 10.0
"""Seconds for the head of an answer: longer than the default of ``connect_timeout``, which has an error of its own."""
_ENOUGH: Final = 2
"""Ids before the cut: the events of the last one must come again, after the id before it."""

_HINTS: Final = {
    Kind.GONE: "check the session's id: GET /api/sessions lists them",
    Kind.UNAUTHORIZED: "check {key}.token (or token_file, or headers)",
    Kind.UNREACHABLE: "check {key}.url, and whether the server runs",
    Kind.NOT_A_STREAM: "check {key}.url and {key}.stream_path",
}
_NO_IDS_HINT: Final = (
    "the bridge stops such a session; {key}.without_ids = accept bridges it, and loses events at each cut"
)
_TRY_AGAIN: Final = "try again with a session that has events"
_NO_ANSWER_HINT: Final = f"{_TRY_AGAIN}: some servers answer with the first event only; check the server's log"
_LOST_HINT: Final = "events can be lost at each reconnect: let the server keep events for replay by Last-Event-ID"


@dataclass(frozen=True, slots=True)
class Probed:
    """One session's stream, as the daemon would read it."""

    key: SessionKey
    url: str
    connector: Connector
    continuity: Continuity
    start_after_id: str
    means_no_session: Callable[[Sequence[Event]], bool]
    """Whether these events, as the whole answer, report an unknown session."""
    listen: float = 5.0
    """Seconds for the first events after the answer. A server that replays sends them at once; a live one, later."""


class _Numbered(NamedTuple):
    event: Event
    last_event_id: str


@dataclass(slots=True)
class _Seen:
    """What one connection brought."""

    published: list[Event] = field(default_factory=list)
    lifecycle: list[LifecycleEvent] = field(default_factory=list)
    has_no_ids: bool = False
    is_left: bool = False
    is_answered: bool = False
    end: Outcome | None = None
    """How the server ended the connection; None: the probe did."""

    def add(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Publish(events):
                    self.published += events
                case Announce(event) | StartEpoch(event):
                    self.lifecycle.append(event)
                case NoIds() | TakesPart():
                    self.has_no_ids = True
                case Reconnect():
                    self.is_left = True

    @property
    def verdict(self) -> LifecycleEvent | None:
        """Whether the stream was resumed, once that is known."""
        return next((each for each in self.lifecycle if each.kind == "resumed" or each.kind in LOSSES), None)


def probe(probed: Probed, wait: Callable[[float], object]) -> Line:
    """Connect, drop, resume and compare; takes a minute, rarely more. ``wait`` sleeps."""
    subject = f"probe {probed.key}"
    first = _first(probed)
    if (refused := _judge_first(probed, subject, first)) is not None:
        return refused
    start = OverlapWindow.starting(probed.start_after_id)
    window = extended(start, [_Numbered(each, each.last_event_id) for each in first.published])
    if not window.after:
        detail = f"events with only one id came within {probed.listen:g} s: there is no id before it to resume after"
        return Line(subject, State.WARNING, detail, _TRY_AGAIN)
    seen = _Seen()
    for _ in range(_TRIES):
        wait(_PAUSE)
        requested, seen = _again(probed, window)
        if (verdict := seen.verdict) is None:
            continue
        if verdict.kind == "resumed":
            what = f"{counted(len(first.published), 'event')} before the cut, then a request after the id {requested!r}"
            return Line(subject, State.OK, f"the server resumes: {what}; {verdict.detail}")
        detail = f"the server did not resume after the id {requested!r}: {verdict.detail}"
        return Line(subject, State.FAILED, detail, _LOST_HINT)
    detail = f"after a cut, the server did not send the events after the id {window.after!r} again"
    if seen.end is not None and seen.end.status is not None:
        detail = f"the server refuses to resume after the id {window.after!r}: {seen.end.detail}"
    return Line(subject, State.FAILED, detail, _LOST_HINT)


def _judge_first(probed: Probed, subject: str, first: _Seen) -> Line | None:
    """The result if there is nothing to resume."""
    key = f"servers.{probed.key.server}"
    if first.has_no_ids:
        detail = "the server sends events without ids: nothing can be resumed. It was not asked a second time"
        return Line(subject, State.FAILED, detail, _NO_IDS_HINT.format(key=key))
    if first.published:
        return None
    if first.end is not None and first.end.kind is not Kind.ENDED:
        hint = _HINTS.get(first.end.kind, "try again; check the server's log")
        return Line(subject, State.FAILED, first.end.detail, hint.format(key=key))
    if not first.is_answered:
        return Line(subject, State.WARNING, f"the server did not answer within {_ANSWER:g} s", _NO_ANSWER_HINT)
    detail = f"no event came within {probed.listen:g} s: there is nothing to compare"
    return Line(subject, State.WARNING, detail, _TRY_AGAIN)


def _first(probed: Probed) -> _Seen:
    """Read until there are events to compare, and leave in the middle of the stream."""
    continuity, seen = probed.continuity, _Seen()
    requested, _ = continuity.begin(OverlapWindow.starting(probed.start_after_id), is_used=False)
    events: list[Event] = []
    is_open = False

    def take(stream: EventStream) -> bool:
        nonlocal is_open
        events.extend(read := stream.read())
        if probed.means_no_session(events):  # unless more follows
            return True
        if not is_open:
            is_open, read = True, events
            seen.has_no_ids = continuity.refuses(events)
            continuity.answered(stream.answered_id)
            continuity.opened()
        seen.add(continuity.take(read, monotonic()))
        seen.has_no_ids |= bool(seen.published) and not continuity.has_ids
        return not (seen.has_no_ids or seen.is_left) and len({each.id for each in seen.published}) < _ENOUGH

    _connection(probed, requested, probed.listen, seen, take)
    if events and not is_open and seen.end is not None and seen.end.kind is Kind.ENDED:
        seen.end = Outcome(Kind.GONE, "the server has no such session: the answer was one error event and the end")
    elif events and not is_open:
        seen.has_no_ids = True
    continuity.closed(monotonic(), timed_out=False)
    return seen


def _again(probed: Probed, window: OverlapWindow) -> tuple[str, _Seen]:
    """Request the stream again, and read until the first events decide. Returns the id that was sent, and them."""
    continuity, seen = probed.continuity, _Seen()
    requested, actions = continuity.begin(window, is_used=True, cursor=window.cursor)
    seen.add(actions)
    is_open = False

    def take(stream: EventStream) -> bool:
        nonlocal is_open
        if not is_open:
            is_open = True
            continuity.answered(stream.answered_id)
            seen.add(continuity.opened())
        seen.add(continuity.take(stream.read(), monotonic()))
        return seen.verdict is None and not seen.is_left

    _connection(probed, requested, continuity.replay_timeout, seen, take)
    if is_open:
        timed_out = seen.end is None and seen.verdict is None and not seen.is_left
        seen.add(continuity.closed(monotonic(), timed_out=timed_out))
    else:
        continuity.check_refused(about_id=True)
    return requested, seen


def _connection(
    probed: Probed, requested: str, seconds: float, seen: _Seen, take: Callable[[EventStream], bool]
) -> None:
    """Read one connection for so many seconds after its answer, while ``take`` returns True; it is closed then."""
    connector, stream = probed.connector, None
    try:
        with calling_after(_ANSWER, connector.retire):
            stream = connector.connect(probed.url, requested)
        seen.is_answered = True
        with calling_after(seconds, connector.retire):
            while take(stream):
                pass
    except Disconnected as end:
        seen.end = None if connector.was_cut else end.outcome
    finally:
        if stream is not None:
            stream.close()
