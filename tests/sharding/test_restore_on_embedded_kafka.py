"""A shard is taken on the embedded Kafka as on any other."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointRecord
from bridge.core.records.claim import Claim
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.sharding.read_state import Taken
from bridge.sharding.restore import ShardReader


def test_the_demo_takes_its_shards() -> None:
    """Claimed, read to the claim, and listened to; the thread beats, and ends when it is asked to."""
    taken, strangers, heartbeats = SimpleQueue[Taken](), SimpleQueue[CheckpointRecord](), SimpleQueue[bool]()
    with EmbeddedKafka() as kafka:
        config = {"bootstrap.servers": kafka.bootstrap_servers}
        producer = Producer(config | {"log_level": 0})
        producer.produce("checkpoints", b"x", b"local/a", 2)
        assert producer.flush(10) == 0
        reader = ShardReader(
            config, "checkpoints", 4, lambda _shard, word: strangers.put(word), lambda: heartbeats.put(item=True)
        )
        reader.start()
        for shard in (2, 3):
            reader.take(shard, Claim("host:1", "n", 4, "f00", 0), taken.put)
        found = sorted((taken.get(timeout=10) for _ in range(2)), key=lambda each: each.shard)
        assert [(each.shard, each.term, len(each.log.invalid)) for each in found] == [(2, 1, 1), (3, 0, 0)]
        producer.produce("checkpoints", b"y", b"local/a", 3)
        assert strangers.get(timeout=10).value == b"y"
        reader.stop()
        assert reader.join(monotonic() + 10)
        assert reader.bug is None
    assert not heartbeats.empty()


def test_a_client_that_fails_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was being taken is read from its beginning, what was taken from behind its claim."""
    taken, strangers = SimpleQueue[Taken](), SimpleQueue[CheckpointRecord]()
    with EmbeddedKafka() as kafka:
        config = {"bootstrap.servers": kafka.bootstrap_servers}
        reader = ShardReader(config, "checkpoints", 4, lambda _shard, word: strangers.put(word), lambda: None)
        working, fails = reader._next, threading.Event()

        def failing() -> list[Message]:
            if fails.is_set():
                fails.clear()
                raise KafkaException(KafkaError(KafkaError._FATAL))
            return working()

        monkeypatch.setattr(reader, "_next", failing)
        reader.start()
        reader.take(1, Claim("host:1", "n", 4, "f00", 0), taken.put)
        assert taken.get(timeout=10).term == 0
        fails.set()
        reader.take(2, Claim("host:1", "n", 4, "f00", 0), taken.put)
        assert taken.get(timeout=10).term == 0
        assert not fails.is_set()
        producer = Producer(config | {"log_level": 0})
        producer.produce("checkpoints", b"x", b"local/a", 1)
        assert producer.flush(10) == 0
        assert strangers.get(timeout=10)[:2] == (1, 1)
        reader.stop()
        assert reader.join(monotonic() + 10)
        assert reader.bug is None
    assert strangers.empty()


def test_a_bug_ends_the_thread_and_is_kept() -> None:
    """Its owner raises it: a reader that reads no more must not seem alive."""

    def broken(_taken: Taken) -> None:
        raise ValueError("a bug")

    with EmbeddedKafka() as kafka:
        reader = ShardReader(
            {"bootstrap.servers": kafka.bootstrap_servers}, "checkpoints", 4, lambda _shard, _word: None, lambda: None
        )
        reader.start()
        reader.take(1, Claim("host:1", "n", 4, "f00", 0), broken)
        assert reader.join(monotonic() + 20)
    assert str(reader.bug) == "a bug"
