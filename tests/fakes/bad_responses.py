"""Responses that are not working streams: errors, pages, redirects, silence, slow bytes. Each serves one connection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat

from tests.fakes.faulty_feed import Fault
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, Peer, Script, answer, chunk

DRIP = 0.05
"""Seconds between two pieces of a slow response."""


def raw(*pieces: bytes) -> Fault:
    """Send these bytes and end the connection."""
    return lambda peer, _: peer.send(*pieces)


def only(response: bytes) -> Script:
    """Send this response on every connection."""
    return lambda peer: peer.send(response)


def status(code: int, *headers: bytes, body: bytes = b"") -> Fault:
    """Send a whole response with this status."""
    return raw(answer(code, *headers, body=body))


def page(content_type: bytes, body: bytes) -> Fault:
    """Send 200 with another content type than an event stream's."""
    return status(200, b"Content-Type: " + content_type, body=body)


def date_in(seconds: float) -> bytes:
    """Return ``Retry-After`` as a date. It has no fractions, so it may be up to a second early."""
    return b"Retry-After: " + format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True).encode()


def busy_until(seconds: float) -> Fault:
    """Send 503 with a date."""
    return lambda peer, _: peer.send(answer(503, date_in(seconds)))


def silent(peer: Peer, _blocks: bytes) -> None:
    """Send no byte."""
    peer.hold()


def truncated(blocks: bytes) -> bytes:
    """Return the first block without its end; the next connection must send it again."""
    return blocks[: max(blocks.find(b"\n\n"), 12)]


def silent_in_an_event(peer: Peer, blocks: bytes) -> None:
    """Send a part of an event, and then no byte."""
    peer.send(CHUNKED + chunk(truncated(blocks)))
    peer.hold()


def truncated_by_a_proxy(peer: Peer, blocks: bytes) -> None:
    """Send a part of an event, and then the regular end of the body."""
    peer.send(CHUNKED + chunk(truncated(blocks)) + LAST_CHUNK)


def bad_framing(peer: Peer, blocks: bytes) -> None:
    """Send a part of an event, and then an invalid chunk."""
    peer.send(CHUNKED + chunk(truncated(blocks)) + b"zz\r\nid: 1\r\n")


def dripping(first: bytes, drops: Iterator[bytes]) -> Fault:
    """Send these pieces one after the other until the client disconnects."""

    def fault(peer: Peer, _blocks: bytes) -> None:
        for piece in chain((first,), drops):
            peer.send(piece)
            if peer.server.ending.wait(DRIP):
                return

    return fault


def dripping_event(peer: Peer, blocks: bytes) -> None:
    """Send an event that never ends."""
    dripping(UNTIL_CLOSE + truncated(blocks), repeat(b"x"))(peer, blocks)


def dripping_head() -> Fault:
    """Send a header that never ends."""
    return dripping(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX: ", repeat(b"x"))


def dripping_size() -> Fault:
    """Send a chunk's size line that never ends."""
    return dripping(CHUNKED + b"40;", repeat(b"x"))


def commented(comment: bytes, count: int) -> Fault:
    """Send this many comments, ``DRIP`` apart, and then the requested events on the same connection."""

    def fault(peer: Peer, blocks: bytes) -> None:
        peer.send(UNTIL_CLOSE)
        for _ in range(count):
            peer.send(comment)
            if peer.server.ending.wait(DRIP):
                return
        peer.send(blocks)

    return fault
