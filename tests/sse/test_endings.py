"""How a body can end, in every framing, plain and over TLS: complete events are returned, an incomplete one never."""

from __future__ import annotations

import gzip
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest

from bridge.http.connection import Cutter
from bridge.http.response import direct_source
from bridge.sse.connection import Connector
from bridge.sse.reconnection import Kind
from tests.fakes.pieces import each
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, STREAM, UNTIL_CLOSE, Peer, chunk, serving, with_length
from tests.fakes.streams import E1, E2, INCOMPLETE, endpoint, read_all, read_on, server_tls, transport
from tests.support.waiting import TIMEOUT

GZIP = STREAM + b"Content-Encoding: gzip\r\n"
PACKED = gzip.compress(E1 + INCOMPLETE)
PACKED_E1 = gzip.compress(E1)


def packed_until(payload: bytes) -> bytes:
    """A gzip stream of this payload that is flushed but has no end."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)


@pytest.fixture(params=["plain", "TLS"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    """The server's context, or none."""
    return server_tls() if request.param == "TLS" else None


ENDINGS: dict[str, tuple[bytes, Kind, bytes]] = {
    # name: what is sent before FIN, how it ends, the tail that is discarded
    "chunked, final chunk": (CHUNKED + chunk(E1) + LAST_CHUNK, Kind.ENDED, b""),
    "chunked, incomplete event, final chunk": (CHUNKED + chunk(E1 + INCOMPLETE) + LAST_CHUNK, Kind.ENDED, INCOMPLETE),
    "chunked, FIN between chunks": (CHUNKED + chunk(E1) + chunk(INCOMPLETE), Kind.BROKEN, INCOMPLETE),
    "chunked, FIN inside a chunk": (CHUNKED + chunk(E1) + chunk(INCOMPLETE + b"ee")[:-4], Kind.BROKEN, INCOMPLETE),
    "chunked, FIN in the size line": (CHUNKED + chunk(E1 + INCOMPLETE) + b"1", Kind.BROKEN, INCOMPLETE),
    "chunked, a bad size": (CHUNKED + chunk(E1 + INCOMPLETE) + b"zz\r\n" + E2, Kind.BROKEN, INCOMPLETE),
    "chunked, final 0 without the last CRLF": (CHUNKED + chunk(E1) + b"0\r\n", Kind.ENDED, b""),
    "chunked, final chunk with trailers": (CHUNKED + chunk(E1) + b"0\r\nX: y\r\n\r\n", Kind.ENDED, b""),
    "chunked, the CRLF of a chunk missing": (CHUNKED + chunk(E1)[:-2], Kind.BROKEN, b""),
    "until close, FIN": (UNTIL_CLOSE + E1, Kind.ENDED, b""),
    "until close, FIN after an incomplete event": (UNTIL_CLOSE + E1 + INCOMPLETE, Kind.ENDED, INCOMPLETE),
    "HTTP/1.0, FIN after an incomplete event": (
        b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + E1 + INCOMPLETE, Kind.ENDED, INCOMPLETE,
    ),
    "length, too short": (with_length(len(E1 + E2)) + E1 + INCOMPLETE, Kind.BROKEN, INCOMPLETE),
    "length, exact": (with_length(len(E1)) + E1, Kind.ENDED, b""),
    "length, exact, incomplete event": (with_length(len(E1 + INCOMPLETE)) + E1 + INCOMPLETE, Kind.ENDED, INCOMPLETE),
    "length and chunked": (
        STREAM + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(E1) + LAST_CHUNK, Kind.ENDED, b"",
    ),
    "gzip chunked, whole": (
        GZIP + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(PACKED) + LAST_CHUNK, Kind.ENDED, INCOMPLETE,
    ),
    "gzip chunked, cut": (
        GZIP + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(packed_until(E1 + INCOMPLETE)), Kind.BROKEN, INCOMPLETE,
    ),
    "gzip until close, cut": (GZIP + b"\r\n" + packed_until(E1 + INCOMPLETE), Kind.ENDED, INCOMPLETE),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_complete_events_are_returned_and_an_incomplete_one_never(name: str, tls: ssl.SSLContext | None) -> None:
    """For every end that the libraries report. The incomplete event is counted."""
    sent, kind, tail = ENDINGS[name]
    with serving(lambda peer: peer.send(sent), tls) as server:
        data, outcome, stream = read_all(server.url)
    assert (data, outcome.kind) == (["one"], kind)
    assert (stream.last_event_id, stream.discarded_bytes) == ("1", len(tail))


@pytest.mark.parametrize("name", ENDINGS)
def test_an_ending_cut_into_single_bytes_is_the_same(name: str) -> None:
    """The network may cut anywhere, also inside size lines and line ends."""
    sent, kind, tail = ENDINGS[name]
    head, _, body = sent.partition(b"\r\n\r\n")
    with serving(lambda peer: peer.send(head + b"\r\n\r\n", *(body[i : i + 1] for i in range(len(body))))) as server:
        data, outcome, stream = read_all(server.url)
    assert (data, outcome.kind, stream.discarded_bytes) == (["one"], kind, len(tail))


def test_a_corrupt_content_encoding_breaks_the_body() -> None:
    """Events that were decoded before are valid. The next connection brings the rest again."""

    def script(peer: Peer) -> None:
        peer.send(GZIP + b"\r\n" + packed_until(E1))
        assert taken.acquire(timeout=TIMEOUT)
        peer.send(b"\xff" * 40)

    taken = threading.Semaphore(0)
    with serving(script) as server:
        stream = Connector(endpoint()).connect(server.url, "")
        assert next(each(stream)).data == "one"
        taken.release()
        events, outcome = read_on(stream)
    assert events == []
    assert (outcome.kind, outcome.detail) == (Kind.BROKEN, "the body is incomplete: the content encoding is corrupt")


def test_tls_closed_without_notice_is_a_normal_end() -> None:
    """Many servers and proxies omit the closing notice. An attacker can cut there: an incomplete event is dropped."""

    def script(peer: Peer) -> None:
        peer.send(UNTIL_CLOSE + E1 + INCOMPLETE)
        peer.socket.close()

    with serving(script, server_tls()) as server:
        data, outcome, stream = read_all(server.url)
    assert (data, outcome.kind, stream.discarded_bytes) == (["one"], Kind.ENDED, len(INCOMPLETE))


EMPTY = {
    "chunked": CHUNKED + LAST_CHUNK,
    "until close": UNTIL_CLOSE,
    "length": with_length(0),
    "gzip": GZIP + b"\r\n",
}


@pytest.mark.parametrize("framing", EMPTY)
def test_an_empty_body_is_a_normal_end(framing: str, tls: ssl.SSLContext | None) -> None:
    """The standard: reconnect after the delay."""
    with serving(lambda peer: peer.send(EMPTY[framing]), tls) as server:
        data, outcome, stream = read_all(server.url, "7")
    assert (data, outcome.kind, stream.blocks, stream.last_event_id) == ([], Kind.ENDED, 0, "7")


FRAMINGS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "a chunk per event": (CHUNKED, chunk),
    "until close": (UNTIL_CLOSE, bytes),
    "one large chunk": (CHUNKED + b"ffff\r\n", bytes),
    "length": (with_length(65535), bytes),
}


