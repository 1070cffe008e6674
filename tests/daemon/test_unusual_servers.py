"""A session's worker against servers that are not as Mix's contract says: no ids, opaque ids, ends, other readers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from bridge.clock import monotonic
from bridge.core.identity import Position
from bridge.daemon.connection import StreamConnection
from bridge.daemon.session_states import State
from bridge.sse.event_stream import EventStream
from tests.fakes.raw_server import Peer
from tests.fakes.session_workers import RecordingPublisher, running_worker, session_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import block, content, cut, scripted_mix, send, stream
from tests.support.waiting import wait_until

CONNECTED = block(None, "connected", '{"sessionId":"a"}')


def test_a_mix_server_without_ids_is_left_before_any_run() -> None:
    """Its ``connected`` has no id. Nothing is published or announced, and the session stays refused."""
    with scripted_mix() as mix:
        mix.streams = {"a": stream(CONNECTED)}
        with running_worker(source(mix.url)) as (worker, publisher):
            wait_until(lambda: worker.state is State.REFUSED)
            assert (publisher.published, publisher.announced) == ([], [])
            assert not worker.retries_refused
        assert len(mix.asked) == 1


def test_another_server_without_ids_is_refused_at_its_first_event() -> None:
    """Its readers do no harm, so it is tried again later. Skipped events need no id."""
    with scripted_mix() as mix:
        mix.streams = {"a": stream(CONNECTED)}
        with running_worker(source(mix.url, event_schema="none")) as (worker, _):
            wait_until(lambda: worker.state is State.REFUSED)
            assert worker.retries_refused
            assert worker.refused_at is not None


def test_where_no_ids_are_accepted_another_reader_is_reported() -> None:
    """The server's error goes to the reader that came second."""
    error = block(None, "error", '{"type":"error","error":"Session is currently processing another request"}')
    with scripted_mix() as mix:
        mix.streams = {"a": stream(CONNECTED, block(None, "content", content(1)), error)}
        with running_worker(source(mix.url, without_ids="accept")) as (worker, _):
            wait_until(lambda: worker.stream.counters.other_readers > 0)


def test_a_session_ends_after_the_event_of_end_after() -> None:
    """Named by its type or its data; later events are not published."""
    events = [block(None, "message", data) for data in ("one", "[DONE]", "two")]
    for end, more in (("[DONE]", events), ("complete", [block(None, "complete", "x"), *events])):
        with scripted_mix() as mix:
            mix.streams = {"a": stream(*more)}
            chosen = {"event_schema": "none", "without_ids": "accept", "end_after": end}
            with running_worker(source(mix.url, **chosen)) as (worker, publisher):
                wait_until(lambda: worker.state is State.ENDED)
                assert publisher.published == (["one", "[DONE]"] if end == "[DONE]" else ["x"])
                assert publisher.announced == ["attached", "ended"]


def test_a_finite_stream_is_published_once() -> None:
    """A server that sends all its events at each request and closes: no record twice, and the back-off grows."""
    events = [block(str(number), "content", content(number)) for number in (1, 2, 3)]
    with scripted_mix() as mix:
        mix.streams = {"a": cut(*events)}
        with running_worker(source(mix.url, event_schema="none")) as (worker, publisher):
            wait_until(lambda: len(mix.asked) > 8)
            assert publisher.published == [content(1), content(2), content(3)]
            assert publisher.announced[:2] == ["attached", "resumed"]
            wait_until(lambda: worker.retries.history.failures > 3)


def test_an_inclusive_replay_is_recognised() -> None:
    """The event of the requested id comes again."""
    with scripted_mix() as mix:

        def script(peer: Peer) -> None:
            first = int(mix.asked[-1].last_event_id or 1)
            send(peer, [block(str(number), "content", content(number)) for number in range(first, first + 4)])

        mix.streams = {"a": script}
        with running_worker(source(mix.url, event_schema="none", reconnect_max="20ms")) as (_, publisher):
            wait_until(lambda: len(publisher.published) > 9)
            numbers = [content(number) for number in range(1, len(publisher.published) + 1)]
            assert publisher.published == numbers
            assert set(publisher.announced) == {"attached", "resumed"}


def test_an_answered_id_that_differs_is_a_gap_at_once() -> None:
    """Mercure names the id that the replay follows; here it did not know the one to start after."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nLast-Event-ID: urn:7\r\nConnection: close\r\n\r\n"
    with scripted_mix() as mix:
        mix.streams = {"a": lambda peer: peer.send(head + b"id: urn:8\ndata: x\n\n")}
        with running_worker(source(mix.url, event_schema="none", start_after_id="0")) as (_, publisher):
            wait_until(lambda: publisher.published == ["x"])
            assert publisher.announced == ["attached", "gap"]


def test_without_ids_a_connection_retires_in_a_quiet_moment_of_the_last_tenth() -> None:
    """Not in the middle of a run, however old it is; a run ends with ``complete`` or ``error``."""
    with scripted_mix() as mix:
        chosen = {"without_ids": "accept", "max_connection_age": "100s"}
        worker = session_worker(source(mix.url, **chosen), RecordingPublisher(Position(1, 0, "0")))
        session = worker.stream
        assert session.runs.is_quiet(monotonic())
        for name, is_quiet in (("content", False), ("complete", True), ("content", False), ("error", True)):
            session.runs.note(name)
            assert session.runs.is_quiet(monotonic() + 1000) is is_quiet
            worker._connection = connection = StreamConnection(_stream(), monotonic() - 91, None)
            worker.check_connection(0.0)
            assert connection._is_retired is is_quiet


def _stream() -> EventStream:
    return cast("EventStream", SimpleNamespace(last_event_id="", blocks=0))
