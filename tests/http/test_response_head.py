"""Response heads that are unusual but legal, and those that are not, from a real server (RFC 9110, 9112, Fetch)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable
from itertools import repeat

import pytest

from bridge.http.response_head import MOST_BYTES, InvalidHead, is_chunked, read_head
from bridge.sse.reconnection import Kind
from tests.fakes.raw_server import LAST_CHUNK, Script, chunk, serving
from tests.fakes.streams import E1, read_all, refused

OK = b"HTTP/1.1 200 OK\r\n"
TYPE = b"Content-Type: text/event-stream\r\n"
END = b"\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
MANY = b"".join(b"X-Trace-%d: %d\r\n" % (number, number) for number in range(700))
LONG = b"Set-Cookie: a=" + b"x" * 100_000 + b"\r\n"


def sending(*pieces: bytes) -> Script:
    """A script that sends these bytes and ends the connection."""
    return lambda peer: peer.send(*pieces)


HEADS = {
    "103 first": EARLY + OK + TYPE + END,
    "many interim responses": EARLY * 20 + b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + OK + TYPE + END,
    "an interim response without headers": b"HTTP/1.1 199\n\n" + OK + TYPE + END,
    "hundreds of headers": OK + MANY + TYPE + END,
    "long headers": OK + LONG + LONG + TYPE + END,
    "no reason phrase": b"HTTP/1.1 200 \r\n" + TYPE + END,
    "no blank after the status": b"HTTP/1.1 200\r\n" + TYPE + END,
    "bytes above ASCII": b"HTTP/1.1 200 \xc3\xa9\xff\r\nX: \xff\xfe\r\n" + TYPE + END,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + TYPE + END,
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n" + TYPE + END,
    "lower case": b"http/1.1 200 ok\r\ncontent-type: text/event-stream\r\n\r\n",
    "upper case": OK + b"CONTENT-TYPE: TEXT/EVENT-STREAM\r\n\r\n",
    "bare LF": (OK + TYPE + END).replace(b"\r\n", b"\n"),
    "mixed line ends": OK + TYPE.replace(b"\r\n", b"\n") + b"\r\n",
    "a blank line first": END + OK + TYPE + END,
    "a folded line": OK + b"Content-Type:\r\n text/event-stream;\r\n\tcharset=utf-8\r\n\r\n",
    "a folded first line": OK + b" folded\r\n" + TYPE + END,
    "blanks around the colon": OK + b"Content-Type \t:\t text/event-stream \t\r\n\r\n",
    "no blank after the colon": OK + b"Content-Type:text/event-stream\r\n\r\n",
    "a line without a colon": OK + b"garbage\r\n" + TYPE + END,
    "an empty name": OK + b": x\r\n" + TYPE + END,
    "an empty value": OK + b"X-Empty:\r\n" + TYPE + END,
    "the type twice": OK + TYPE + TYPE + END,
    "the last type counts": OK + b"Content-Type: text/plain\r\n" + TYPE + END,
    "a list of types": OK + b'Content-Type: text/html; a="b,c", text/event-stream\r\n\r\n',
    "types that are not valid do not count": OK + TYPE + b"Content-Type: x, */*,\r\n\r\n",
    "parameters": OK + b'Content-Type: text/event-stream ; charset="iso-8859-1"; x\r\n\r\n',
    "identity": OK + TYPE + b"Content-Encoding: Identity\r\n\r\n",
    "an empty content encoding": OK + TYPE + b"Content-Encoding:\r\n\r\n",
    "transfer coding identity": OK + TYPE + b"Transfer-Encoding: identity\r\n\r\n",
    "a length": OK + TYPE + b"Content-Length: %d\r\n\r\n" % len(E1),
    "the same length twice": OK + TYPE + b"Content-Length: %d, %d\r\n\r\n" % (len(E1), len(E1)),
    "a length that is no number": OK + TYPE + b"Content-Length: many\r\n\r\n",
    "keep-alive": OK + TYPE + b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_an_unusual_head_begins_a_stream(head: bytes) -> None:
    """Whole, and byte by byte for its end."""
    with serving(sending(head[:-20], *(head[-20:][at : at + 1] for at in range(20)), E1)) as server:
        assert read_all(server.url)[0] == ["one"]


CHUNKED = {
    "chunked": b"Transfer-Encoding: chunked\r\n",
    "upper case": b"Transfer-Encoding: CHUNKED\r\n",
    "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "with identity": b"Transfer-Encoding: identity, chunked\r\n",
    "with a length": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "with two lengths": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
}


@pytest.mark.parametrize("framing", CHUNKED.values(), ids=CHUNKED)
def test_a_chunked_body_is_decoded(framing: bytes) -> None:
    """It takes precedence over a length (RFC 9112, section 6.3)."""
    if b"3" in framing and b"4" in framing:
        framing = framing.replace(b"4", b"3")
    with serving(sending(OK + TYPE + framing + END, chunk(E1[:5]), chunk(E1[5:]), LAST_CHUNK)) as server:
        events, outcome, _ = read_all(server.url)
    assert (events, outcome.kind) == (["one"], Kind.ENDED)


def compressed(wbits: int) -> bytes:
    one = zlib.compressobj(wbits=wbits)
    return one.compress(E1) + one.flush(zlib.Z_SYNC_FLUSH)


CODINGS = {
    "gzip": (b"gzip", gzip.compress(E1)),
    "x-gzip": (b"X-GZIP", gzip.compress(E1)),
    "gzip and identity": (b"gzip, identity", gzip.compress(E1)),
    "flushed, not ended": (b"gzip", compressed(31)),
    "deflate": (b"deflate", zlib.compress(E1)),
    "gzip twice": (b"gzip, gzip", gzip.compress(gzip.compress(E1))),
}


@pytest.mark.parametrize(("coding", "body"), CODINGS.values(), ids=CODINGS)
def test_a_compressed_stream_is_read(coding: bytes, body: bytes) -> None:
    """Only ``identity`` is asked for, but some proxies compress everything."""
    head = OK + TYPE + b"Content-Encoding: " + coding + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(sending(head, chunk(body), LAST_CHUNK)) as server:
        assert read_all(server.url)[0] == ["one"]


REFUSED = {
    "more than 256 KiB": (OK + MANY * 30, Kind.BROKEN, "no response head: it is larger than 256 KiB"),
    "a line of more than 256 KiB": (OK + LONG[:-2] * 3, Kind.BROKEN, "no response head: it is larger than 256 KiB"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n" + END, Kind.BROKEN, "no response head: the response is not HTTP/1"),
    "HTTP/2": (b"HTTP/2 200\r\n" + TYPE + END, Kind.BROKEN, "no response head: the response is not HTTP/1"),
    "no number": (b"HTTP/1.1 20x OK\r\n" + END, Kind.BROKEN, "no response head: the response is not HTTP/1"),
    "nothing": (b"", Kind.BROKEN, "no response head: the connection closed too early"),
    "TLS": (b"\x16\x03\x01", Kind.BROKEN, "no response head: the connection closed too early"),
    "cut": (OK + TYPE, Kind.BROKEN, "no response head: the connection closed too early"),
    "cut in an interim response": (EARLY[:-2], Kind.BROKEN, "no response head: the connection closed too early"),
    "blank lines only": (END * 50, Kind.BROKEN, "no response head: the response is not HTTP/1"),
    "another transfer coding": (
        OK + TYPE + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        Kind.BROKEN,
        "no response head: its transfer coding is not supported",
    ),
    "two lengths": (
        OK + TYPE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        Kind.BROKEN,
        "no response head: it has two different values of Content-Length",
    ),
    "another content coding": (
        OK + TYPE + b"Content-Encoding: br\r\n\r\n",
        Kind.NOT_A_STREAM,
        "status 200 with content encoding 'br', which was not asked for",
    ),
    "another type": (
        OK + b"Content-Type: text/html; charset=utf-8\r\n\r\n",
        Kind.NOT_A_STREAM,
        "status 200 with content type 'text/html', not text/event-stream",
    ),
    "another type last": (
        OK + TYPE + b"Content-Type: text/html\r\n\r\n",
        Kind.NOT_A_STREAM,
        "status 200 with content type 'text/html', not text/event-stream",
    ),
    "no type": (OK + END, Kind.NOT_A_STREAM, "status 200 with content type '', not text/event-stream"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", Kind.GONE, "status 204"),
    "205": (b"HTTP/1.1 205 Reset\r\n" + TYPE + END, Kind.GONE, "status 205"),
    "206": (b"HTTP/1.1 206 Partial\r\n" + TYPE + END, Kind.UNAVAILABLE, "status 206"),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", Kind.UNAVAILABLE, "status 304"),
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", Kind.UNAVAILABLE, "status 101"),
    "302 without a location": (
        b"HTTP/1.1 302 Found\r\n\r\n", Kind.UNAVAILABLE, "redirect 302 without a location"
    ),
    "103 and a 404": (EARLY + b"HTTP/1.1 404 Not Found\r\n\r\n", Kind.GONE, "status 404"),
}  # fmt: skip


@pytest.mark.parametrize(("head", "kind", "detail"), REFUSED.values(), ids=REFUSED)
def test_a_head_that_begins_no_stream_has_a_reason(head: bytes, kind: Kind, detail: str) -> None:
    """The body is never parsed, and no value of a header is in the text."""
    with serving(sending(head, E1 if b"\r\n\r\n" in head else b"")) as server:
        outcome = refused(server.url)
    assert (outcome.kind, outcome.detail) == (kind, detail)


def _readline(lines: Iterable[bytes]) -> Callable[[int], bytes]:
    iterator = iter(lines)
    return lambda limit: next(iterator)[:limit]


def test_a_head_of_exactly_the_limit_is_accepted() -> None:
    """One byte more is not."""
    first, name = OK, b"X: "
    for more in (0, 1):
        value = b"x" * (MOST_BYTES - len(first) - len(name) - 4 + more)
        lines = [first, name + value + b"\r\n", b"\r\n"]
        if more:
            with pytest.raises(InvalidHead, match="256 KiB"):
                read_head(_readline(lines))
        else:
            assert read_head(_readline(lines)).headers == [("X", value.decode())]


def test_each_interim_response_has_the_whole_limit() -> None:
    """Together they may be longer."""
    early = [b"HTTP/1.1 103 Early Hints\r\n", b"X: " + b"x" * 200_000 + b"\r\n", b"\r\n"]
    assert read_head(_readline([*early, *early, OK, b"\r\n", *repeat(b"", 3)])).status == 200


def test_a_transfer_coding_is_chunked_or_refused() -> None:
    """An empty list is none."""
    assert not is_chunked([])
    assert not is_chunked(["", "identity"])
    assert is_chunked(["Chunked,", "identity"])
    with pytest.raises(InvalidHead):
        is_chunked(["gzip"])
