"""Answers that are no sound stream: refusals, pages, redirects, silence, drips. Each is done to one connection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat

from tests.fakes.faulty_feed import Fault
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, Peer, Script, answer, chunk

DRIP = 0.05
"""Seconds between two pieces of a drip."""


def saying(*pieces: bytes) -> Fault:
    """These bytes and the end of the connection, whatever was asked for."""
    return lambda peer, _: peer.send(*pieces)


def only(response: bytes) -> Script:
    """The same for a stream that never gives anything else."""
    return lambda peer: peer.send(response)


def status(code: int, *headers: bytes, body: bytes = b"") -> Fault:
    """A whole answer of that status."""
    return saying(answer(code, *headers, body=body))


def page(content_type: bytes, body: bytes) -> Fault:
    """200 with another type than an event stream's."""
    return status(200, b"Content-Type: " + content_type, body=body)


def date_in(seconds: float) -> bytes:
    """``Retry-After`` as a date; it has no fractions, so it may be up to a second earlier."""
    return b"Retry-After: " + format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True).encode()


def busy_until(seconds: float) -> Fault:
    """503 with a date."""
    return lambda peer, _: peer.send(answer(503, date_in(seconds)))


def silent(peer: Peer, _blocks: bytes) -> None:
    """Not a byte."""
    peer.hold()


def stump(blocks: bytes) -> bytes:
    """A block without its end, which the next connection has to bring again."""
    return blocks[: max(blocks.find(b"\n\n"), 12)]


def silent_in_an_event(peer: Peer, blocks: bytes) -> None:
    """Half an event, and then not a byte."""
    peer.send(CHUNKED + chunk(stump(blocks)))
    peer.hold()


def torn_by_a_proxy(peer: Peer, blocks: bytes) -> None:
    """Half an event, and then the proper end of the body."""
    peer.send(CHUNKED + chunk(stump(blocks)) + LAST_CHUNK)


def bad_framing(peer: Peer, blocks: bytes) -> None:
    """Half an event, and then a chunk that is none."""
    peer.send(CHUNKED + chunk(stump(blocks)) + b"zz\r\nid: 1\r\n")


def dripping(first: bytes, drops: Iterator[bytes]) -> Fault:
    """These bytes one after the other, until the client has had enough."""

    def fault(peer: Peer, _blocks: bytes) -> None:
        for piece in chain((first,), drops):
            peer.send(piece)
            if peer.server.ending.wait(DRIP):
                return

    return fault


def dripping_event(peer: Peer, blocks: bytes) -> None:
    """An event that never ends."""
    dripping(UNTIL_CLOSE + stump(blocks), repeat(b"x"))(peer, blocks)


def dripping_head() -> Fault:
    """A header that never ends."""
    return dripping(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX: ", repeat(b"x"))


def dripping_size() -> Fault:
    """A chunk's size line that never ends."""
    return dripping(CHUNKED + b"40;", repeat(b"x"))


def commented(comment: bytes, count: int) -> Fault:
    """So many comments, ``DRIP`` apart, and then everything that was asked for, on the same connection."""

    def fault(peer: Peer, blocks: bytes) -> None:
        peer.send(UNTIL_CLOSE)
        for _ in range(count):
            peer.send(comment)
            if peer.server.ending.wait(DRIP):
                return
        peer.send(blocks)

    return fault
