"""A session's worker against a real server: where it resumes, and when it starts a new epoch."""

from __future__ import annotations

import threading

import pytest

from bridge.clock import monotonic
from bridge.core.identity import Position
from bridge.daemon.session_states import State
from tests.fakes.raw_server import Peer, answer
from tests.fakes.session_workers import RecordingPublisher, running_worker, session_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, block, content, cut, scripted_mix, send
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("more", "position", "epochs"),
    [
        ({"without_ids": "accept"}, Position(9, 0, "0"), []),
        ({"start_after_id": ""}, Position(9, 0, ""), [""]),
        ({"start_after_id": ""}, Position(9, 3, ""), [""]),
        ({"without_ids": "accept"}, Position(9, 3, "3"), []),
        ({}, Position(9, 0, "0"), []),
        ({}, Position(9, 3, "3"), []),
    ],
)
def test_a_restart_starts_an_epoch_where_its_numbers_could_mean_other_events(
    more: dict[str, str], position: Position, epochs: list[str]
) -> None:
    """Without ids, or live only, the events after a crash are other ones than those published but not checkpointed."""
    with scripted_mix() as mix:
        mix.streams = {"a": (feed := Feed(5))}
        with running_worker(source(mix.url, **more), position) as (worker, publisher):
            wait_until(lambda: worker.state is State.STREAMING)
            feed.add(2)
            wait_until(lambda: publisher.published[-1:] == [content(7)])
            assert publisher.epochs == epochs


def test_a_server_that_streamed_before_is_never_asked_without_an_id() -> None:
    """A proxy's 400 to everything, however long, costs the position at most, not the events sent meanwhile."""
    with scripted_mix() as mix:
        feed = Feed(3)

        def script(peer: Peer) -> None:
            peer.send(answer(400)) if 1 < len(mix.asked) < 14 else feed(peer)

        mix.streams = {"a": script}
        with running_worker(source(mix.url)) as (_, publisher):
            wait_until(lambda: publisher.position.sequence == 3)
            feed.cut()
            wait_until(lambda: len(mix.asked) > 1)
            feed.add(2)
            wait_until(lambda: publisher.position == Position(2, 5, "5"))
        assert mix.ids_of("a") == ["0", "2", "2", "2"] + ["0"] * 10
        assert publisher.epochs == ["0", "0"]


def test_a_restored_session_is_never_asked_without_an_id() -> None:
    """The server accepted its ids before the restart."""
    with scripted_mix() as mix:
        feed = Feed(5)
        mix.streams = {"a": lambda peer: peer.send(answer(400)) if len(mix.asked) < 9 else feed(peer)}
        with running_worker(source(mix.url), Position(1, 3, "3")) as (_, publisher):
            wait_until(lambda: publisher.position == Position(2, 5, "5"))
        assert mix.ids_of("a") == ["3"] * 3 + ["0"] * 6


def test_a_stream_that_only_reports_an_error_counts_as_a_failure() -> None:
    """An old server answers an unknown session with 200 and one event without an id: the back-off grows."""
    with scripted_mix() as mix:
        mix.streams = {"a": cut(block(None, "error", '{"type":"error","error":"no"}'))}
        more = {"without_ids": "accept", "reconnect_max": "1h"}
        with running_worker(source(mix.url, **more)) as (worker, _):
            wait_until(lambda: worker._history.failures >= 4)


def test_a_stream_that_moved_the_id_resets_the_back_off() -> None:
    """However short the connection was."""
    with scripted_mix() as mix:
        mix.streams = {"a": lambda peer: send(peer, [block(str(len(mix.asked)), "content", content(1))])}
        with running_worker(source(mix.url)) as (worker, _):
            wait_until(lambda: len(mix.asked) > 6)
            assert worker._history.failures <= 1


def test_a_session_without_a_thread_crashes_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of threads must cost one session for a while, not the daemon."""
    worker = session_worker(source("http://127.0.0.1:9"), RecordingPublisher())

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker.start()
    assert (worker.state, worker.is_over) == (State.CRASHED, True)
    assert worker.stream.counters.last_error == "can't start new thread"
    worker.stop()
    assert worker.join(monotonic() + 1)


def test_the_time_without_a_stream_is_counted() -> None:
    """From the loss of the connection to the next answer, back-off and failed attempts included; not the first one."""
    with scripted_mix() as mix:
        feed = Feed(3)
        mix.streams = {"a": lambda peer: peer.send(answer(503)) if len(mix.asked) in {1, 3} else feed(peer)}
        local = source(mix.url)
        with running_worker(local) as (_, publisher):
            wait_until(lambda: publisher.position.sequence == 3)
            assert local.reconnect_duration.snapshot().count == 0
            feed.cut()
            wait_until(lambda: len(mix.asked) == 4)
            wait_until(lambda: local.reconnect_duration.snapshot().count == 1)
