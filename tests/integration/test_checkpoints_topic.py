"""The checkpoints topic: the records that the bridge writes, and how it starts from existing records."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
from confluent_kafka import Producer

from bridge.clock import monotonic
from tests.support.checkpoint_values import COMPACTED, encoded
from tests.support.process import Bridge
from tests.support.rule import understand
from tests.support.scene import (
    accepted,
    bridged,
    checkpoints,
    events,
    last_checkpoint,
    settings,
    status,
    texts,
    wait_acknowledged,
    wait_checkpoint,
    wait_logged,
    write,
)
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import create_topic, delete_topics
from tests.support.waiting import TIMEOUT, wait_until


def test_checkpoints_are_as_described(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Every key and type; the first one before the first record; then only what Kafka has acknowledged."""
    with scripted_mix({"a": Feed(5)}) as mix, bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
        wait_acknowledged(bridge, "a", 5)
        wait_checkpoint(kafka, namespace, "a", lambda one: one["sequence"] == 5)
    (first, *others) = checkpoints(kafka, namespace)["local/a"]
    assert (first["last_event_id"], first["sequence"]) == ("0", 0)
    last: dict[str, Any] = others[-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", last["updated_at"])
    assert {name: last[name] for name in ("version", "server", "session", "last_event_id", "sequence", "state")} == {
        "version": 1,
        "server": "local",
        "session": "a",
        "last_event_id": "5",
        "sequence": 5,
        "state": "active",
    }
    assert isinstance(last["epoch"], int)
    assert {one.epoch for one in accepted(kafka, namespace, "a")} == {last["epoch"]}
    (before, *_) = [each for each in events(kafka, namespace, "checkpoints") if each.key == b"local/a"]
    assert before.timestamp <= min(each.timestamp for each in events(kafka, namespace)) + 1000
    assert before.headers == ()


def test_an_idle_session_writes_no_checkpoints(kafka: str, namespace: str, tmp_path: Path) -> None:
    """One at the beginning and one after the event; none at a graceful shutdown."""
    with scripted_mix({"a": Feed(1)}) as mix, bridged(tmp_path, settings(kafka, namespace, mix.url)):
        wait_checkpoint(kafka, namespace, "a", lambda one: one["sequence"] == 1)
        polls = mix.lists
        wait_until(lambda: mix.lists > polls + 4, 10, "time passing")
    assert len(checkpoints(kafka, namespace)["local/a"]) == 2


BAD = {
    "garbage": b"\x00\xffnot json",
    "other json": b'{"offset": 12}',
    "a number": b"7",
    "empty": b"",
    "newer": encoded("bad", version=2),
    "key mismatch": encoded("another"),
    "negative": encoded("bad", sequence=-1),
    "no time": encoded("bad", updated_at="yesterday"),
    "strange state": encoded("bad", state="paused"),
}


def test_an_invalid_checkpoint_stops_the_start_until_it_is_repaired(kafka: str, namespace: str, tmp_path: Path) -> None:
    """78 with partition, offset and a command for each. Nothing is bridged. A tombstone repairs it too."""
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, 1, COMPACTED)
    write(kafka, topic, b"local/good", encoded("good"))
    offsets = {name: write(kafka, topic, f"local/bad-{name}".encode(), value) for name, value in BAD.items()}
    with scripted_mix({"good": Feed(3)}) as mix:
        bridge = Bridge(tmp_path / "bridge", settings(kafka, namespace, mix.url, {"topics.shards": 1}))
        bridge.start(wait=False)
        assert bridge.wait() == 78
        said = [line for line in bridge.log_text().splitlines() if line.startswith("topics.checkpoints")]
        assert len(said) == len(BAD)
        for name, offset in offsets.items():
            (line,) = [each for each in said if f"{topic} partition 0 offset {offset} " in each]
            assert line.endswith(f": mix-bridge checkpoints reset {quote(f'local/bad-{name}')}")
        assert "Traceback" not in bridge.log_text()
        assert mix.asked == []
        for name in BAD:
            write(kafka, topic, f"local/bad-{name}".encode(), None)
        with bridge.start():
            wait_until(lambda: texts(kafka, namespace, "good") == ["3"], 20, "event 3", 0.1)
            assert bridge.terminate() == 0
        assert mix.ids_of("good") == ["2"]
    assert texts(kafka, namespace, "good") == ["3"]


