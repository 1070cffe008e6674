"""A server that ends connections all the time does not fill the lifecycle topic."""

from __future__ import annotations

from bridge.core.records.lifecycle import LifecycleEvent
from bridge.daemon.rate_limit import RESUMED_BURST, LifecycleLimit
from tests.fakes.raw_server import Peer
from tests.fakes.session_workers import running_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, content, scripted_mix
from tests.support.waiting import wait_until

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
