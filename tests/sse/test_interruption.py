"""A connection that another thread ends in every state, and one that a peer no longer serves."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.clock import monotonic
from bridge.http.connection import socket_options
from bridge.http.errors import lost_while_reading
from bridge.sse.connection import Connector
from bridge.sse.event_stream import EventStream
from bridge.sse.reconnection import NO_HEAD_HINT, Disconnected, Kind, Outcome
from tests.fakes.pieces import each
from tests.fakes.raw_server import (
    CHUNKED,
    LAST_CHUNK,
    UNTIL_CLOSE,
    Peer,
    RawServer,
    Script,
    chunk,
    full_backlog,
    serving,
)
from tests.fakes.streams import E1, E2, INCOMPLETE, endpoint, read_all, read_on, refused, server_tls
from tests.support.waiting import SCALE, TIMEOUT, let_pass, wait_until

IMMEDIATELY = 2.0 * SCALE
"""Seconds. A wake-up takes under a millisecond; this is far less than the timeouts of the connections."""


class ReadingThread:
    """A worker's thread: connects, reads to the end, and keeps the events, the end and its time."""

    def __init__(self, connector: Connector, url: str) -> None:
        self.connector = connector
        self.data: list[str] = []
        self.outcome: Outcome | None = None
        self.ended_at = 0.0
        self.stream: EventStream | None = None
        self._url = url
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.stream = self.connector.connect(self._url, "7")
            for event in each(self.stream):
                self.data.append(event.data)
        except Disconnected as end:
            self.outcome = end.outcome
            self.ended_at = monotonic()

    def join(self) -> Outcome:
        self._thread.join(TIMEOUT)
        assert self.outcome is not None, "the reader still hangs"
        return self.outcome


def silent(peer: Peer) -> None:
    """No response head."""
    peer.hold()


def waiting_body(head: bytes, frame: Callable[[bytes], bytes]) -> Script:
    """An event and an incomplete one, then nothing."""

    def script(peer: Peer) -> None:
        peer.send(head + frame(E1 + INCOMPLETE))
        peer.hold()

    return script


def flood(peer: Peer) -> None:
    """Never a moment without bytes to read."""
    peer.send(CHUNKED)
    many = chunk(E1 * 1000)
    while not peer.server.ending.is_set():
        peer.send(many)


def slow_head(peer: Peer) -> None:
    """The head of a response, a byte at a time, without end."""
    peer.send(b"HTTP/1.1 200 OK\r\nX: ")
    while not peer.server.ending.wait(0.01):
        peer.send(b"x")


STATES: dict[str, tuple[Script, Callable[[ReadingThread, RawServer], object]]] = {
    # name: the server's part, and how the test sees that the state is reached
    "waits for the head": (silent, lambda _, server: server.peers and server.peers[0].request),
    "reads a slow head": (slow_head, lambda _, server: server.peers and server.peers[0].request),
    "waits for a chunk": (waiting_body(CHUNKED, chunk), lambda reading, _: reading.data),
    "waits inside a chunk": (waiting_body(CHUNKED + b"fff\r\n", bytes), lambda reading, _: reading.data),
    "waits until close": (waiting_body(UNTIL_CLOSE, bytes), lambda reading, _: reading.data),
    "reads a flood": (flood, lambda reading, _: len(reading.data) > 2000),
}


