"""Recognises known events at the start of a connection, by digest and in order, and streams that bring none."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from bridge.core.stream.event import Event
from bridge.core.stream.overlap import DIGEST_BYTES, OverlapWindow, digest

FEW: Final = 512
"""Events of each epoch that are remembered at first: 4 KiB, and less than a millisecond of work per session."""
MANY: Final = 16_384
"""Events that are remembered after a position was lost: 128 KiB. Such a server may send all its events again at each
reconnect, and events that are recognised are not published again."""


class KnownEvents:
    """Digests of the first events of an epoch, up to a limit."""

    def __init__(self, limit: int = FEW) -> None:
        self.is_complete = True
        """Whether all events of the epoch so far are remembered."""
        self._limit = limit * DIGEST_BYTES
        self._digests = bytearray()

    def add(self, events: Iterable[Event]) -> None:
        """Remember events that are published."""
        if self.is_complete:
            self._digests += b"".join(digest(event) for event in events if event.name)
            if len(self._digests) > self._limit:
                self.is_complete = False
                del self._digests[self._limit :]

    def find(self, wanted: bytes) -> int:
        """The index of the event with this digest; -1 if there is none."""
        at = self._digests.find(wanted)
        while at % DIGEST_BYTES and at >= 0:
            at = self._digests.find(wanted, at + 1)
        return at // DIGEST_BYTES if at >= 0 else -1

    def after(self, index: int) -> bytes:
        """The digests of the events after this one, joined."""
        return bytes(self._digests[(index + 1) * DIGEST_BYTES :])

    def __bool__(self) -> bool:
        return bool(self._digests)


class Match(Enum):
    """The result of one comparison."""

    KNOWN = auto()
    COMPLETE = auto()
    """Known, and the last one: the next event is new."""
    UNKNOWN = auto()


class ReplayMatcher:
    """Compares the first events of one connection with the known ones.

    A true replay begins with the events of the overlap window. Some servers begin earlier: with the event of the
    requested id itself, or with their first event for every request. Each of those events is recognised among all
    known events of the epoch, if these are remembered completely; otherwise events with the requested id are set aside.
    """

    def __init__(self, window: OverlapWindow, known: KnownEvents, requested_id: str) -> None:
        self.matched = 0
        """Events of the overlap window that came."""
        self.skipped: list[Event] = []
        """Events with the requested id, which are known unless the replay is not a true one."""
        self.has_matched_without_id = False
        self._window = window.digests
        self._known = known if known.is_complete else KnownEvents()
        is_before_known = requested_id == window.after != window.cursor
        self._known_id = requested_id if is_before_known else ""
        self._expected = b""

    @property
    def has_come(self) -> bool:
        """Whether any known event came."""
        return bool(self.matched or self.skipped)

    def match(self, event: Event) -> Match:
        """Compare the next event."""
        found = digest(event)
        if not self._expected and not self._find(found):
            if event.id and event.id == self._known_id:
                self.skipped.append(event)
                return Match.KNOWN
            return Match.UNKNOWN
        if not self._expected.startswith(found):
            return Match.UNKNOWN
        self._expected = self._expected[DIGEST_BYTES:]
        self.matched += 1
        self.has_matched_without_id |= event.id is None
        return Match.KNOWN if self._expected else Match.COMPLETE

    def _find(self, found: bytes) -> bool:
        """Find the first event that came among the known ones, and expect all that follow it."""
        if self._window.startswith(found):
            self._expected = self._window
        elif (index := self._known.find(found)) >= 0:
            self._expected = found + self._known.after(index)
        return bool(self._expected)


EMPTY_REPLAYS: Final = 3
"""Fewer streams without a known event may be cuts."""


class EmptyReplays:
    """The streams of one session. For its thread alone.

    A network that cuts each connection within milliseconds ends many streams in a second. So their number alone proves
    nothing: only ends with some time between them count.
    """

    def __init__(self, seconds: float) -> None:
        """``seconds``: the least time from the first end that counts to the last one."""
        self._interval = seconds / (EMPTY_REPLAYS - 1)
        self._count = 0
        self._counted_at = 0.0

    def forget(self) -> None:
        """The next stream is the first one again."""
        self._count = 0

    def ended(self, now: float, *, is_empty: bool) -> bool:
        """Whether one more end proves that the server does not replay. ``is_empty``: no known event came."""
        if not is_empty:
            self.forget()
        elif not self._count or now - self._counted_at >= self._interval:
            self._count, self._counted_at = self._count + 1, now
        return self._count >= EMPTY_REPLAYS