def one_by_one(events: list[bytes], head: bytes, taken: threading.Semaphore) -> Callable[[Peer], None]:
    """A script that sends an event only after the one before was taken, then resets the connection."""

    def script(peer: Peer) -> None:
        peer.send(head)
        for event in events:
            peer.send(event)
            assert taken.acquire(timeout=TIMEOUT)
        peer.reset()

    return script


def packed(events: list[bytes]) -> Iterator[bytes]:
    """Gzip, flushed after each event."""
    packer = zlib.compressobj(wbits=31)
    for event in events:
        yield packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)


PROMPT = {name: (head, [frame(E1), frame(E2)]) for name, (head, frame) in FRAMINGS.items()}
PROMPT["gzip chunked"] = (GZIP + b"Transfer-Encoding: chunked\r\n\r\n", [chunk(part) for part in packed([E1, E2])])
PROMPT["gzip until close"] = (GZIP + b"\r\n", list(packed([E1, E2])))


@pytest.mark.parametrize("framing", PROMPT)
def test_an_event_is_returned_before_the_next_is_sent(framing: str, tls: ssl.SSLContext | None) -> None:
    """In all six framings. A reset afterwards loses nothing."""
    head, events = PROMPT[framing]
    taken = threading.Semaphore(0)
    with serving(one_by_one(events, head, taken), tls) as server:
        stream = Connector(endpoint()).connect(server.url, "")
        seen = []
        iterator = each(stream)
        for _ in events:
            seen.append(next(iterator).data)
            taken.release()
        rest, outcome = read_on(stream)
    assert (seen, rest) == (["one", "two"], [])
    if tls is None:
        assert outcome.kind is Kind.BROKEN
        assert outcome.detail == "the body is incomplete: Connection reset by peer"


def test_the_two_framings_of_endless_bodies_are_read_directly() -> None:
    """By names that urllib3 and http.client do not promise. If this fails, reading still works, but slower."""
    found = {}
    for name, sent in {**EMPTY, "chunked": CHUNKED + LAST_CHUNK}.items():

        def script(peer: Peer, sent: bytes = sent) -> None:
            peer.send(sent)

        with serving(script) as server, transport().get(server.url, {}, Cutter()) as response:
            chunks, file = direct_source(response._raw)
            found[name] = (chunks is not None, file is not None)
    assert found == {
        "chunked": (True, True),
        "until close": (False, True),
        "length": (False, False),
        "gzip": (False, False),
    }


def test_silence_is_an_outcome_and_ends_the_response(tls: ssl.SSLContext | None) -> None:
    """The libraries would report a clean end on the next read."""

    def script(peer: Peer) -> None:
        peer.send(CHUNKED, chunk(E1 + INCOMPLETE))
        peer.hold()

    with serving(script, tls) as server:
        stream = Connector(endpoint(read_timeout=0.3)).connect(server.url, "")
        events, outcome = read_on(stream)
        assert [event.data for event in events] == ["one"]
        assert (outcome.kind, outcome.detail) == (Kind.SILENT, "the body is incomplete: no byte for 0.3 s")
        assert read_on(stream) == ([], outcome)


def test_a_block_larger_than_every_buffer_is_complete(tls: ssl.SSLContext | None) -> None:
    """One event of 900 KB in one chunk, and one with a chunk per line."""
    data = b"x" * 900_000
    lines = b"".join(chunk(b"data: %d\n" % number) for number in range(1000))
    with serving(
        lambda peer: peer.send(CHUNKED, chunk(b"data: " + data + b"\n\n"), lines, chunk(b"\n"), LAST_CHUNK), tls
    ) as server:
        received, outcome, _ = read_all(server.url)
    assert [len(item) for item in received] == [900_000, sum(len(str(number)) + 1 for number in range(1000)) - 1]
    assert outcome.kind is Kind.ENDED
