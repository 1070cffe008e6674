"""Connections that end at any byte, in every framing, with FIN or RST."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator

from tests.fakes.faulty_feed import Fault
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, STREAM, UNTIL_CLOSE, Peer, chunk, with_length

Framed = Callable[[random.Random, bytes], bytes]
"""A whole response with these blocks as its body."""


def chunked(chance: random.Random, blocks: bytes) -> bytes:
    """Chunks of any size: their ends fall inside events, ids and characters."""
    return CHUNKED + b"".join(map(chunk, _torn(chance, blocks))) + LAST_CHUNK


def until_close(_chance: random.Random, blocks: bytes) -> bytes:
    """Nothing tells where the body ends."""
    return UNTIL_CLOSE + blocks


def old_http(_chance: random.Random, blocks: bytes) -> bytes:
    """HTTP/1.0."""
    return b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + blocks


def of_length(_chance: random.Random, blocks: bytes) -> bytes:
    """The length is known."""
    return with_length(len(blocks)) + blocks


def packed(chance: random.Random, blocks: bytes) -> bytes:
    """Gzip although identity was asked for, until the connection closes."""
    return STREAM + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + b"".join(_packed(chance, blocks))


def packed_chunks(chance: random.Random, blocks: bytes) -> bytes:
    """Gzip in chunks."""
    head = STREAM + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(map(chunk, _packed(chance, blocks))) + LAST_CHUNK


FRAMINGS: dict[str, Framed] = {
    "chunked": chunked,
    "until-close": until_close,
    "http10": old_http,
    "length": of_length,
    "gzip": packed,
    "gzip-chunked": packed_chunks,
}


def cut_at_any_byte(framed: Framed, chance: random.Random, most: int, *, reset: bool) -> Fault:
    """Send a response with ``most`` bytes of the blocks up to a random byte, head and framing included."""

    def fault(peer: Peer, blocks: bytes) -> None:
        whole = framed(chance, blocks[:most])
        # One in ten in the head; else nothing would ever come through, or the head never be cut.
        head = whole.index(b"\r\n\r\n") + 4
        at = chance.randrange(head) if chance.random() < 0.1 else chance.randint(head, len(whole))
        for piece in _torn(chance, whole[:at]):
            peer.send(piece)
        if reset:
            peer.reset()

    return fault


def _torn(chance: random.Random, whole: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(whole):
        size = chance.choice((1, 7, 60, 400, 4000))
        yield whole[at : at + size]
        at += size


def _packed(chance: random.Random, blocks: bytes) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31)
    for piece in _torn(chance, blocks):
        yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()
