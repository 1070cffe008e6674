"""A cut at every moment: before there is a socket, before the response, after the end."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bridge.http.connection import CuttableHTTPConnection, Cutter
from bridge.http.errors import EndKind, lost_while_reading
from tests.support.waiting import TIMEOUT

STOPPED = (EndKind.STOPPED, "stopped")
RETIRED = (EndKind.ENDED, "retired")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(TIMEOUT)
        yield ours, theirs


def test_a_cut_before_the_socket_ends_it_when_it_is_watched(pair: tuple[socket.socket, socket.socket]) -> None:
    """The stop came during name resolution."""
    cutter = Cutter()
    assert cutter.begin() is None
    cutter.cut(*STOPPED, final=True)
    cutter.watch_socket(pair[0])
    assert pair[1].recv(1) == b""
    cutter.release()


def test_a_cut_before_the_response_ends_the_response() -> None:
    """The stop came with the response head."""
    cutter, shut_down = Cutter(), []
    cutter.begin()
    cutter.cut(*RETIRED)
    cutter.watch_response(lambda: shut_down.append(1))
    assert shut_down == [1]


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_a_connection_that_is_closed_already_needs_no_shutdown(error: type[Exception]) -> None:
    """The reader closes its response at the same moment: urllib3 reports that in three ways."""
    cutter = Cutter()

    def closed() -> None:
        raise error

    cutter.watch_response(closed)
    cutter.cut(*RETIRED)
    assert cutter.cut_as == RETIRED


def test_a_released_connection_is_not_shut_down() -> None:
    """Its descriptor may belong to another connection by then."""
    cutter, shut_down = Cutter(), []
    cutter.watch_response(lambda: shut_down.append(1))
    cutter.release()
    cutter.cut(*RETIRED)
    assert shut_down == []


def test_the_first_final_end_stays() -> None:
    """Every later connection ends with it. An end that is not final is forgotten."""
    cutter = Cutter()
    cutter.cut(*RETIRED)
    assert cutter.begin() is None
    assert cutter.cut_as is None
    cutter.cut(*STOPPED, final=True)
    cutter.cut(*RETIRED)
    cutter.cut(EndKind.STOPPED, "again", final=True)
    assert cutter.begin() == cutter.cut_as == STOPPED


def test_no_connection_is_opened_after_a_cut() -> None:
    """Neither before the attempt, nor with a socket that was shut down before it connected."""
    cutter = Cutter()
    cutter.cut(*STOPPED, final=True)
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = CuttableHTTPConnection(cutter, "127.0.0.1", listener.getsockname()[1], timeout=TIMEOUT)
        with pytest.raises(Exception, match="no connection"):
            connection.connect()
        cutter = Cutter()
        watch = cutter.watch_socket

        def cut_first(attempt: socket.socket) -> None:
            watch(attempt)
            cutter.cut(*STOPPED)
            connections.append(attempt)

        setattr(cutter, "watch_socket", cut_first)  # noqa: B010 - for this one object
        connection = CuttableHTTPConnection(cutter, "127.0.0.1", listener.getsockname()[1], timeout=TIMEOUT)
        with pytest.raises(Exception, match="no connection"):
            connection.connect()
    assert [attempt.fileno() for attempt in connections] == [-1]
    cutter.release()


def test_a_library_error_is_described_by_its_type_only() -> None:
    """A response that another thread shuts down raises AttributeError. Its text could hold anything."""
    lost = lost_while_reading(AttributeError("'NoneType' object has no attribute 's3cret'"), 10.0)
    assert str(lost) == "broken: the body is incomplete: AttributeError"
