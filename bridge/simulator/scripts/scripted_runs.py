"""A session's events by sequence, as its connections read them; and the ids that stand on them.

Everything here belongs to the server's event loop thread.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple, Protocol
from uuid import NAMESPACE_URL, uuid5

from bridge.simulator.faults.kinds import Ids
from bridge.simulator.scripts.load_script import LoadScript
from bridge.simulator.scripts.replay_buffer import ReplayBuffer
from bridge.simulator.server.encoding import http_chunks

# Events handed to a connection before others get their turn; at 300 bytes each about the transport's 64 KiB limit.
_TURN = 256
# Digits of the largest id this server will ever give; int() refuses thousands of them.
_LONGEST_ID = 18
BEFORE_ALL = "0"
"""The id before the first event."""


class Track(Protocol):
    """A session's events by sequence, as the connections read them."""

    @property
    def head(self) -> int:
        """The sequence of the newest event; 0 while there is none."""

    @property
    def floor(self) -> int:
        """The sequence before the oldest event that can still be had."""

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        """HTTP chunks with the next events that are still there, and the sequence of the last of them."""

    def id_at(self, sequence: int) -> str | None:
        """The id of an event that is still there, None if it has none; "0" for 0."""

    def resume(self, last_event_id: str) -> int | None:
        """The sequence after which a reader that knows this id goes on; None for an id that was never given."""


class Published(NamedTuple):
    """An event as the bytes that go out. ``block`` is empty when it reaches nobody."""

    id: str | None
    rank: int
    """Rises with the sequence, however ids look: twice the number of the newest id, and one more without an id."""
    block: bytes


class Numbering:
    """The ids of one session: numbers from 1, unless a fault wants others."""

    def __init__(self, space: str) -> None:
        self._space = space
        self._placed = 0
        self.last = 0

    def next(self) -> int:
        """The next number, which is then used up."""
        self.last += 1
        return self.last

    def under(self, ids: Ids | None) -> tuple[str | None, int]:
        """The id of the next event and its rank."""
        if ids is None:
            self._placed = 0
            return str(self.next()), 2 * self.last
        turn, self._placed = self._placed % ids.size, self._placed + 1
        if ids.scheme == "none" or (ids.scheme == "some" and turn):
            return None, 2 * self.last + 1
        if ids.scheme == "uuid":
            return str(uuid5(NAMESPACE_URL, f"{self._space}/{self.next()}")), 2 * self.last
        number = self.last if ids.scheme == "group" and turn else self.next()
        return str(number), 2 * number


class LiveTrack:
    """Events that agents publish now, the newest kept for replay."""

    def __init__(self, session: str, capacity: int, per_write: int) -> None:
        self.buffer: ReplayBuffer[Published] = ReplayBuffer(capacity)
        self.numbering = Numbering(session)
        self._per_write = per_write

    @property
    def head(self) -> int:
        """See ``Track``."""
        return self.buffer.head

    @property
    def floor(self) -> int:
        """See ``Track``."""
        return self.buffer.oldest - 1

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        """See ``Track``; at most 256 events."""
        published, last = self.buffer.after(sequence, _TURN)
        return http_chunks([event.block for event in published if event.block], self._per_write), last

    def id_at(self, sequence: int) -> str | None:
        """See ``Track``."""
        if not sequence:
            return BEFORE_ALL
        return self.buffer[sequence].id if sequence > self.floor else str(self.numbering.last)

    def resume(self, last_event_id: str) -> int | None:
        """See ``Track``."""
        if (number := number_of(last_event_id)) is None:
            return self._after_opaque(last_event_id)
        # Ids rise with the sequence, but jump where an event about a connection took one.
        kept = range(self.buffer.oldest, self.buffer.head + 1)
        return self.floor + bisect_right(kept, 2 * number, key=lambda at: self.buffer[at].rank)

    def _after_opaque(self, last_event_id: str) -> int | None:
        line = b"id: %b\n" % last_event_id.encode(errors="replace")
        newest_first = range(self.buffer.head, self.floor, -1)
        return next((at for at in newest_first if line in self.buffer[at].block), None)

    def restart(self, *, fresh_ids: bool, forget: bool) -> None:
        """As after a restart of the process: ids go on or begin at 1 again, with the oldest event that is kept."""
        if forget:
            self.buffer.forget(0)
        if fresh_ids:
            self.numbering.last = 0
            for at in range(self.buffer.oldest, self.buffer.head + 1):
                self.buffer[at] = _renumbered(self.buffer[at], self.numbering.next())


def _renumbered(event: Published, number: int) -> Published:
    old = b"id: %b\n" % (event.id or "").encode()
    if event.id is None or not event.block.startswith(old):
        return event._replace(rank=2 * number)
    return Published(str(number), 2 * number, b"id: %d\n" % number + event.block.removeprefix(old))


class LoadTrack:
    """The events of a load test: there is nothing to keep, each is known from its number. None before ``begin``."""

    floor = 0

    def __init__(self, script: LoadScript, clock: Callable[[], float], rate: float) -> None:
        self.script = script
        self._clock = clock
        self._rate = rate
        self._began: float | None = None

    def begin(self) -> None:
        """From now on there are events. Can be called twice."""
        if self._began is None:
            self._began = self._clock()

    @property
    def head(self) -> int:
        """See ``Track``."""
        if self._began is None:
            return 0
        if self._rate == math.inf:
            return self.script.events
        return min(self.script.events, int((self._clock() - self._began) * self._rate))

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        """See ``Track``."""
        return self.script.chunks_after(sequence, self.head)

    def id_at(self, sequence: int) -> str:
        """See ``Track``."""
        return str(sequence)

    def resume(self, last_event_id: str) -> int | None:
        """See ``Track``."""
        number = number_of(last_event_id)
        return None if number is None else min(number, self.head)


def number_of(last_event_id: str) -> int | None:
    """The number that an id is; None for any other text."""
    is_ours = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= _LONGEST_ID
    return int(last_event_id) if is_ours else None