@pytest.mark.parametrize("key", [b"no slash", b"", "local/ü".encode(), b"\xff\xfe/x"])
def test_a_record_with_a_key_that_is_not_a_session_stops_the_start(
    kafka: str, namespace: str, tmp_path: Path, key: bytes
) -> None:
    """A tombstone with the same key repairs it."""
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, 1, COMPACTED)
    write(kafka, topic, key, encoded("a"))
    bridge = Bridge(tmp_path / "bridge", settings(kafka, namespace, "http://127.0.0.1:9", {"topics.shards": 1}))
    bridge.start(wait=False)
    assert bridge.wait() == 78
    assert "partition 0 offset 0" in bridge.log_text()
    write(kafka, topic, key, None)
    with bridge.start():
        wait_logged(bridge, "started")
        assert bridge.terminate() == 0


def test_a_tombstone_forgets_the_session(kafka: str, namespace: str, tmp_path: Path) -> None:
    """It starts as a new one, at ``start_after_id``, in a new epoch."""
    with scripted_mix({"a": Feed(2)}) as mix:
        chosen = settings(kafka, namespace, mix.url, {"topics.shards": 1})
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 2)
        write(kafka, f"{namespace}.checkpoints", b"local/a", None)
        with bridged(tmp_path, chosen) as bridge:
            wait_acknowledged(bridge, "a", 2)
        assert mix.ids_of("a") == ["0", "0"]
    assert [one.sequence for one in map(understand, events(kafka, namespace))] == [1, 2, 1, 2]
    assert len({one.epoch for one in map(understand, events(kafka, namespace))}) == 2


def test_thousands_of_checkpoints_are_restored_quickly(kafka: str, namespace: str, tmp_path: Path) -> None:
    """5,000 sessions in 20,000 records, most of them ended, one of a server that is not in the settings."""
    topic = f"{namespace}.checkpoints"
    create_topic(kafka, topic, 4, COMPACTED)
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random", "log_level": 2})
    for sequence in range(1, 5):
        for number in range(5000):
            name = f"s{number:04}"
            state = "active" if number % 500 == 0 else "ended"
            value = encoded(name, sequence=sequence, last_event_id=str(sequence), state=state)
            producer.produce(topic, value, f"local/{name}".encode())
        producer.flush(TIMEOUT)
    producer.produce(topic, encoded("x", server="forgotten"), b"forgotten/x")
    assert producer.flush(TIMEOUT) == 0
    with scripted_mix() as mix:
        mix.streams = {f"s{number:04}": Feed(5) for number in range(0, 5000, 500)}
        begun = monotonic()
        with bridged(tmp_path, settings(kafka, namespace, mix.url, {"topics.shards": 4})) as bridge:
            line = wait_logged(bridge, "started")
            took = monotonic() - begun
            assert line["checkpoints"] == 5001
            wait_until(lambda: len(events(kafka, namespace)) == len(mix.streams), 20, "event 5 of each", 0.1)
            assert wait_logged(bridge, "left alone", "forgotten")["level"] == "warning"
            assert len(status(bridge)["sessions"]) == 10
        assert {each.last_event_id for each in mix.asked} == {"4"}
    print(f"started within {took:.2f} s")
    assert took < TIMEOUT
    assert last_checkpoint(kafka, namespace, "s0500")["last_event_id"] == "5"


def test_a_deleted_checkpoints_topic_causes_a_warning_and_hides_nothing(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Every session starts again, in an epoch above all that consumers have seen."""
    with scripted_mix({"a": Feed(3)}) as mix:
        chosen = settings(kafka, namespace, mix.url)
        with bridged(tmp_path, chosen) as bridge:
            assert "positions are lost" not in bridge.log_text()
            wait_acknowledged(bridge, "a", 3)
        delete_topics(kafka, f"{namespace}.checkpoints")
        with bridged(tmp_path, chosen) as bridge:
            assert wait_logged(bridge, "positions are lost")["level"] == "warning"
            wait_acknowledged(bridge, "a", 3)
    got = accepted(kafka, namespace, "a")
    assert [one.sequence for one in got] == [1, 2, 3, 1, 2, 3]
    assert got[3].epoch > got[2].epoch
