"""The properties of an event stream beside its events: counts, events in memory, stalls, and its end."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

import pytest
import sseclient

from bridge.core.stream.event import Event
from bridge.sse import event_stream
from bridge.sse.event_stream import BATCH, EventStream
from bridge.sse.reconnection import Disconnected, Kind, Outcome
from tests.fakes.pieces import LIMIT, Pieces, each, events_of, stream_of


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The stream's clock."""
    return Clock()


def slow_stream(clock: Clock, pieces: list[bytes], seconds: float) -> EventStream:
    """A stream whose pieces come so many seconds apart. It stalls after 10 s."""

    def timed() -> Iterator[bytes]:
        for piece in pieces:
            clock.now += seconds
            yield piece

    return stream_of(timed(), stalled_after=10.0, clock=clock)


def end_of(stream: EventStream) -> Outcome:
    with pytest.raises(Disconnected) as end:
        deque(each(stream), maxlen=0)
    return end.value.outcome


def test_a_stream_that_ended_is_freed_immediately() -> None:
    """Its buffers must not wait for the garbage collection of cycles: hundreds of streams may end before it."""
    gc.disable()
    try:
        left = _read_to_the_end()
        assert left() is None
    finally:
        gc.enable()


def _read_to_the_end() -> weakref.ref[EventStream]:
    stream = stream_of([b"data: one\n\ndata: tw"])
    with suppress(Disconnected):  # pytest.raises would keep the exception, and with it the stream
        while True:
            stream.read()
    return weakref.ref(stream)


# sseclient-py


def test_sseclient_py_still_has_its_framing_hook() -> None:
    """``_read`` is a private name of the pinned 1.9.0. Without it the library would do the framing, incorrectly."""
    assert inspect.isgeneratorfunction(vars(sseclient.SSEClient)["_read"])
    assert "self._read()" in inspect.getsource(sseclient.SSEClient.events)
    assert [event.data for event in event_stream._FieldReader().dispatch([b"data: a", b"data: b"])] == ["a", "b"]


