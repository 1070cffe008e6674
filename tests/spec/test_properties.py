"""The reader compared with the reference interpreter, on generated input that is cut anywhere."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from itertools import zip_longest
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.stream.event import Oversize
from bridge.sse import blocks, event_stream, fields
from bridge.sse.reconnection import Disconnected
from tests.fakes.pieces import cut, events_of, plain, stream_of
from tests.spec.reference import interpret

TOKENS = [
    b"data",
    b"id",
    b"event",
    b"retry",
    b"data: ",
    b"id:",
    b"event: ",
    b"retry:",
    b":",
    b" ",
    b"\n",
    b"\r",
    b"\r\n",
]
TOKENS += [
    b"\n\n",
    b"\r\r",
    b"\r\n\r\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xef",
    b"\xff",
    b"\xe4\xb8",
    b"\xad",
    "é中😀".encode(),
]
TOKENS += [b"id: 3\nevent: e\ndata: d\n\n"] * 3 + [
    b"1",
    b"23",
    b"x",
    b"\x0b",
    b"\x85",
    b"\t",
    b"longer than any field name",
]
adversarial = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=3), max_size=40).map(b"".join)
"""Bytes with a meaning in the format, in any order, with noise."""
well_formed = st.lists(
    st.sampled_from(
        [
            b"data: a\n",
            b"data\n",
            b"id: 1\n",
            b"id: 2\r\n",
            b"id\r",
            b"event: e\n",
            b": c\n",
            b"retry: 5\n",
            b"\n",
            b"id: 3\nevent: e\ndata: d\n\n",
            b"id: 4\r\nevent: e\r\ndata:  d\r\n\r\n",
        ]
    ),
    max_size=40,
).map(b"".join)
streams = adversarial | well_formed
cuts = st.lists(st.integers(min_value=1, max_value=200), max_size=30)
FEW = settings(max_examples=400, deadline=None)


@FEW
@given(streams, cuts, st.sampled_from(["", "7"]), st.sampled_from([blocks.WHOLE, 0, 5]))
def test_the_reader_agrees_with_the_reference_at_every_chunking(
    stream: bytes, positions: list[int], seed: str, whole: int
) -> None:
    """Events, last event ID and reconnection time, whether an open block is kept unparsed or scanned."""
    with patch.object(blocks, "WHOLE", whole):
        reader = stream_of(cut(stream, positions), seed)
        events = events_of(reader)
    result = interpret(stream, seed)
    assert plain(events) == result.events
    assert reader.last_event_id == result.last_event_id
    assert reader.reconnection_time == result.reconnection_time


@FEW
@given(streams, cuts, st.integers(min_value=1, max_value=30), st.sampled_from([blocks.WHOLE, 0, 5]))
def test_a_limit_changes_only_larger_events(stream: bytes, positions: list[int], limit: int, whole: int) -> None:
    """An oversize event has its name, its ids, the size and digest of the full data, and the data's beginning."""
    with patch.object(blocks, "WHOLE", whole), patch.object(fields, "KEPT_OF_OVERSIZE", 8):
        limited = events_of(stream_of(cut(stream, positions), limit=limit))
        uncut = events_of(stream_of([stream] if stream else [], limit=limit))
    assert plain(limited) == plain(uncut)  # where a limit strikes does not depend on chunking
    cursor = ""
    unlimited = interpret(stream).events
    if len(limited) != len(unlimited):  # a block without data whose id is too long for an oversize one
        unlimited = [event for event in unlimited if event[0] or len((event[2] or "").encode()) <= 8]
    for event, (name, data, id_, _) in zip_longest(limited, unlimited):
        full = data.encode()
        dropped = event.oversize and id_ is not None and len(id_.encode()) > 8
        cursor = cursor if id_ is None or dropped else id_
        assert event.last_event_id == cursor
        assert event.id == (None if dropped else id_)
        if event.oversize is None:
            assert (event.name, event.data) == (name, data)
            continue
        assert event.oversize == Oversize(len(full), hashlib.sha256(full).hexdigest())
        assert event.data == full[:8].decode("utf-8", "ignore")
        assert name.startswith(event.name)
        assert len(data) + len(name) + len(id_ or "") + stream.count(b"\n") + stream.count(b"\r") > limit / 3


@FEW
@given(streams, cuts)
def test_batches_hold_the_same_events(stream: bytes, positions: list[int]) -> None:
    """However few events a read may return."""
    batched = stream_of(cut(stream, positions))
    events = []
    with patch.object(event_stream, "BATCH", 2), suppress(Disconnected):
        while True:
            events += batched.read()
            assert batched.last_event_id == events[-1].last_event_id
    assert plain(events) == interpret(stream).events
