"""Kafka is paused while the servers push: memory stays bounded, no stream is disconnected, and no event is lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bridge.clock import monotonic
from tests.support.broker import Broker
from tests.support.lifecycle import lifecycle
from tests.support.mix import MixServer
from tests.support.process import Bridge
from tests.support.rule import follow
from tests.support.scene import (
    accepted,
    bridged,
    events,
    session,
    settings,
    started,
    status,
    texts,
    wait_acknowledged,
    wait_logged,
)
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.usage import memory
from tests.support.waiting import wait_until

BUFFER = 16 * 1024 * 1024
SESSIONS = 4


def buffered(bridge: Bridge) -> int:
    """Bytes that wait for an acknowledgement, as the bridge counts them."""
    held: int = status(bridge)["bridge"]["buffer_bytes"]
    return held


def test_memory_is_bounded_and_nothing_is_lost(pausable_broker: Broker, namespace: str, tmp_path: Path) -> None:
    """Streams that push as fast as they are read, against a broker that is paused."""
    count = 3_000  # of 48 MB in all: more than the buffer and all that is between holds
    options = ("--load", "--sessions", SESSIONS, "--event-bytes", 4000, "--per-write", 12, "--events", count)
    more = {"delivery.max_buffer_bytes": BUFFER, "delivery.max_in_flight": 1_000_000, "topics.partitions": 4}
    broker = pausable_broker
    with MixServer(tmp_path / "mix", *options) as mix:
        with bridged(tmp_path, settings(broker.bootstrap, namespace, mix.url, more)) as bridge:
            wait_until(
                lambda: sum(one["acknowledged_sequence"] for one in status(bridge)["sessions"]) > 100, 20, "flow"
            )
            before = memory(bridge.pid)
            broker.pause()
            wait_until(lambda: buffered(bridge) >= BUFFER, 20, "a full buffer", 0.05)
            read = [one["sequence"] for one in status(bridge)["sessions"]]
            looks = [memory(bridge.pid)]
            wait_until(lambda: looks.append(memory(bridge.pid)) or len(looks) > 15, 10, "a second and a half", 0.1)  # type: ignore[func-returns-value]
            assert [one["sequence"] for one in status(bridge)["sessions"]] == read, "a reader continued"
            assert buffered(bridge) < BUFFER + SESSIONS * 300 * 1024
            grown = max(looks) - before
            print(f"{grown / 2**20:.1f} MiB more than before, for a buffer of {BUFFER / 2**20:.0f} MiB")
            assert grown < 3 * BUFFER
            assert bridge.get("/livez").status == 200
            broker.resume()
            wait_until(
                lambda: all(one["acknowledged_sequence"] == count for one in status(bridge)["sessions"]),
                60,
                f"all events, see {bridge.log}",
                0.1,
            )
        follower = follow(events(broker.bootstrap, namespace))
    assert not follower.repeats
    for records in follower.by_key().values():
        assert [one.sequence for one in records] == list(range(1, count + 1))
    assert len(follower.by_key()) == SESSIONS


def test_one_session_cannot_hold_more_than_its_window(pausable_broker: Broker, namespace: str, tmp_path: Path) -> None:
    """``max_in_flight``: the reader of the busy session waits, the quiet session is still read."""
    broker = pausable_broker
    with MixServer(tmp_path / "mix", "--sessions", 0) as mix:
        for name in ("busy", "quiet"):
            mix.post("/control/sessions", {"id": name, "rate": 0})
        more = {"delivery.max_in_flight": 100}  # busy also hears that quiet was created: one event more
        with bridged(tmp_path, settings(broker.bootstrap, namespace, mix.url, more)) as bridge:
            wait_until(lambda: [one["state"] for one in status(bridge)["sessions"]] == ["streaming"] * 2, 20, "streams")
            broker.pause()
            mix.post("/control/sessions/busy/burst", {"count": 1000})
            wait_until(lambda: session(bridge, "busy")["in_flight"] >= 100, 10, "a full window")
            mix.post("/control/sessions/quiet/burst", {"count": 50})
            wait_until(lambda: session(bridge, "quiet")["in_flight"] >= 50, 10, "the quiet one")
            assert session(bridge, "busy")["in_flight"] <= 102  # and marks, which take no room
            broker.resume()
            wait_until(lambda: session(bridge, "busy")["acknowledged_sequence"] >= 1000, 20, "everything")
            wait_until(lambda: session(bridge, "quiet")["acknowledged_sequence"] >= 50, 20, "everything")


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_kafka_away_for_longer_than_the_session_timeout_costs_no_stream(
    pausable_broker: Broker, namespace: str, tmp_path: Path, guarantee: str
) -> None:
    """Events wait in memory meanwhile: the server may not have them any more when they could be requested again."""
    broker, feed = pausable_broker, Feed(5)
    more = {"kafka.group_session_timeout": "6s", "delivery.guarantee": guarantee}
    with (
        scripted_mix({"a": feed}) as mix,
        bridged(tmp_path, settings(broker.bootstrap, namespace, mix.url, more)) as bridge,
    ):
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
    got = accepted(broker.bootstrap, namespace, "a")
    assert [one.sequence for one in got] == list(range(1, 26))
    assert len({one.epoch for one in got}) == 1


def test_a_reader_that_waited_long_for_memory_reconnects(
    pausable_broker: Broker, namespace: str, tmp_path: Path
) -> None:
    """Kafka is paused for six seconds: the socket may lack events by then, a replay does not."""
    more = {"delivery.max_in_flight": 20}
    broker, feed = pausable_broker, Feed(10)
    with scripted_mix({"a": feed}) as mix:
        with bridged(tmp_path, settings(broker.bootstrap, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, "a", 10)
            broker.pause()
            paused_until = monotonic() + 6.5
            feed.add(200)
            wait_until(lambda: monotonic() > paused_until, 20, "the pause", 0.1)
            feed.add(50)
            broker.resume()
            wait_acknowledged(bridge, "a", 260)
            wait_logged(bridge, "reconnecting at once")
        assert len(mix.asked) == 2
        assert texts(broker.bootstrap, namespace, "a") == [str(number) for number in range(1, 261)]
        records = events(broker.bootstrap, namespace)
        assert len(records) == 260, "the replay was published again"
        announced = lifecycle(broker.bootstrap, namespace, "a")
    assert [(one.kind, one.reason) for one in announced] == [("attached", "new_session"), ("resumed", "replay_proved")]


def stop_with_events_in_memory(broker: Broker, bridge: Bridge, feed: Feed) -> None:
    """Pause Kafka after five events, let the bridge read five more, and ask it to stop."""
    wait_acknowledged(bridge, "a", 5)
    broker.pause()
    feed.add(5)
    wait_until(lambda: session(bridge, "a")["sequence"] == 10, 10, "ten read")
    bridge.send(signal.SIGTERM)


def test_a_shutdown_that_cannot_deliver_is_75_and_loses_nothing(
    pausable_broker: Broker, namespace: str, tmp_path: Path
) -> None:
    """75 after ``drain_timeout``, and the reason; after the next start nothing is missing."""
    broker, feed = pausable_broker, Feed(5)
    with scripted_mix({"a": feed}) as mix:
        chosen = settings(broker.bootstrap, namespace, mix.url, {"delivery.drain_timeout": "1500ms"})
        with bridged(tmp_path, chosen) as bridge:
            stop_with_events_in_memory(broker, bridge, feed)
            asked_at = monotonic()
            assert bridge.wait() == 75
            assert monotonic() - asked_at > 1.4
            assert "delivery.drain_timeout" in bridge.log_text().splitlines()[-1]
            broker.resume()
            bridge.start("--set", "delivery.drain_timeout=30s")  # this shutdown has enough time
            wait_acknowledged(bridge, "a", 10)
        assert texts(broker.bootstrap, namespace, "a") == [str(number) for number in range(1, 11)]


def test_a_second_signal_ends_the_process_at_once_with_75(
    pausable_broker: Broker, namespace: str, tmp_path: Path
) -> None:
    """Long before ``drain_timeout``."""
    feed, more = Feed(5), {"delivery.drain_timeout": "1h"}
    with (
        scripted_mix({"a": feed}) as mix,
        started(tmp_path, settings(pausable_broker.bootstrap, namespace, mix.url, more)) as bridge,
    ):
        stop_with_events_in_memory(pausable_broker, bridge, feed)
        wait_logged(bridge, "stop requested")
        bridge.send(signal.SIGTERM)
        assert bridge.wait() == 75
