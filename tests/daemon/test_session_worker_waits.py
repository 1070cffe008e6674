"""A session's worker waits for memory, for its head, or while it is stopped; and servers that are unusual."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from bridge.clock import monotonic
from bridge.core.identity import Position
from bridge.daemon.connection import StreamConnection
from bridge.daemon.session_states import State
from bridge.daemon.session_worker import HEAD_EXPECTED
from bridge.sse.event_stream import EventStream
from bridge.sse.reconnection import SLOW
from tests.fakes.clock import fast_clock
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, Peer, answer, chunk
from tests.fakes.session_workers import RecordingPublisher, running_worker, session_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, block, content, contents, cut, scripted_mix, send, status, stream
from tests.support.waiting import TIMEOUT, wait_until

LONG = {"reconnect_min": "10m", "reconnect_max": "1h"}

Lines = list[Any]


def waits(logs: Lines) -> list[float]:
    """The waits that were logged, once there is one."""
    return wait_until(lambda: [line["reconnect_in"] for line in logs if line["event"] == "disconnected"])


def least() -> float:
    """The smallest jitter."""
    return 0.0


def most() -> float:
    """Nearly the largest jitter."""
    return 0.999


def test_failures_are_spread_over_the_whole_wait() -> None:
    """From zero on: a thousand sessions that failed together do not reconnect together."""
    with scripted_mix() as mix:
        mix.streams = {"a": status(503)}
        with running_worker(source(mix.url, **LONG), jitter=least):
            wait_until(lambda: len(mix.asked) > 5, what="tries without a wait")


def test_the_bounds_of_the_settings_are_those_of_the_waits() -> None:
    """With the largest jitter the second try is minutes away."""
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": status(503)}
        with running_worker(source(mix.url, **LONG), jitter=most):
            assert waits(logs) == [599.4]
    assert len(mix.asked) == 1


@pytest.mark.parametrize("script", [status(503), lambda peer: peer.send(answer(429, b"Retry-After: 600"))])
def test_a_stop_ends_every_wait_at_once(script: Callable[[Peer], None]) -> None:
    """Also a wait that the server asked for."""
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": script}
        with running_worker(source(mix.url, reconnect_min="10m", reconnect_max="10m"), jitter=most) as (worker, _):
            assert waits(logs)[0] >= 599
            worker.stop()
            assert worker.join(monotonic() + TIMEOUT)
    assert len(mix.asked) == 1


def test_retry_after_lengthens_a_wait() -> None:
    """``Retry-After`` is above the settings' maximum of 40 ms."""
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": lambda peer: peer.send(answer(503, b"Retry-After: 3"))}
        with running_worker(source(mix.url)):
            assert 3.0 <= waits(logs)[0] < 12


def test_a_retry_field_outlives_its_connection() -> None:
    """Sent once, it is the base of all later waits, also where the next connection brings none."""
    with scripted_mix() as mix, capture_logs() as logs:

        def script(peer: Peer) -> None:
            retry = b"retry: 500\n" if len(mix.asked) == 1 else b""
            peer.send(CHUNKED + chunk(retry + contents(len(mix.asked))[0]) + LAST_CHUNK)

        mix.streams = {"a": script}
        with running_worker(source(mix.url, reconnect_max="5s"), jitter=most):
            wait_until(lambda: len(waits(logs)) > 1)
    assert all(0.6 < wait < 2 for wait in waits(logs))


@pytest.mark.parametrize("body", [b"", b"data: not closed\n", b":"], ids=repr)
def test_a_connection_that_brings_no_block_is_a_failure(body: bytes) -> None:
    """However long it was open, here minutes by the worker's clock: an accepted connection proves nothing."""

    def script(peer: Peer) -> None:
        peer.send(UNTIL_CLOSE + body)
        peer.server.ending.wait(0.1)

    with scripted_mix() as mix:
        mix.streams = {"a": script}
        with running_worker(source(mix.url), now=fast_clock(1000)) as (worker, _):
            wait_until(lambda: worker.retries.history.failures >= 4)


