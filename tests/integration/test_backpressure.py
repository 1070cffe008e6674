"""Kafka is paused while the servers push: readers stop reading, memory stays bounded, and no event is lost."""

from __future__ import annotations

from pathlib import Path

from tests.support.broker import Broker
from tests.support.mix import MixServer
from tests.support.process import Bridge
from tests.support.rule import follow
from tests.support.scene import events, session, settings, started, status
from tests.support.waiting import wait_until

BUFFER = 16 * 1024 * 1024
SESSIONS = 4


def rss(bridge: Bridge) -> int:
    """Bytes of memory the bridge has."""
    line = next(each for each in Path(f"/proc/{bridge.pid}/status").read_text().splitlines() if each[:6] == "VmRSS:")
    return int(line.split()[1]) * 1024


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
        with started(tmp_path, settings(broker.bootstrap, namespace, mix.url, more)) as bridge:
            wait_until(
                lambda: sum(one["acknowledged_sequence"] for one in status(bridge)["sessions"]) > 100, 20, "flow"
            )
            before = rss(bridge)
            broker.pause()
            wait_until(lambda: buffered(bridge) >= BUFFER, 20, "a full buffer", 0.05)
            read = [one["sequence"] for one in status(bridge)["sessions"]]
            looks = [rss(bridge)]
            wait_until(lambda: looks.append(rss(bridge)) or len(looks) > 15, 10, "a second and a half", 0.1)  # type: ignore[func-returns-value]
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
            assert bridge.terminate() == 0
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
        with started(tmp_path, settings(broker.bootstrap, namespace, mix.url, more)) as bridge:
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
            assert bridge.terminate() == 0
