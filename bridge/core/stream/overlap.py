"""The recent window: what a true replay begins with, so that resuming proves itself.

A server that resumes after the id *before* the last one begins with events that are known. So a session remembers that
id and a digest of each event after it: of one event as a rule, of all with the last id where several share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

from bridge.core.identity import sendable
from bridge.core.stream.event import Event

DIGEST_BYTES = 8
"""Of each event: two events are taken for one another once in 1.8e19 times."""
MOST = 256
"""Events remembered at most: 2 KiB. Where more share one id, what is behind them comes again in a new epoch."""
LONGEST_AFTER = 1024
"""Characters of an id that is remembered beside the last one: at most 4 KiB, and no server's ids are that long."""


class OverlapWindow(NamedTuple):
    """Where to resume, and how to recognise what comes then."""

    after: str
    """The id to send: everything after it that is known is in ``digests``. Empty: no header."""
    cursor: str
    """The stream's last event id after the newest known event."""
    digests: bytes = b""
    """One after the other, oldest first; at most ``MOST``."""
    certain: bool = True
    """False where the stream held events without an id between others: whether a replay brings them is not known."""

    @classmethod
    def starting(cls, last_event_id: str) -> OverlapWindow:
        """Nothing is known but the id to resume after."""
        return cls(last_event_id, last_event_id)

    def unproven(self) -> OverlapWindow:
        """The same place with nothing to recognise it by: what is numbered next may be any event.

        From before the newest id, because more events may stand under it.
        """
        return OverlapWindow("" if self.after == self.cursor else self.after, self.cursor, b"", self.certain)

    @property
    def believes_next(self) -> bool:
        """Whether the next id in the row can only be the first event that was numbered from here."""
        return bool(self.digests) or self.after == self.cursor

    @property
    def is_whole(self) -> bool:
        """Every event after ``after`` is remembered."""
        return len(self.digests) < MOST * DIGEST_BYTES


class Passed(Protocol):
    """An event and the stream's last event id after it; no event where only an id moved."""

    @property
    def event(self) -> Event | None:
        """The event."""

    @property
    def last_event_id(self) -> str:
        """The stream's last event id."""


def digest(event: Event) -> bytes:
    """Eight bytes that stand for an event: its own id, name and data; not when it came."""
    own_id = "" if event.id is None else f"\1{event.id}"
    size = "" if event.oversize is None else event.oversize.sha256
    return blake2b(f"{own_id}\0{event.name}\0{size}\0{event.data}".encode(), digest_size=DIGEST_BYTES).digest()


def extended(known: OverlapWindow, passed: Sequence[Passed]) -> OverlapWindow:
    """The window after more events. Only those of the newest ids are looked at: mostly one."""
    newest: list[Event] = []
    cursor = later = None
    for each in reversed(passed):
        if each.event is None:
            continue  # an id alone proves nothing: no replay need bring it again
        if later is None:
            cursor = each.last_event_id
        elif each.last_event_id != later and _is_kept(each.last_event_id):
            return OverlapWindow(each.last_event_id, cursor or "", _digests(reversed(newest)), known.certain)
        later = each.last_event_id
        newest.append(each.event)
    if cursor is None:
        return known
    if later != known.cursor and _is_kept(known.cursor):
        return OverlapWindow(known.cursor, cursor, _digests(reversed(newest)), known.certain)
    digests = known.digests + _digests(reversed(newest)) if known.is_whole else known.digests
    return OverlapWindow(known.after, cursor, digests[: MOST * DIGEST_BYTES], known.certain)


def _digests(events: Iterable[Event]) -> bytes:
    return b"".join(map(digest, events))[: MOST * DIGEST_BYTES]


def _is_kept(last_event_id: str) -> bool:
    return 0 < len(last_event_id) <= LONGEST_AFTER and sendable(last_event_id)
