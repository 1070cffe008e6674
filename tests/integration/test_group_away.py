"""Kafka is away for longer than the session time-out: the streams are not touched because of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.scene import (
    accepted,
    session,
    settings,
    started,
    wait_acknowledged,
    wait_logged,
)
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import wait_until


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_kafka_away_for_longer_than_the_session_timeout_costs_no_stream(
    pausable_broker: Broker, namespace: str, tmp_path: Path, guarantee: str
) -> None:
    """Events wait in memory meanwhile: the server may not have them any more when they could be requested again."""
    broker, feed = pausable_broker, Feed(5)
    more = {"kafka.group_session_timeout": "6s", "delivery.guarantee": guarantee}
    with scripted_mix() as mix:
        mix.serve({"a": feed})
        with started(tmp_path, settings(broker.bootstrap, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, "a", 5)
            asked = len(mix.asked)
            broker.pause()
            wait_logged(bridge, "shard lost: readers continue", deadline=40.0)
            feed.add(20)
            wait_until(lambda: session(bridge, "a")["last_event_id"] == "25", 10, "the events of the outage, read")
            broker.resume()
            wait_logged(bridge, "no other process owned it", deadline=60.0)
            wait_acknowledged(bridge, "a", 25)
            assert len(mix.asked) == asked
            assert bridge.terminate() == 0
    got = accepted(broker.bootstrap, namespace, "a")
    assert [one.sequence for one in got] == list(range(1, 26))
    assert len({one.epoch for one in got}) == 1
