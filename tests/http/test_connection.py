"""A cut that comes at a bad moment: before there is a socket, between two, when all is over."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bridge.http.connection import Link, LinkedHTTPConnection
from bridge.sse.failures import outcome_of_reading
from bridge.sse.reconnection import Kind, Outcome

STOPPED = Outcome(Kind.STOPPED, "stopped")
RETIRED = Outcome(Kind.ENDED, "retired")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield ours, theirs


def test_a_cut_before_the_socket_strikes_when_it_is_held(pair: tuple[socket.socket, socket.socket]) -> None:
    """Stop came while a name was resolved."""
    link = Link()
    assert link.begin() is None
    link.cut(STOPPED, final=True)
    link.hold(pair[0])
    assert pair[1].recv(1) == b""
    link.release()


def test_a_cut_at_the_hand_over_strikes_the_response() -> None:
    """Stop came with the response head."""
    link, struck = Link(), []
    link.begin()
    link.cut(RETIRED)
    link.hand_over(lambda: struck.append(1))
    assert struck == [1]


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_what_is_closed_already_needs_no_shutdown(error: type[Exception]) -> None:
    """The reader closes its response in the same moment: urllib3 says so in three ways."""
    link = Link()

    def closed() -> None:
        raise error

    link.hand_over(closed)
    link.cut(RETIRED)
    assert link.wanted == RETIRED


def test_a_released_connection_is_not_touched() -> None:
    """Its descriptor may belong to somebody else by now."""
    link, struck = Link(), []
    link.hand_over(lambda: struck.append(1))
    link.release()
    link.cut(RETIRED)
    assert struck == []


def test_the_first_final_outcome_stays() -> None:
    """Each later connection begins with it; what is not final is forgotten."""
    link = Link()
    link.cut(RETIRED)
    assert link.begin() is None
    assert link.wanted is None
    link.cut(STOPPED, final=True)
    link.cut(RETIRED)
    link.cut(Outcome(Kind.STOPPED, "again"), final=True)
    assert link.begin() == link.wanted == STOPPED


def test_nobody_connects_once_it_is_cut() -> None:
    """Neither before the attempt, nor with a socket that a shutdown came too early for."""
    link = Link()
    link.cut(STOPPED, final=True)
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = LinkedHTTPConnection(link, "127.0.0.1", listener.getsockname()[1], timeout=5)
        with pytest.raises(Exception, match="no connection"):
            connection.connect()
        link = Link()
        hold = link.hold

        def cut_first(attempt: socket.socket) -> None:
            hold(attempt)
            link.cut(STOPPED)
            connections.append(attempt)

        setattr(link, "hold", cut_first)  # noqa: B010 - for this one object
        connection = LinkedHTTPConnection(link, "127.0.0.1", listener.getsockname()[1], timeout=5)
        with pytest.raises(Exception, match="no connection"):
            connection.connect()
    assert [attempt.fileno() for attempt in connections] == [-1]
    link.release()


def test_a_fault_of_a_library_is_an_end_named_by_its_type_alone() -> None:
    """Seen as AttributeError when a response is shut from outside; its text could hold anything."""
    outcome = outcome_of_reading(AttributeError("'NoneType' object has no attribute 's3cret'"), 10.0)
    assert outcome == Outcome(Kind.BROKEN, "the body broke off: AttributeError")
