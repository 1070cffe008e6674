"""Gives pieces of bytes to an event stream like a connection, and collects its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from bridge.core.stream.event import Event
from bridge.http.errors import ConnectionLost, EndKind
from bridge.sse.event_stream import EventStream
from bridge.sse.reconnection import Disconnected

LIMIT = 1024 * 1024


class Pieces:
    """A source that returns these pieces and then ends."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self.closed = 0

    def read(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise ConnectionLost(EndKind.ENDED, "no more pieces")

    def gather(self, seconds: float) -> None:
        """All is there."""

    @property
    def unread(self) -> int:
        return 0

    def close(self) -> None:
        self.closed += 1


def stream_of(
    pieces: Iterable[bytes], last_event_id: str = "", limit: int = LIMIT, stalled_after: float = 3600, **clocks: Any
) -> EventStream:
    """An event stream of these pieces; ``clocks`` are its ``clock`` and ``wall_clock``."""
    return EventStream(Pieces(pieces), last_event_id, max_block_bytes=limit, stalled_after=stalled_after, **clocks)


def each(stream: EventStream) -> Iterator[Event]:
    """The events one by one."""
    while True:
        yield from stream.read()


def events_of(stream: EventStream) -> list[Event]:
    """All events until the stream's end."""
    events = []
    try:
        for event in each(stream):
            events.append(event)  # noqa: PERF402 - the end comes as an exception, and what came before it counts
    except Disconnected:
        return events
    raise AssertionError("a stream ends by Disconnected only")


def plain(events: Iterable[Event]) -> list[tuple[str, str, str | None, str]]:
    """The fields of each event that the reference interpreter returns."""
    return [(event.name, event.data, event.id, event.last_event_id) for event in events]


def cut(stream: bytes, positions: Iterable[int]) -> list[bytes]:
    """The stream cut at these positions. No piece is empty, because a read never returns one."""
    marks = sorted({0, len(stream), *(position for position in positions if position <= len(stream))})
    return [stream[start:end] for start, end in pairwise(marks)]


def chunkings(stream: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The stream whole, byte by byte, and split at every single position."""
    yield "whole", cut(stream, [])
    yield "byte by byte", cut(stream, range(len(stream)))
    for position in range(1, len(stream)):
        yield f"split at {position}", cut(stream, [position])
