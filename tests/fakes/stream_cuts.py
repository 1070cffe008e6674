"""Connections that end at any byte, in every framing, with FIN or RST."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator

from tests.fakes.faulty_feed import Fault
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, STREAM, UNTIL_CLOSE, Peer, chunk, with_length

Framed = Callable[[random.Random, bytes], bytes]
"""Returns a whole response with these blocks as its body."""


def chunked(chance: random.Random, blocks: bytes) -> bytes:
    """Frame in chunks of any size, whose ends are inside events, ids and characters."""
    return CHUNKED + b"".join(map(chunk, _pieces(chance, blocks))) + LAST_CHUNK


def until_close(_chance: random.Random, blocks: bytes) -> bytes:
    """Frame by the end of the connection."""
    return UNTIL_CLOSE + blocks


def old_http(_chance: random.Random, blocks: bytes) -> bytes:
    """Answer as HTTP/1.0."""
    return b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + blocks


def of_length(_chance: random.Random, blocks: bytes) -> bytes:
    """Frame by a length."""
    return with_length(len(blocks)) + blocks


def gzipped(chance: random.Random, blocks: bytes) -> bytes:
    """Compress although identity was requested, and frame by the end of the connection."""
    return STREAM + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + b"".join(_compressed(chance, blocks))


def gzipped_chunks(chance: random.Random, blocks: bytes) -> bytes:
    """Compress, and frame in chunks."""
    head = STREAM + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(map(chunk, _compressed(chance, blocks))) + LAST_CHUNK


FRAMINGS: dict[str, Framed] = {
    "chunked": chunked,
    "until-close": until_close,
    "http10": old_http,
    "length": of_length,
    "gzip": gzipped,
    "gzip-chunked": gzipped_chunks,
}


def cut_at_any_byte(framed: Framed, chance: random.Random, most: int, *, reset: bool) -> Fault:
    """Send a response with ``most`` bytes of the blocks up to a random byte, head and framing included."""

    def fault(peer: Peer, blocks: bytes) -> None:
        whole = framed(chance, blocks[:most])
        # One cut in ten is in the head: more would let no event through, none would not test the head.
        head = whole.index(b"\r\n\r\n") + 4
        at = chance.randrange(head) if chance.random() < 0.1 else chance.randint(head, len(whole))
        for piece in _pieces(chance, whole[:at]):
            peer.send(piece)
        if reset:
            peer.reset()

    return fault


def _pieces(chance: random.Random, whole: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(whole):
        size = chance.choice((1, 7, 60, 400, 4000))
        yield whole[at : at + size]
        at += size


def _compressed(chance: random.Random, blocks: bytes) -> Iterator[bytes]:
    compressor = zlib.compressobj(wbits=31)
    for piece in _pieces(chance, blocks):
        yield compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
    yield compressor.flush()
