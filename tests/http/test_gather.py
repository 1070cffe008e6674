"""A reader that waits for a larger piece, on real sockets: it wakes at once when much has come, or the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial

import pytest

from bridge.clock import monotonic
from bridge.sse.connection import Connector
from bridge.sse.event_stream import EventStream
from bridge.sse.reconnection import Disconnected, Kind
from tests.fakes.raw_server import CHUNKED, UNTIL_CLOSE, Peer, chunk, serving
from tests.fakes.streams import E1, E2, endpoint, server_tls
from tests.support.waiting import TIMEOUT, wait_until

LONG = 10 * TIMEOUT
MUCH = b"id: 9\ndata: " + b"x" * 20_000 + b"\n\n"


class Scripted:
    """A server that sends an event, and then what the test wants."""

    def __init__(self, head: bytes, frame: Callable[[bytes], bytes]) -> None:
        self._peer: Peer | None = None
        self._ready, self._ending = threading.Event(), threading.Event()
        self._head, self._frame = head, frame

    def __call__(self, peer: Peer) -> None:
        peer.send(self._head + self._frame(E1))
        self._peer = peer
        self._ready.set()
        self._ending.wait(TIMEOUT)

    def send(self, payload: bytes) -> None:
        """Send this."""
        assert self._ready.wait(TIMEOUT)
        assert self._peer is not None
        self._peer.send(self._frame(payload))

    def end(self) -> None:
        """Close the connection."""
        self._ending.set()


def seconds_of(call: Callable[[], object]) -> float:
    begun = monotonic()
    call()
    return monotonic() - begun


def later(call: Callable[[], object], stream: EventStream) -> float:
    """Seconds of a long ``gather`` that began before ``call``."""
    took: list[float] = []
    thread = threading.Thread(target=lambda: took.append(seconds_of(partial(stream.gather, LONG))), daemon=True)
    thread.start()
    call()
    thread.join(TIMEOUT)
    assert took, "it still waits"
    return took[0]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("head", "frame"), [(CHUNKED, chunk), (UNTIL_CLOSE, bytes)], ids=["chunked", "until_close"])
def test_small_events_are_gathered_and_much_is_not(head: bytes, frame: Callable[[bytes], bytes], *, tls: bool) -> None:
    """A small event does not end the wait, and comes with the next read; a large one ends it."""
    script = Scripted(head, frame)
    with (
        serving(script, tls=server_tls() if tls else None) as server,
        closing(Connector(endpoint()).connect(server.url, "")) as stream,
    ):
        assert [event.id for event in stream.read()] == ["1"]
        script.send(E2)
        wait_until(lambda: stream.unread > 0)
        assert seconds_of(lambda: stream.gather(0.2)) >= 0.2
        assert [event.id for event in stream.read()] == ["2"]
        later(lambda: script.send(MUCH), stream)
        assert [event.id for event in stream.read()] == ["9"]
        script.send(E2)
        assert [event.id for event in stream.read()] == ["2"], "a read waits for one byte, as before"
        script.end()


def test_the_end_of_the_connection_ends_the_wait() -> None:
    """A session that the server ended does not wait for more."""
    script = Scripted(CHUNKED, chunk)
    with serving(script) as server, closing(Connector(endpoint()).connect(server.url, "")) as stream:
        stream.read()
        later(script.end, stream)
        with pytest.raises(Disconnected):
            stream.read()


def test_a_cut_ends_the_wait() -> None:
    """A stop must not wait for a wait for larger pieces."""
    script = Scripted(CHUNKED, chunk)
    connector = Connector(endpoint())
    with serving(script) as server, closing(connector.connect(server.url, "")) as stream:
        stream.read()
        later(connector.stop, stream)
        with pytest.raises(Disconnected) as end:
            stream.read()
        assert end.value.outcome.kind is Kind.STOPPED
        script.end()


def test_the_bytes_that_nobody_has_read_are_known() -> None:
    """They tell whether the server could send all the time."""
    script = Scripted(CHUNKED, chunk)
    with serving(script) as server, closing(Connector(endpoint()).connect(server.url, "")) as stream:
        stream.read()
        assert stream.unread == 0
        script.send(MUCH)
        wait_until(lambda: stream.unread > len(MUCH))
        script.end()
