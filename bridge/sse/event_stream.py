"""Closed blocks become events: sseclient-py reads the fields, this module keeps what it leaves out.

sseclient-py forgets the last event id, shows no id of a block without data, takes ids with NUL and joins data lines at
the price of bytes times lines. Whole pieces of plain blocks go straight through it; a piece with anything unusual is
taken block by block.

One form of block, the one Mix servers write, is read by a regular expression instead, many at once: that costs a fifth
of sseclient-py's time, which is most of what a reader costs. The tests hold all three ways to one reference.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import Final, Protocol

import sseclient

from bridge.clock import monotonic, unix_ms
from bridge.core.stream.event import Event, Oversize
from bridge.http.errors import ConnectionLost, EndKind
from bridge.sse.blocks import BlockReader
from bridge.sse.fields import Block, scan
from bridge.sse.reconnection import Disconnected, Kind, Outcome, outcome_of_end

BATCH: Final = 512
"""Blocks turned into events at once: 64 KiB of the smallest blocks would otherwise become megabytes of events."""
_SHORT: Final = 4096
"""Bytes of a block that may have any number of lines: its worst case, 800 lines, costs less than a system call."""
_FEW_LINES: Final = 16
"""Lines of a longer block that sseclient-py may join itself: it copies the data once for each."""

_USUAL: Final = re.compile(r"(?:\A|(?<=\n\n))id: ([^\n]*)\nevent: ([^\n]+)\ndata: ([^\n]*)\n\n")
"""A whole block of exactly these three lines. As many matches as blocks: then every block is one."""

logging.getLogger(__name__).setLevel(logging.INFO)  # sseclient-py writes a line for each event, under this name

_event = tuple.__new__  # a NamedTuple's own constructor costs twice as much, and this runs for every event


class Source(Protocol):
    """Where the bytes come from: the body of one response."""

    def read(self) -> bytes:
        """Some bytes, possibly none if only framing came. Raises ConnectionLost at the end."""

    def close(self) -> None:
        """Give the connection back. Can be called twice."""


class _FieldReader(sseclient.SSEClient):
    """sseclient-py on blocks that are closed already: only its framing is replaced, by the one hook it has for that."""

    def __init__(self) -> None:
        super().__init__(iter(()))
        self._blocks: Iterable[bytes | Block] = ()

    def dispatch(self, blocks: Iterable[bytes | Block]) -> list[sseclient.Event]:
        """The events of these blocks; a block without data has none."""
        self._blocks = blocks
        return list(self.events())

    def _read(self) -> Iterator[bytes | Block]:
        return iter(self._blocks)


class EventStream:
    """The events of one connection, in order; ends only by raising Disconnected. For the reading thread alone.

    ``stalled_after`` is in seconds: bytes without a closed block or a complete comment line for so long are no stream.
    """

    def __init__(self, source: Source, last_event_id: str, *, max_block_bytes: int, stalled_after: float) -> None:
        self.last_event_id = last_event_id
        """The stream's last event id after the events handed out so far (sticky; seeded by the caller)."""
        self.last_byte_at = monotonic()
        """``clock.monotonic`` of the last read."""
        self.reconnection_time: float | None = None
        """Seconds, from the last valid ``retry``; None when there was none."""
        self.bytes_read = 0
        self.blocks = 0
        """Closed blocks, those of comments alone included."""
        self.replaced = 0
        """Events in which bytes that are not UTF-8 were replaced."""
        self.discarded_bytes = 0
        """Bytes of the block that was unfinished at the end."""
        self._source = source
        self._limit = max_block_bytes
        self._short = min(_SHORT, max_block_bytes)
        self._stalled_after = stalled_after
        self._stalled_since: float | None = None
        self._reader = BlockReader(max_block_bytes)
        self._fields = _FieldReader()
        self._cursor = last_event_id  # ahead of the public one by the events that are ready
        self._received_ms = 0
        self._nul = False  # whether the stream ever held a NUL: only then can an id
        self._long: Block | None = None
        self._whole: list[bytes] = []
        self._ready: Iterator[Event] = iter(())
        # Not the exception: its traceback holds this stream, a cycle that would keep the buffers of many dead
        # connections until the next search for cycles.
        self._end: Outcome | None = None

    def __iter__(self) -> Iterator[Event]:
        """Each event as soon as its block is closed."""
        while True:
            for event in self._ready:
                self.last_event_id = event.last_event_id
                yield event
            if not length_hint(self._ready):  # else ``pending`` has put the next ones there meanwhile
                self._ready = iter(self._next_events())

    def read(self) -> list[Event]:
        """The events that are complete, at least one: waits for it. Cheaper than one by one."""
        events = list(self._ready) or self._next_events()
        self.last_event_id = events[-1].last_event_id
        return events

    @property
    def pending(self) -> bool:
        """True when the next event is complete in memory already, so that taking it reads nothing."""
        if not length_hint(self._ready):
            self._ready = iter(self._in_memory())
        return length_hint(self._ready) > 0

    def close(self) -> None:
        """Give the connection back; reading on raises Disconnected. Can be called twice."""
        if self._end is None:
            self._finish(Outcome(Kind.ENDED, "closed by the reader"))

    def _next_events(self) -> list[Event]:
        events = self._in_memory()
        while not events:
            if self._end is not None:  # a response is dead after its end: reading on would look like a clean end
                raise Disconnected(self._end)
            try:
                self._take(self._source.read())
            except ConnectionLost as lost:
                end = outcome_of_end(lost.end)
                self._finish(end)
                raise Disconnected(end) from lost
            events = self._in_memory()
        return events

    def _in_memory(self) -> list[Event]:
        """Events of the blocks that are closed already; none when only a read can bring more."""
        events: list[Event] = []
        if self._long is not None:
            block, self._long = self._long, None
            self.blocks += 1
            events = self._of_fields(block)
        while self._whole and not events:
            batch = self._whole
            self._whole = batch[BATCH:] if len(batch) > BATCH else []
            batch = batch[:BATCH]
            events = self._usual(batch) or self._together(batch) or self._apart(batch)
        return events

    def _finish(self, end: Outcome) -> None:
        self._end = end
        self.discarded_bytes = self._reader.open_bytes
        self._learn_retry(self._reader.retry_of_open)
        self._source.close()

    def _take(self, piece: bytes) -> None:
        """One read: what belongs to a read and not to an event is done once, here."""
        self.last_byte_at = now = monotonic()
        self._received_ms = unix_ms()
        self.bytes_read += len(piece)
        self._nul = self._nul or b"\0" in piece
        comments = self._reader.comments
        self._long, self._whole = self._reader.feed(piece)
        if self._whole or self._long is not None or self._reader.comments != comments:
            self._stalled_since = None
        elif self._stalled_since is None:  # from here and not from the last block: silence, or a reader that stood
            self._stalled_since = now  # still, is nothing that this server did wrong
        elif now - self._stalled_since > self._stalled_after:
            raise ConnectionLost(EndKind.STALLED, f"bytes, but no complete block for {self._stalled_after:g} s")

    def _usual(self, blocks: list[bytes]) -> list[Event]:
        """All events of blocks of the usual form; empty when one of them has another, or is too large."""
        if self._nul or not blocks[0].startswith(b"id: ") or max(map(len, blocks)) >= self._limit:
            return []
        try:
            text = b"\n\n".join(blocks).decode() + "\n\n"
        except UnicodeDecodeError:
            return []
        found = _USUAL.findall(text)
        if len(found) != len(blocks):
            return []
        received_ms = self._received_ms
        self._cursor = found[-1][0]
        self.blocks += len(found)
        return [_event(Event, (name, data, id_, id_, received_ms, None)) for id_, name, data in found]

    def _together(self, blocks: list[bytes]) -> list[Event]:
        """All events of plain blocks in one go; empty when one of the blocks is not plain."""
        if self._nul or max(map(len, blocks)) >= self._short:
            return []
        try:
            dispatched = self._fields.dispatch(blocks)
        except UnicodeDecodeError:
            return []
        if len(dispatched) != len(blocks):  # a block without data: an id may have moved there, between two events
            return []
        cursor, received_ms = self._cursor, self._received_ms
        events = []
        for field in dispatched:
            id_ = field.id
            if id_ is not None:
                cursor = id_
            if field.retry is not None:
                return []
            events.append(_event(Event, (field.event, field.data, id_, cursor, received_ms, None)))
        self._cursor = cursor
        self.blocks += len(blocks)
        return events

    def _apart(self, blocks: list[bytes]) -> list[Event]:
        """The events of any blocks, one by one."""
        events = []
        for block in blocks:
            if block.strip(b"\n"):
                self.blocks += 1
                events += self._of_block(block)
        return events

    def _of_block(self, block: bytes) -> list[Event]:
        if self._is_plain(block):
            dispatched = self._fields.dispatch((block,))
            if dispatched and dispatched[0].retry is None:
                return [self._event(dispatched[0].event, dispatched[0].data, dispatched[0].id)]
        return self._of_fields(scan(block, self._limit))

    def _is_plain(self, block: bytes) -> bool:
        """Whether sseclient-py reads this block as the standard does, in linear time."""
        if b"\0" in block or len(block) >= self._limit:
            return False
        if len(block) >= _SHORT and block.count(b"\n") > _FEW_LINES:
            return False
        return block.isascii() or _is_utf8(block)

    def _of_fields(self, block: Block) -> list[Event]:
        self._learn_retry(block.retry)
        dispatched = self._fields.dispatch((block,))
        if dispatched:
            self.replaced += block.replaced
            return [self._event(dispatched[0].event, dispatched[0].data, dispatched[0].id, block.oversize)]
        if block.id is None:
            return []
        return [self._event("", "", block.id.decode())]

    def _event(self, name: str, data: str, id_: str | None, oversize: Oversize | None = None) -> Event:
        if id_ is not None:
            self._cursor = id_
        return Event(name, data, id_, self._cursor, self._received_ms, oversize)

    def _learn_retry(self, milliseconds: int | None) -> None:
        if milliseconds is not None:
            self.reconnection_time = milliseconds / 1000


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