def test_a_block_ends_a_row_of_failures() -> None:
    """After an outage the first ordinary end is followed by a short wait again."""
    with scripted_mix() as mix:
        feed = Feed(1)
        mix.streams = {"a": lambda peer: peer.send(answer(503)) if len(mix.asked) < 6 else feed(peer)}
        with running_worker(source(mix.url)) as (worker, publisher):
            wait_until(lambda: publisher.position.sequence == 1)
            assert worker.retries.history.failures == 5
            feed.cut()
            wait_until(lambda: len(mix.asked) > 6)
            wait_until(lambda: worker.retries.history.failures <= 1)


def test_refused_credentials_are_retried_slowly_and_reported_with_the_setting(tmp_path: Path) -> None:
    """Far above ``reconnect_min``: fast retries would lock accounts."""
    token = tmp_path / "token"
    token.write_text("old\n")
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": status(401)}
        with running_worker(source(mix.url, token_file=token, reconnect_max="1m")) as (worker, _):
            assert waits(logs)[0] >= SLOW
            assert "token_file" in str(worker.stream.counters.last_error)
    (line,) = [line for line in logs if line["event"] == "disconnected"]
    assert line["log_level"] == "error"
    assert "token_file" in line["detail"]
    assert mix.asked[0].headers["authorization"] == b"Bearer old"


def test_a_connection_without_a_head_is_a_state_of_its_own() -> None:
    """The server counts as reachable, the status names the cause, and the first event brings the head."""
    spoken, later = threading.Event(), [0.0]

    def script(peer: Peer) -> None:
        spoken.wait()
        send(peer, contents(1))
        peer.hold()

    with scripted_mix() as mix:
        mix.streams = {"a": script}
        one = source(mix.url)
        with running_worker(one, now=lambda: monotonic() + later[0]) as (worker, publisher):
            try:
                wait_until(lambda: worker.state is State.WAITING_FOR_HEAD)
                worker.check_connection(0.0)
                assert (one.has_answered, worker.awaits_head(monotonic())) == (False, False), "not yet unusual"
                later[0] = HEAD_EXPECTED + 1
                worker.check_connection(0.0)
                assert (one.has_answered, one.answers) == (True, True)
                assert worker.awaits_head(monotonic() + later[0])
            finally:
                spoken.set()
            wait_until(lambda: publisher.position.sequence == 1)
            assert worker.state is State.STREAMING


def test_a_head_that_does_not_come_within_the_read_timeout_is_requested_again() -> None:
    """At once, for as long as it takes; the server still counts as reachable, and there is no error to report."""
    with scripted_mix() as mix:
        mix.streams = {"a": Peer.hold}
        one = source(mix.url, read_timeout="50ms")
        with running_worker(one) as (worker, _):
            wait_until(lambda: len(mix.asked) > 5)
            assert worker.retries.history.failures == 0
            assert one.answers
            assert worker.stream.counters.last_error is None


def test_an_id_that_is_refused_at_once_is_dropped_if_requests_without_it_wait_for_a_head() -> None:
    """The server has no event to send, so silence is its only acceptance."""
    with scripted_mix() as mix:
        feed = Feed(3)

        def script(peer: Peer) -> None:
            sent = peer.headers.get("last-event-id")
            peer.send(answer(400)) if sent == b"3" else feed(peer) if sent == b"0" else peer.hold()

        mix.streams = {"a": script}
        with running_worker(source(mix.url, read_timeout="250ms", gone_after=0), Position(1, 3, "3")) as (_, publisher):
            wait_until(lambda: publisher.position == Position(2, 3, "3"))
        assert mix.ids_of("a")[:8] == [*["3", None] * 3, "3", "0"]
        assert publisher.announced[0] == "unresumable"


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
