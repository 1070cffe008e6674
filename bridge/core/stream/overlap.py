"""The overlap window: the known events that a true replay begins with, so that the replay proves itself.

The next request resumes after the id *before* the last one, so a true replay begins with known events. A session
remembers that id and a digest of each event after it: usually one event, or all events that share the last id.
"""

from __future__ import annotations

from collections.abc import Iterable, Reversible
from hashlib import blake2b
from typing import NamedTuple, Protocol

from bridge.core.identity import sendable
from bridge.core.stream.event import Event

DIGEST_BYTES = 8
"""Bytes per event: two different events have the same digest once in 1.8e19 pairs."""
MOST = 256
"""Most events that are remembered: 2 KiB. If more share one id, the events after them come again in a new epoch."""
LONGEST_AFTER = 1024
"""Most characters of the id before the last one: at most 4 KiB, and no known server has ids that long."""


class OverlapWindow(NamedTuple):
    """Where to resume, and the events to expect there."""

    after: str
    """The id to send: all known events after it are in ``digests``. Empty: no header."""
    cursor: str
    """The stream's last event id after the newest known event."""
    digests: bytes = b""
    """The digests joined, oldest first; at most ``MOST``."""
    certain: bool = True
    """False if the stream had events without ids between others: whether a replay brings them is unknown."""
    is_new: bool = False
    """The session's first epoch, before its first event: ``attached`` may not have been announced yet."""

    @classmethod
    def starting(cls, last_event_id: str) -> OverlapWindow:
        """A window with the id to resume after, and no known events."""
        return cls(last_event_id, last_event_id)

    def is_start(self, start_after_id: str) -> bool:
        """Whether this is the place after the start id, without known events."""
        return (self.after, self.cursor, self.digests, self.certain) == (start_after_id, start_after_id, b"", True)

    def unproven(self) -> OverlapWindow:
        """The same place without known events: the next number may belong to any event.

        It resumes before the newest id, because more events may share that id.
        """
        return OverlapWindow("" if self.after == self.cursor else self.after, self.cursor, b"", self.certain)

    @property
    def believes_next(self) -> bool:
        """Whether the next id in sequence can only belong to the first event that was numbered from here."""
        return bool(self.digests) or self.after == self.cursor

    @property
    def is_complete(self) -> bool:
        """Every event after ``after`` is remembered."""
        return len(self.digests) < MOST * DIGEST_BYTES


class Numbered(Protocol):
    """An event and the stream's last event id after it; no event if only an id moved."""

    @property
    def event(self) -> Event | None:
        """The event."""

    @property
    def last_event_id(self) -> str:
        """The stream's last event id."""


def digest(event: Event) -> bytes:
    """Eight bytes that identify an event by its own id, name and data; the time does not count."""
    own_id = "" if event.id is None else f"\1{event.id}"
    size = "" if event.oversize is None else event.oversize.sha256
    return blake2b(f"{own_id}\0{event.name}\0{size}\0{event.data}".encode(), digest_size=DIGEST_BYTES).digest()


def extended(known: OverlapWindow, entries: Reversible[Numbered]) -> OverlapWindow:
    """The window after more events. Reads only the events of the newest two ids, usually two events."""
    newest: list[Event] = []
    cursor = later = None
    for each in reversed(entries):
        if each.event is None:
            continue  # a replay need not repeat an id-only block, so it proves nothing
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
    digests = known.digests + _digests(reversed(newest)) if known.is_complete else known.digests
    return OverlapWindow(known.after, cursor, digests[: MOST * DIGEST_BYTES], known.certain)


def _digests(events: Iterable[Event]) -> bytes:
    return b"".join(map(digest, events))[: MOST * DIGEST_BYTES]


def _is_kept(last_event_id: str) -> bool:
    return 0 < len(last_event_id) <= LONGEST_AFTER and sendable(last_event_id)
