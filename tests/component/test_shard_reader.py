"""A shard is taken on the embedded Kafka as on any other."""

from __future__ import annotations

from queue import SimpleQueue

from confluent_kafka import Producer

from bridge.clock import monotonic
from bridge.core.checkpoint_log import Word
from bridge.core.claim import Claim
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.kafka.shard_reader import ShardReader
from bridge.kafka.shard_state import Taken


def test_the_demo_takes_its_shards() -> None:
    """Claimed, read to the claim, and listened to; the thread beats, and ends when it is asked to."""
    taken, strangers, beats = SimpleQueue[Taken](), SimpleQueue[Word](), SimpleQueue[bool]()
    with EmbeddedKafka() as kafka:
        config = {"bootstrap.servers": kafka.bootstrap_servers}
        producer = Producer(config)
        producer.produce("checkpoints", b"x", b"local/a", 2)
        assert producer.flush(10) == 0
        reader = ShardReader(
            config, "checkpoints", 4, lambda _shard, word: strangers.put(word), lambda: beats.put(item=True)
        )
        reader.start()
        for shard in (2, 3):
            reader.take(shard, Claim("host:1", "n", 4, "f00", 0), taken.put)
        found = sorted((taken.get(timeout=10) for _ in range(2)), key=lambda each: each.shard)
        assert [(each.shard, each.term, len(each.log.flaws)) for each in found] == [(2, 1, 1), (3, 0, 0)]
        producer.produce("checkpoints", b"y", b"local/a", 3)
        assert strangers.get(timeout=10).value == b"y"
        reader.stop()
        assert reader.join(monotonic() + 10)
        assert reader.bug is None
    assert not beats.empty()
