"""When a connection to a stream is ended from this side, by a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from bridge.core.identity import SessionKey
from bridge.daemon.connection import STABLE_AFTER, Replay, StreamConnection, own_share_of_age
from bridge.sse.event_stream import EventStream


@dataclass
class Stream:
    """What a connection reads of its stream."""

    last_event_id: str = "7"
    blocks: int = 0


REPLAY_TIMEOUT = 10.0


def connection(stream: Stream | None = None, replay_timeout: float | None = REPLAY_TIMEOUT) -> StreamConnection:
    """A connection that was opened at 100 s."""
    return StreamConnection(cast("EventStream", stream or Stream()), 100.0, replay_timeout)


def test_connections_made_together_do_not_end_together() -> None:
    """Each session has an age of its own within the last tenth, spread evenly."""
    ages = [own_share_of_age(SessionKey("local", f"s{number}"), 100.0) for number in range(100)]
    assert all(90 < age <= 100 for age in ages)
    assert 30 < sum(age < 95 for age in ages) < 70


def test_an_old_connection_is_retired_once() -> None:
    """The worker needs a moment to leave it: the next tick must not retire the connection after it."""
    one = connection()
    assert [one.is_too_old(now, 50.0) for now in (149.0, 151.0, 152.0)] == [False, True, False]


def test_a_replay_that_does_not_begin_times_out_once() -> None:
    """Nothing else wakes a reader to which nothing is sent."""
    one = connection()
    late = 100.1 + REPLAY_TIMEOUT
    assert [one.is_replay_late(now, 0.0) for now in (late - 0.2, late, late + 1)] == [False, True, False]
    assert one.replay is Replay.TIMED_OUT
    one.replay_began()
    assert one.replay is Replay.TIMED_OUT


def test_a_replay_that_began_cannot_time_out() -> None:
    """Nor can one that is not expected."""
    one = connection()
    one.replay_began()
    assert not one.is_replay_late(1000.0, 0.0)
    assert not connection(replay_timeout=None).is_replay_late(1000.0, 0.0)


def test_seconds_in_which_the_process_was_busy_do_not_count() -> None:
    """The known events may lie unread in the socket."""
    one = connection()
    assert not one.is_replay_late(130.0, 25.0)
    assert not one.is_replay_late(134.0, 0.0)
    assert one.is_replay_late(136.0, 0.0)


@pytest.mark.parametrize(
    ("stream", "seconds", "worked"),
    [
        (Stream("7", 0), 100.0, False),
        (Stream("7", 3), STABLE_AFTER - 0.1, False),
        (Stream("7", 3), STABLE_AFTER, True),
        (Stream("8", 3), 0.0, True),
    ],
)
def test_a_connection_has_worked_if_it_moved_the_id_or_lasted(stream: Stream, seconds: float, *, worked: bool) -> None:
    """A block alone may be an old server's answer for an unknown session; no block at all proves nothing."""
    read = Stream()
    one = connection(read)
    read.last_event_id, read.blocks = stream.last_event_id, stream.blocks
    assert one.has_worked(100.0 + seconds, is_new=True) is worked
    assert one.has_worked(100.0 + seconds, is_new=False) is (worked and seconds > 0)
