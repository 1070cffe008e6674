"""Turns closed blocks into events: sseclient-py parses the fields, this module adds what it lacks.

sseclient-py forgets the last event ID, hides the id of a block without data, accepts ids with NUL, and joins data lines
in a time of bytes times lines. It parses whole pieces of plain blocks at once. A piece with any other block is parsed
block by block.

A regular expression parses the one form of block that Mix servers write, many at once, in a fifth of sseclient-py's
time, which is most of a reader's time. The tests compare all three ways with one reference.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

import sseclient

from bridge.clock import monotonic, unix_ms
from bridge.core.stream.event import Event, Oversize
from bridge.http.errors import ConnectionLost, EndKind
from bridge.sse.blocks import BlockReader
from bridge.sse.fields import Block, scan
from bridge.sse.reconnection import Disconnected, Kind, Outcome, outcome_of_loss

BATCH: Final = 512
"""Blocks that become events at once: 64 KiB of the smallest blocks would become megabytes of events."""
_STEP: Final = 16 * 1024
"""Bytes by which the kept part of an unfinished block changes before that is reported."""
_SHORT: Final = 4096
"""Bytes of a block that may have any number of lines: the worst case, 800 lines, is faster than a system call."""
_FEW_LINES: Final = 16
"""Lines of a longer block that sseclient-py may join: it copies the data once per line."""

_MIX_BLOCK: Final = re.compile(r"(?:\A|(?<=\n\n))id: ([^\n]*)\nevent: ([^\n]+)\ndata: ([^\n]*)\n\n")
"""A whole block of exactly these three lines. If there are as many matches as blocks, every block has this form."""

logging.getLogger(__name__).setLevel(logging.INFO)  # sseclient-py logs every event under this name

_event = tuple.__new__  # half the time of the NamedTuple's own constructor, once per event


class Source(Protocol):
    """The body of one response."""

    def read(self) -> bytes:
        """Some bytes, possibly none if only framing came. Raises ConnectionLost at the end."""

    def gather(self, seconds: float) -> None:
        """Wait until much has come, or the end, for at most so many seconds."""

    @property
    def unread(self) -> int:
        """Bytes that the system has received and nobody has read."""

    def close(self) -> None:
        """Close the connection. Can be called twice."""


def hold_nothing(_kept: int) -> None:
    """Nobody counts the bytes of unfinished blocks."""


class _FieldReader(sseclient.SSEClient):
    """sseclient-py on closed blocks: only its framing is replaced, through the one hook it has for that."""

    def __init__(self) -> None:
        super().__init__(iter(()))
        self._blocks: Iterable[bytes | Block] = ()

    def dispatch(self, blocks: Iterable[bytes | Block]) -> list[sseclient.Event]:
        """The events of these blocks. A block without data has none."""
        self._blocks = blocks
        return list(self.events())

    def _read(self) -> Iterator[bytes | Block]:
        return iter(self._blocks)


class EventStream:
    """The events of one connection, in order. Ends only by raising Disconnected. Only the reading thread may use it.

    The stream stalls after ``stalled_after`` seconds with bytes but without a closed block or a complete comment line.
    ``hold`` is called with the bytes of the unfinished block that are kept; it may wait.
    """

    def __init__(  # noqa: PLR0913 - the clocks are arguments, so that a test needs no sleep
        self,
        source: Source,
        last_event_id: str,
        *,
        max_block_bytes: int,
        stalled_after: float,
        hold: Callable[[int], None] = hold_nothing,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], int] = unix_ms,
    ) -> None:
        self.last_event_id = last_event_id
        """The stream's last event ID after the events returned so far. Events without an id keep it."""
        self.answered_id: str | None = None
        """The response's ``Last-Event-ID`` header: the id that the replay follows, if the server names it."""
        self.last_byte_at = clock()
        """``clock.monotonic`` of the last read."""
        self.reconnection_time: float | None = None
        """Seconds of the last valid ``retry``; None if there was none."""
        self.bytes_read = 0
        self.blocks = 0
        """Closed blocks, including those with comments only."""
        self.replaced = 0
        """Events in which bytes that are not UTF-8 were replaced."""
        self.discarded_bytes = 0
        """Bytes of the block that was incomplete at the end."""
        self._source = source
        self._clock = clock
        self._wall_clock = wall_clock
        self._limit = max_block_bytes
        self._short = min(_SHORT, max_block_bytes)
        self._stalled_after = stalled_after
        self._hold, self._held = hold, 0
        self._stalled_since: float | None = None
        self._reader = BlockReader(max_block_bytes)
        self._fields = _FieldReader()
        self._received_ms = 0
        self._nul = False  # whether the stream ever held a NUL: only then an id can hold one
        self._long: Block | None = None
        self._whole: list[bytes] = []
        # Not the exception: its traceback refers to this stream, and the cycle would keep the buffers of many dead
        # connections until the next garbage collection.
        self._end: Outcome | None = None

    def read(self) -> list[Event]:
        """Wait for at least one event and return all complete ones, at most ``BATCH``."""
        events = self._in_memory()
        while not events:
            if self._end is not None:  # a read after the end would look like a clean end
                raise Disconnected(self._end)
            try:
                self._feed(self._source.read())
            except ConnectionLost as lost:
                end = outcome_of_loss(lost)
                self._finish(end)
                raise Disconnected(end) from lost
            events = self._in_memory()
        return events

    def gather(self, seconds: float) -> None:
        """Wait for so many seconds, or until a large piece has come: the next ``read`` returns more events at once."""
        if self._long is None and not self._whole:
            self._source.gather(seconds)

    @property
    def unread(self) -> int:
        """Bytes that the system has received and nobody has read."""
        return self._source.unread

    def close(self) -> None:
        """Close the connection. Later reads raise Disconnected. Can be called twice."""
        if self._end is None:
            self._finish(Outcome(Kind.ENDED, "closed by the reader"))

    def _in_memory(self) -> list[Event]:
        """The events of the closed blocks; none if a read is needed."""
        events: list[Event] = []
        if self._long is not None:
            block, self._long = self._long, None
            self.blocks += 1
            events = self._scanned(block)
        while self._whole and not events:
            batch = self._whole
            self._whole = batch[BATCH:] if len(batch) > BATCH else []
            batch = batch[:BATCH]
            events = self._mix_blocks(batch) or self._plain_blocks(batch) or self._each_block(batch)
        return events

    def _finish(self, end: Outcome) -> None:
        self._end = end
        self.discarded_bytes = self._reader.open_bytes
        self._note_held(0)
        self._learn_retry(self._reader.retry_of_open)
        self._source.close()

    def _feed(self, piece: bytes) -> None:
        """Process the bytes of one read, and do once what would otherwise be done for every event."""
        self.last_byte_at = now = self._clock()
        self._received_ms = self._wall_clock()
        self.bytes_read += len(piece)
        self._nul = self._nul or b"\0" in piece
        comments = self._reader.comments
        self._long, self._whole = self._reader.feed(piece)
        self._note_held(min(self._reader.open_bytes, self._limit))
        if self._whole or self._long is not None or self._reader.comments != comments:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now  # not since the last block: silence or a paused reader is not the server's fault
        elif now - self._stalled_since > self._stalled_after:
            raise ConnectionLost(EndKind.STALLED, f"bytes, but no complete block for {self._stalled_after:g} s")

    def _note_held(self, kept: int) -> None:
        """Report in steps: most blocks are small, and come whole."""
        if kept >= self._held + _STEP or kept <= self._held - _STEP or (self._held and not kept):
            self._held = kept
            self._hold(kept)

    def _mix_blocks(self, blocks: list[bytes]) -> list[Event]:
        """All events of blocks in the form of Mix servers; empty if a block has another form or is too large."""
        if self._nul or not blocks[0].startswith(b"id: ") or max(map(len, blocks)) >= self._limit:
            return []
        try:
            text = b"\n\n".join(blocks).decode() + "\n\n"
        except UnicodeDecodeError:
            return []
        found = _MIX_BLOCK.findall(text)
        if len(found) != len(blocks):
            return []
        received_ms = self._received_ms
        self.last_event_id = found[-1][0]
        self.blocks += len(found)
        return [_event(Event, (name, data, id_, id_, received_ms, None)) for id_, name, data in found]

    def _plain_blocks(self, blocks: list[bytes]) -> list[Event]:
        """All events of plain blocks at once; empty if a block is not plain."""
        if self._nul or max(map(len, blocks)) >= self._short:
            return []
        try:
            dispatched = self._fields.dispatch(blocks)
        except UnicodeDecodeError:
            return []
        if len(dispatched) != len(blocks):  # a block without data may hold an id that only the scanner sees
            return []
        cursor, received_ms = self.last_event_id, self._received_ms
        events = []
        for field in dispatched:
            id_ = field.id
            if id_ is not None:
                cursor = id_
            if field.retry is not None:
                return []
            events.append(_event(Event, (field.event, field.data, id_, cursor, received_ms, None)))
        self.last_event_id = cursor
        self.blocks += len(blocks)
        return events

    def _each_block(self, blocks: list[bytes]) -> list[Event]:
        """The events of any blocks, one by one."""
        events = []
        for block in blocks:
            if block.strip(b"\n"):
                self.blocks += 1
                events += self._one_block(block)
        return events

    def _one_block(self, block: bytes) -> list[Event]:
        if self._is_plain(block):
            dispatched = self._fields.dispatch((block,))
            if dispatched and dispatched[0].retry is None:
                return [self._event(dispatched[0].event, dispatched[0].data, dispatched[0].id)]
        return self._scanned(scan(block, self._limit))

    def _is_plain(self, block: bytes) -> bool:
        """Whether sseclient-py parses this block like the standard and in linear time."""
        if b"\0" in block or len(block) >= self._limit:
            return False
        if len(block) >= _SHORT and block.count(b"\n") > _FEW_LINES:
            return False
        return block.isascii() or _is_utf8(block)

    def _scanned(self, block: Block) -> list[Event]:
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
            self.last_event_id = id_
        return Event(name, data, id_, self.last_event_id, self._received_ms, oversize)

    def _learn_retry(self, milliseconds: int | None) -> None:
        if milliseconds is not None:
            self.reconnection_time = milliseconds / 1000


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
