"""Servers and proxies that send no response head before the first event: the connection stands."""

from __future__ import annotations

import threading

from bridge.clock import monotonic
from bridge.core.identity import Position
from bridge.daemon.session_states import State
from bridge.daemon.session_worker import HEAD_EXPECTED
from tests.fakes.raw_server import Peer, answer
from tests.fakes.session_workers import running_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, contents, scripted_mix, send
from tests.support.waiting import wait_until


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