@pytest.fixture(params=["plain", "TLS"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    """The server's context, or none."""
    return server_tls() if request.param == "TLS" else None


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("end", "outcome"),
    [(Connector.stop, Outcome(Kind.STOPPED, "stopped")), (Connector.retire, Outcome(Kind.ENDED, "retired"))],
    ids=["stop", "retire"],
)
def test_a_connection_ends_immediately_in_any_state(
    state: str, end: Callable[[Connector], None], outcome: Outcome, tls: ssl.SSLContext | None
) -> None:
    """Long before any timeout, with its own outcome, and without the incomplete event."""
    script, reached = STATES[state]
    with serving(script, tls) as server:
        reading = ReadingThread(Connector(endpoint()), server.url)
        wait_until(lambda: reached(reading, server), what=state)
        begin = monotonic()
        end(reading.connector)
        assert reading.join() == outcome
        assert reading.ended_at - begin < IMMEDIATELY
    assert set(reading.data) <= {"one"}


def test_a_tls_handshake_that_hangs_can_be_ended() -> None:
    """The socket belongs to OpenSSL then: a duplicate of it is shut down."""
    with serving(silent, read_request=False) as server:
        reading = ReadingThread(Connector(endpoint()), server.url.replace("http:", "https:"))
        wait_until(lambda: server.peers, what="the connection")
        reading.connector.stop()
        assert reading.join().kind is Kind.STOPPED


def test_a_tls_handshake_that_hangs_ends_after_the_connect_timeout() -> None:
    """The handshake is part of connecting, so the read timeout does not apply."""
    with serving(silent, read_request=False) as server:
        outcome = refused(server.url.replace("http:", "https:"), connect_timeout=0.3)
    assert outcome == Outcome(Kind.UNREACHABLE, "no connection within 0.3 s")


def test_a_proxy_without_a_response_ends_after_the_connect_timeout() -> None:
    """The tunnel is part of connecting too."""
    with serving(silent) as proxy:
        outcome = refused("https://mix.example/", connect_timeout=0.3, proxy=f"http://127.0.0.1:{proxy.port}")
    assert outcome == Outcome(Kind.UNREACHABLE, "no connection within 0.3 s")


def test_a_connect_without_a_response_can_be_ended() -> None:
    """Before a connection exists."""
    with full_backlog() as port:
        reading = ReadingThread(Connector(endpoint(connect_timeout=60.0)), f"http://127.0.0.1:{port}/")
        wait_until(lambda: reading.connector._cutter._duplicate is not None, what="the attempt")
        begin = monotonic()
        reading.connector.stop()
        assert reading.join().kind is Kind.STOPPED
        assert reading.ended_at - begin < IMMEDIATELY


def test_stop_is_final_and_can_be_called_at_any_time() -> None:
    """Before, between and after connections, twice, from many threads at the same time."""
    with serving(waiting_body(CHUNKED, chunk)) as server:
        reading = ReadingThread(Connector(endpoint()), server.url)
        wait_until(lambda: reading.data, what="an event")
        threads = [threading.Thread(target=reading.connector.stop) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert reading.join().kind is Kind.STOPPED
        reading.connector.stop()
        reading.connector.retire()
        with pytest.raises(Disconnected) as end:
            reading.connector.connect(server.url, "")
        assert end.value.outcome == Outcome(Kind.STOPPED, "stopped")
        assert len(server.peers) == 1


def test_after_retire_the_next_connection_works() -> None:
    """Retire ends only the present connection."""
    with serving(waiting_body(CHUNKED, chunk)) as server:
        connector = Connector(endpoint())
        connector.retire()
        for _ in range(2):
            stream = connector.connect(server.url, "")
            assert next(each(stream)).data == "one"
            connector.retire()
            connector.retire()
            assert read_on(stream) == ([], Outcome(Kind.ENDED, "retired"))


def test_stop_after_retire_is_a_stop() -> None:
    """The daemon shuts down while a connection is being retired."""
    with serving(waiting_body(CHUNKED, chunk)) as server:
        connector = Connector(endpoint())
        stream = connector.connect(server.url, "")
        connector.retire()
        connector.stop()
        assert read_on(stream)[1].kind is Kind.STOPPED


def test_the_reader_closes_the_response() -> None:
    """Its socket is closed after every end, and no duplicate of it stays open."""
    with serving(waiting_body(CHUNKED, chunk)) as server:
        connector = Connector(endpoint())
        stream = connector.connect(server.url, "")
        assert connector._cutter._duplicate is None
        connector.stop()
        read_on(stream)
        assert server.peers[0].closed_by_client.wait(TIMEOUT)


def test_a_new_connection_closes_the_previous_one() -> None:
    """A connector has at most one."""
    with serving(waiting_body(CHUNKED, chunk)) as server:
        connector = Connector(endpoint())
        first = connector.connect(server.url, "")
        second = connector.connect(server.url, "")
        assert server.peers[0].closed_by_client.wait(TIMEOUT)
        assert next(each(second)).data == "one"
        first.close()
        connector.stop()
        assert read_on(second)[1].kind is Kind.STOPPED


def test_hundreds_of_readers_stop_together() -> None:
    """A graceful shutdown does not take longer with more sessions."""
    with serving(waiting_body(UNTIL_CLOSE, bytes)) as server:
        readers = [ReadingThread(Connector(endpoint()), server.url) for _ in range(200)]
        wait_until(lambda: all(reading.data for reading in readers), 30, "all readers to read")
        begin = monotonic()
        for reading in readers:
            reading.connector.stop()
        assert {reading.join().kind for reading in readers} == {Kind.STOPPED}
        assert monotonic() - begin < TIMEOUT
        assert {tuple(reading.data) for reading in readers} == {("one",)}


def test_descriptors_do_not_leak() -> None:
    """However a connection ends."""
    with serving(lambda peer: peer.send(CHUNKED, chunk(E1), LAST_CHUNK)) as server, full_backlog() as full:
        connector = Connector(endpoint(connect_timeout=0.05))

        def once() -> None:
            read_on(connector.connect(server.url, ""))
            for url in (f"http://127.0.0.1:{full}/", "http://127.0.0.1:1/", "https://127.0.0.1:1/"):
                with pytest.raises(Disconnected):
                    connector.connect(url, "")

        once()
        before = descriptors()
        for _ in range(5):
            once()
        wait_until(lambda: descriptors() <= before, what="the server's sockets to be closed")


def descriptors() -> int:
    """Open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


# Dead and slow peers


def test_keepalive_detects_a_dead_peer_before_the_read_timeout() -> None:
    """The options are set on the socket, and their times add up to less than the read timeout."""
    with serving(waiting_body(CHUNKED, chunk)) as server:
        connector = Connector(endpoint(read_timeout=150.0))
        stream = connector.connect(server.url, "")
        live: socket.socket = stream._source._raw._connection.sock  # type: ignore[attr-defined]
        found = {option: live.getsockopt(level, option) for level, option, _ in socket_options(150.0)}
        stream.close()
    assert found[socket.SO_KEEPALIVE] == 1
    assert found[socket.TCP_NODELAY] == 1
    idle, interval, count = (found[o] for o in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT))
    assert idle + interval * count == 73
    assert found[socket.TCP_USER_TIMEOUT] == 73_000


def test_failed_keepalive_probes_are_silence() -> None:
    """The system reports them as a timeout with an error number, not as a read timeout."""
    lost = lost_while_reading(OSError(errno.ETIMEDOUT, "Connection timed out"), 150.0)
    assert str(lost) == "silent: the peer no longer answers (TCP keepalive)"


def every(seconds: float, pieces: Iterator[bytes] | list[bytes], head: bytes = UNTIL_CLOSE) -> Script:
    """A piece every so many seconds."""

    def script(peer: Peer) -> None:
        peer.send(head)
        for piece in pieces:
            if peer.server.ending.wait(seconds):
                return
            peer.send(piece)

    return script


def test_a_heartbeat_within_the_read_timeout_keeps_the_stream() -> None:
    """A comment, a third of the timeout apart."""
    with serving(every(0.1, [b": heartbeat\n"] * 8 + [E1])) as server:
        data, outcome, _ = read_all(server.url, read_timeout=0.4)
    assert (data, outcome.kind) == (["one"], Kind.ENDED)


def test_a_heartbeat_after_the_read_timeout_is_silence() -> None:
    """Detected after the timeout, not after the heartbeat."""
    with serving(every(60.0, [b": heartbeat\n"] * 2)) as server:
        begin = monotonic()
        outcome = read_all(server.url, read_timeout=0.3)[1]
        assert 0.3 <= monotonic() - begin < IMMEDIATELY
    assert outcome.kind is Kind.SILENT


def test_no_head_within_the_read_timeout_is_an_end_of_its_own() -> None:
    """A server may be slow, but not without limit."""
    with serving(silent) as server:
        outcome = refused(server.url, read_timeout=0.3)
    assert outcome == Outcome(Kind.NO_HEAD, f"no response head: no byte for 0.3 s; {NO_HEAD_HINT}")


def test_a_slow_stream_without_a_closed_block_stalls() -> None:
    """Each byte resets the read timeout. Stall detection ends the stream after two of them."""
    with serving(every(0.05, [b"data: "] + [b"x"] * 1000)) as server:
        begin = monotonic()
        data, outcome, stream = read_all(server.url, read_timeout=0.2)
        assert 0.4 <= monotonic() - begin < IMMEDIATELY
    assert (data, outcome) == ([], Outcome(Kind.STALLED, "bytes, but no complete block for 0.4 s"))
    assert stream.discarded_bytes >= len("data: xx")


INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(("head", "piece"), [(b"HTTP/1.1 200 OK\r\nx: ", b"x"), (INTERIM, INTERIM)])
def test_a_slow_response_head_stalls(head: bytes, piece: bytes) -> None:
    """A header or interim responses without an end: each byte resets the socket's timeout."""
    with serving(every(0.05, [piece] * 200, head)) as server:
        outcome = refused(server.url, read_timeout=0.3)
    assert outcome == Outcome(Kind.STALLED, "no response head: it was not complete after 0.3 s")


def test_a_slow_size_line_stalls() -> None:
    """Framing without an end does not show that the stream works."""
    with serving(every(0.05, [b"x"] * 200, CHUNKED + b"5;")) as server:
        _, outcome, _ = read_all(server.url, read_timeout=0.3)
    assert outcome.kind is Kind.STALLED


def test_a_paused_consumer_is_not_a_timeout() -> None:
    """The timeout runs only during a read: what waits in the socket is read as usual."""
    with serving(lambda peer: peer.send(CHUNKED, chunk(E1), chunk(E2), LAST_CHUNK)) as server:
        stream = Connector(endpoint(read_timeout=0.2)).connect(server.url, "")
        events = stream.read()
        let_pass(0.5)
        rest, outcome = read_on(stream)
    assert outcome.kind is Kind.ENDED
    assert [event.data for event in events + rest] == ["one", "two"]


def test_last_byte_at_is_the_time_of_the_last_read() -> None:
    """By the clock for durations."""
    with serving(waiting_body(CHUNKED, chunk)) as server:
        before = monotonic()
        stream = Connector(endpoint()).connect(server.url, "")
        next(each(stream))
        assert before <= stream.last_byte_at <= monotonic()
        stream.close()
