"""How connections to one server are spread, and which lifecycle records of a session are published."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.records.lifecycle import LifecycleEvent
from bridge.daemon.rate_limit import BURST, RATE, RESUMED_BURST, ConnectionRate, LifecycleLimit, RateLimit
from tests.fakes.clock import ManualClock
from tests.fakes.raw_server import Peer
from tests.fakes.session_workers import running_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, content, scripted_mix
from tests.support.waiting import wait_until


def connections(asked: list[float], limit: RateLimit) -> list[float]:
    """When each of those who ask at these moments may connect."""
    moments = []
    for now in asked:
        wait, limit = limit.reserve(now)
        moments.append(now + wait)
    return moments


@given(st.lists(st.floats(0, 3), min_size=1, max_size=300).map(sorted), st.floats(1, 100), st.integers(1, 20))
def test_no_span_of_time_has_more_than_the_rate_and_one_burst(asked, rate, burst):
    """Whenever anybody asks."""
    moments = connections(asked, RateLimit(rate, burst))
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            span = moments[last] - moments[first]
            assert last - first + 1 <= burst + span * rate + 1e-6


@given(st.lists(st.floats(0, 3), min_size=1, max_size=100).map(sorted))
def test_connections_are_made_in_the_order_they_were_asked_for(asked):
    """First come, first served."""
    moments = connections(asked, RateLimit(10, 3))
    assert moments == sorted(moments)


def test_a_few_connect_at_once_and_the_rest_at_an_even_rate():
    """A burst, then one after the other."""
    assert connections([5.0] * 6, RateLimit(rate=10, burst=3)) == pytest.approx([5.0, 5.0, 5.0, 5.1, 5.2, 5.3])


def test_a_quiet_time_saves_up_one_burst_and_no_more():
    """After an hour as after a second."""
    asked = [0.0] * 10 + [3600.0] * 5
    assert connections(asked, RateLimit(rate=10, burst=3))[10:] == pytest.approx([3600.0] * 3 + [3600.1, 3600.2])


@given(st.integers(0, 500), st.floats(0, 5), st.floats(0, 5))
def test_available_counts_the_connections_within_the_time(reserved, later, within):
    """Whoever asks for one of them waits no longer, and the next one does."""
    limit = RateLimit(rate=64, burst=8)
    for _ in range(reserved):
        _, limit = limit.reserve(0.0)
    available = limit.available(later, within)
    waits = [moment - later for moment in connections([later] * (available + 1), limit)]
    assert all(wait <= within + 1e-6 for wait in waits[:available])
    assert waits[available] >= within - 1e-6


def test_reservations_that_are_not_used_are_refunded():
    """A shard that is released at once must not make the next one wait for connections that nobody makes."""
    clock, stopped = ManualClock(), threading.Event()
    rate = ConnectionRate(clock)
    assert all(rate.wait(stopped) for _ in range(BURST))
    assert rate.available(0.0) == 0
    stopped.set()
    assert not any(rate.wait(stopped) for _ in range(5000))
    clock.advance(1 / RATE)
    assert rate.available(0.0) == 1


def test_the_sessions_of_a_dead_replica_are_read_within_two_seconds_and_5000_within_a_minute():
    """The purpose of the defaults."""
    assert connections([0.0] * 400, RateLimit())[-1] < 2.0
    assert connections([0.0] * 5000, RateLimit())[-1] < 60.0
    assert (RATE, BURST) == (200.0, 50)


HOUR = 3600


def admitted(kind: str, seconds: int) -> int:
    """How many of one event a second are published."""
    limit = LifecycleLimit()
    event = LifecycleEvent(kind, "reason", "detail")  # type: ignore[arg-type]
    return sum(limit.admits(event, float(now)) for now in range(seconds))


def test_resumed_is_published_once_a_minute_after_a_burst() -> None:
    assert admitted("resumed", RESUMED_BURST) == RESUMED_BURST
    assert RESUMED_BURST + 58 <= admitted("resumed", HOUR) <= RESUMED_BURST + 60


def test_what_may_stand_for_a_loss_is_always_published() -> None:
    for kind in ("attached", "gap", "reset", "unresumable", "ended"):
        assert admitted(kind, HOUR) == HOUR


def test_a_session_that_is_cut_after_each_event_is_counted_and_not_announced_each_time() -> None:
    """All events arrive, and the counter has every resumption."""
    with scripted_mix() as mix:
        feed = Feed(1)

        def script(peer: Peer) -> None:
            feed(peer)

        mix.streams = {"a": script}
        with running_worker(source(mix.url, reconnect_min="1ms", reconnect_max="1ms")) as (worker, publisher):
            for number in range(1, 3 * RESUMED_BURST):
                wait_until(lambda number=number: publisher.published[-1:] == [content(number)])  # type: ignore[misc]
                before = len(mix.asked)
                feed.cut()
                wait_until(lambda before=before: len(mix.asked) > before)  # type: ignore[misc]
                feed.add(1)
            wait_until(lambda: worker.stream.counters.resumed >= 2 * RESUMED_BURST)
            assert publisher.announced.count("resumed") <= RESUMED_BURST + 1
