"""The reference reader follows the examples and rules of the standard."""

from __future__ import annotations

import pytest

from bridge.simulator.encoding import Dispatched, dispatched
from bridge.simulator.faults.malformed_events import MALFORMED_EVENTS, malformed_event


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"data: a\ndata: b\n\n", [Dispatched(None, "message", b"a\nb")]),
        (b"id: 1\r\nevent: e\r\ndata:x\r\n\r\n", [Dispatched("1", "e", b"x")]),
        (b"id: 1\rdata: x\r\rdata: y\n\n", [Dispatched("1", "message", b"x"), Dispatched(None, "message", b"y")]),
        (b"data\n\ndata\ndata\n\n", [Dispatched(None, "message", b""), Dispatched(None, "message", b"\n")]),
        (b"id: 7\n\n", []),
        (b"data: unfinished\n", []),
        (b"id: a\0b\ndata: x\n\n", [Dispatched(None, "message", b"x")]),
        (b"id\ndata:  x\n\n", [Dispatched("", "message", b" x")]),
        (b": c\nfoo: bar\nDATA: no\ndata: \xff\n\n", [Dispatched(None, "message", "\ufffd".encode())]),
        (b"event: a\nevent\ndata: x\n\n", [Dispatched(None, "message", b"x")]),
    ],
)
def test_it_follows_the_standard(raw, expected):
    """Line ends, fields, one leading space, NUL in ids, replaced characters, and blocks that are not dispatched."""
    assert dispatched(raw) == expected


@pytest.mark.parametrize("kind", MALFORMED_EVENTS)
def test_each_malformed_event_is_exactly_one_event(kind):
    (seen,) = dispatched(malformed_event(kind, "12", 100))
    assert seen.event
