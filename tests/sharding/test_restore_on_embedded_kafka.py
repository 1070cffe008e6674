"""A shard is restored on the embedded Kafka as on any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
from confluent_kafka import Producer

from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointRecord
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.claim import Claim
from bridge.core.stream.overlap import OverlapWindow
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.errors import Unreachable
from bridge.kafka.reader import KafkaMessage, Partition, PartitionReader
from bridge.sharding.restore import ShardReader
from bridge.sharding.restore_progress import RestoredShard
from tests.support.waiting import TIMEOUT

CLAIM = Claim("host:1", "n", 4, "f00", 0)


class Scene:
    """A reader on an embedded Kafka, and what it reports."""

    def __init__(self, kafka: EmbeddedKafka, timeout: float = 30.0) -> None:
        config = {"bootstrap.servers": kafka.bootstrap_servers}
        self.restored, self.foreign = SimpleQueue[RestoredShard](), SimpleQueue[CheckpointRecord]()
        self.heartbeats = SimpleQueue[None]()
        self.producer = Producer(config | {"log_level": 0})
        self.reader = ShardReader(
            config,
            "checkpoints",
            4,
            lambda _shard, record: self.foreign.put(record),
            lambda: self.heartbeats.put(None),
            timeout=timeout,
        )

    def restore(self, shard: int, done: Callable[[RestoredShard], None] | None = None) -> None:
        self.reader.restore(shard, CLAIM, done or self.restored.put)

    def write(self, value: bytes, shard: int) -> None:
        self.producer.produce("checkpoints", value, b"local/a", shard)
        assert self.producer.flush(TIMEOUT) == 0


@contextmanager
def running(reader: ShardReader) -> Iterator[None]:
    reader.start()
    yield
    reader.stop()
    assert reader.join(monotonic() + TIMEOUT)
    assert reader.bug is None


def test_the_demo_restores_its_shards() -> None:
    """Claimed, read to the claim, and watched; the thread sends heartbeats, and ends when it is asked to."""
    with EmbeddedKafka() as kafka:
        scene = Scene(kafka)
        scene.write(b"x", 2)
        with running(scene.reader):
            for shard in (2, 3):
                scene.restore(shard)
            found = sorted((scene.restored.get(timeout=TIMEOUT) for _ in range(2)), key=lambda each: each.shard)
            assert [(each.shard, each.token, len(each.log.invalid)) for each in found] == [(2, 1, 1), (3, 0, 0)]
            scene.write(b"y", 3)
            assert scene.foreign.get(timeout=TIMEOUT).value == b"y"
    assert not scene.heartbeats.empty()


def test_a_client_that_fails_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that are being restored are read from their beginning, restored ones from behind their claim."""
    working, fails = PartitionReader.poll, threading.Event()

    def poll(reader: PartitionReader, limit: int, timeout: float, *, fill: bool = False) -> list[KafkaMessage]:
        if fails.is_set():
            fails.clear()
            raise Unreachable("a fatal error")
        return working(reader, limit, timeout, fill=fill)

    monkeypatch.setattr(PartitionReader, "poll", poll)
    with EmbeddedKafka() as kafka:
        scene = Scene(kafka)
        with running(scene.reader):
            scene.restore(1)
            assert scene.restored.get(timeout=TIMEOUT).token == 0
            fails.set()
            scene.restore(2)
            assert scene.restored.get(timeout=TIMEOUT).token == 0
            assert not fails.is_set()
            scene.write(b"x", 1)
            assert scene.foreign.get(timeout=TIMEOUT)[:2] == (1, 1)
    assert scene.foreign.empty()


def test_a_client_that_reads_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka has acknowledged the claim, and the client does not even learn that there is a record."""
    working, clients = PartitionReader.assign, list[PartitionReader]()

    def assign(reader: PartitionReader, starts: Mapping[Partition, int]) -> None:
        clients.append(reader)
        if reader is not clients[0]:
            working(reader, starts)

    monkeypatch.setattr(PartitionReader, "assign", assign)
    with EmbeddedKafka() as kafka:
        scene = Scene(kafka, timeout=1.0)
        with running(scene.reader):
            scene.restore(1)
            assert scene.restored.get(timeout=TIMEOUT).shard == 1
    assert len(set(clients)) > 1


def test_a_bug_ends_the_thread_and_is_kept() -> None:
    """Its owner raises it: a reader that does not read must not seem alive."""

    def broken(_restored: RestoredShard) -> None:
        raise ValueError("a bug")

    with EmbeddedKafka() as kafka:
        scene = Scene(kafka)
        scene.reader.start()
        scene.restore(1, broken)
        assert scene.reader.join(monotonic() + TIMEOUT)
    assert str(scene.reader.bug) == "a bug"


def test_a_late_checkpoint_of_an_own_former_producer_is_reported() -> None:
    """Behind a newer one, before or after the shard was read again: compaction would keep it."""
    key, window = SessionKey("local", "a"), OverlapWindow.starting("")
    with EmbeddedKafka() as kafka:
        scene = Scene(kafka)

        def write(epoch: int, sequence: int, token: int) -> None:
            position = Position(epoch, sequence, "")
            scene.write(encode(Checkpoint(key, position, "active", 0, "", window, token)), 1)

        with running(scene.reader):
            scene.restore(1)
            token = scene.restored.get(timeout=TIMEOUT).token
            write(5, 100, token)
            write(6, 0, token)
            write(5, 101, token)
            late = scene.foreign.get(timeout=TIMEOUT)
            assert (late.offset, late.is_own) == (token + 3, True)
            write(6, 0, token)
            scene.restore(1)
            scene.restored.get(timeout=TIMEOUT)
            write(5, 102, token)
            assert scene.foreign.get(timeout=TIMEOUT).is_own
    assert scene.foreign.empty()