def test_sseclient_py_parses_the_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event comes from the library, both for plain and for scanned blocks."""
    made = []
    original = sseclient.Event.__init__

    def counting(self: sseclient.Event, *arguments: object) -> None:
        made.append(self)
        original(self, *arguments)

    monkeypatch.setattr(sseclient.Event, "__init__", counting)
    events_of(stream_of([b"data: a\n\ndata: b\n\n"]))
    assert len(made) == 2
    events_of(stream_of([b"data: a\0\nretry: 7\nid: \0\n\n"]))
    assert len(made) >= 3


# Events in memory


def test_read_returns_complete_events_in_batches() -> None:
    """At most ``BATCH``, at least one."""
    stream = stream_of([b"data: x\n\n" * (BATCH + 3), b"data: y\n\n"])
    assert [len(stream.read()) for _ in range(3)] == [BATCH, 3, 1]


def test_last_event_id_is_that_of_the_returned_events() -> None:
    """Not of blocks in memory: a reader that stops in the middle must resume from there."""
    stream = stream_of([b"id: 1\ndata: a\n\n" * BATCH + b"id: 2\ndata: b\n\n"], "0")
    seen = [stream.last_event_id]
    for _ in range(2):
        stream.read()
        seen.append(stream.last_event_id)
    assert seen == ["0", "1", "2"]


def test_events_of_one_read_have_the_same_time() -> None:
    """The wall clock is read once for each read."""
    times = iter([111, 222])
    events = events_of(stream_of([b"data: 1\n\ndata: 2\n\ndata", b": 3\n\n"], wall_clock=times.__next__))
    assert [event.received_ms for event in events] == [111, 111, 222]


def test_the_fast_constructor_makes_an_event() -> None:
    """It has the same type as the usual one."""
    (event,) = events_of(stream_of([b"data: 1\n\n"]))
    assert type(event) is Event


# Counts


def test_the_stream_counts_blocks_replaced_events_and_bytes() -> None:
    """Blocks include those with comments only. Replaced counts events, not characters. Discarded is the tail."""
    stream = stream_of([b"data: 1\n\n: c\n\n\n\n", b"data: \xff\xff\n\n", b"id: 7\nda"])
    events_of(stream)
    assert (stream.blocks, stream.replaced, stream.discarded_bytes) == (3, 1, 8)
    assert stream.bytes_read == 34


@pytest.mark.parametrize("cut", [0, 100_000])
def test_a_long_block_counts_as_one(cut: int) -> None:
    """Whether it comes in one piece or is scanned as it comes."""
    block = b"data: " + b"x" * 200_000 + b"\n\n"
    stream = stream_of([block] if not cut else [block[:cut], block[cut:]])
    (event,) = events_of(stream)
    assert (len(event.data), stream.blocks, event.oversize) == (200_000, 1, None)


def test_an_invalid_event_does_not_stop_the_stream() -> None:
    """Events after invalid UTF-8, NUL and an oversize block come as usual."""
    stream = stream_of([b"data: \xff\n\nid: \0\ndata: b\n\ndata: " + b"x" * 100 + b"\n\nid: 9\ndata: ok\n\n"], limit=50)
    assert [(event.data[:2], event.oversize is not None) for event in events_of(stream)] == [
        ("�", False), ("b", False), ("xx", True), ("ok", False),
    ]  # fmt: skip


# Stalls


def test_bytes_without_a_closed_block_stall_the_stream(clock: Clock) -> None:
    """Slow data resets the read timeout every time. The stall detection ends the stream."""
    stream = slow_stream(clock, [b"data: x"] + [b"x"] * 100, seconds=3.0)
    assert end_of(stream) == Outcome(Kind.STALLED, "bytes, but no complete block for 10 s")
    assert clock.now == 1000.0 + 3.0 + 12.0
    assert stream.last_byte_at == clock.now


@pytest.mark.parametrize(
    "sign", [b": c\n", b":\n", b"data: 1\n\n", b": c\n\n", b"id: 1\n\n", b"retry: 5\n\n"], ids=repr
)
def test_a_closed_block_and_a_complete_comment_prevent_a_stall(clock: Clock, sign: bytes) -> None:
    """A heartbeat may be either of them, byte by byte."""
    pieces = [bytes([byte]) for byte in sign * 20]
    assert end_of(slow_stream(clock, pieces, seconds=9.9 / len(sign))).kind is Kind.ENDED


def test_silence_before_the_first_byte_is_not_a_stall(clock: Clock) -> None:
    """The read timeout covers it. A block that is complete after it is valid."""
    assert end_of(slow_stream(clock, [b"data: 1\n\n"] * 3, seconds=60.0)).kind is Kind.ENDED


def test_time_between_reads_is_not_a_stall(clock: Clock) -> None:
    """A consumer that was paused for a minute finds half a block in the socket. The server did nothing wrong."""
    stream = stream_of([b"data: 1\n\n", b"data", b": 2\n\n"], stalled_after=10.0, clock=clock)
    stream.read()
    clock.now += 60.0
    assert stream.read()[0].data == "2"


# The end


def test_reads_after_the_end_raise_the_same_end() -> None:
    """The libraries would report a clean end instead."""
    source = Pieces([b"data: 1\n\nda"])
    stream = EventStream(source, "", max_block_bytes=LIMIT, stalled_after=10.0)
    assert end_of(stream) is end_of(stream)
    assert source.closed == 1


def test_events_before_the_end_come_first() -> None:
    """A read that ends the stream loses no event."""
    stream = stream_of([b"data: 1\n\n" * (BATCH + 1)])
    assert len(events_of(stream)) == BATCH + 1


def test_close_ends_the_stream_once() -> None:
    """Events in memory are still returned. Nothing more is read."""
    source = Pieces([b"data: 1\n\n" * BATCH + b"data: 2\n\n", b"data: 3\n\n"])
    stream = EventStream(source, "", max_block_bytes=LIMIT, stalled_after=10.0)
    assert len(stream.read()) == BATCH
    stream.close()
    stream.close()
    assert source.closed == 1
    assert [event.data for event in events_of(stream)] == ["2"]
    assert end_of(stream) == Outcome(Kind.ENDED, "closed by the reader")
