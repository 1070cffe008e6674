"""Exactly-once delivery on a real Kafka: what a reader of committed records sees, whatever happens between."""

from __future__ import annotations

from bridge.clock import monotonic
from bridge.core.lifecycle import Happening
from tests.integration.transactions import Ground, events, settled
from tests.waiting import wait_until

RESUMED = Happening("resumed", "replay_proved", "it goes on")
ENDED = Happening("ended", "gone", "it is gone")


def test_events_dead_letters_announcements_and_positions_are_committed_together(kafka: str, namespace: str) -> None:
    """And a restart goes on from there, with the next number."""
    ground = Ground(kafka, namespace)
    key = ground.key(0)
    with ground.replica() as replica:
        one = ground.open(replica, key)
        one.submit(events(range(1, 500)))
        one.submit(events([500], name="tool_call"))
        one.announce(RESUMED)
        settled(one)
        wait_until(lambda: ground.position_of(key) == one.position, what="the commit's markers")
        replica.delivery.stop()
        assert replica.delivery.join(monotonic() + 10)
    with ground.replica() as replica:
        one = ground.open(replica, key)
        one.submit(events(range(501, 600)))
        one.submit(events([600], name="skipped"))
        one.end(ENDED)
        settled(one)
        closed = replica.delivery.close(key)
        assert closed is not None
        assert closed.state == "ended"
        wait_until(lambda: ground.restored()[key].state == "ended")
    ground.assert_exactly_once(key, 599)
    assert ground.told() == ["resumed", "ended"]
