"""At-least-once delivery in this process on a real Kafka, whose topics a test can make refuse records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.encoder import Encoder
from bridge.core.records.rules import Format
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.lease import Lease
from bridge.delivery.producers import TopicIds
from bridge.delivery.protocol import Limits
from bridge.delivery.publisher import SessionPublisher
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from tests.fakes.membership import SoleOwner
from tests.support.delivery_topics import QUICK, SHARDS, DeliveryTopics, at_of
from tests.support.rule import Follower, follow
from tests.support.topics import Read, alter
from tests.support.waiting import TIMEOUT, wait_until

SESSIONS = [SessionKey("local", f"s{number}") for number in range(3)]
LIMIT = 12_000
"""Of the lowered topic: about fifty small events, so that Kafka refuses whole batches."""
LARGE = 20_000


class Topics(DeliveryTopics):
    """Topics of one namespace, and at-least-once delivery to them."""

    def __init__(self, bootstrap: str, namespace: str, form: Format = "structured") -> None:
        super().__init__(bootstrap, namespace, form=form, partitions=2)
        self.made: list[Role] = []

    def _make(self, role: Role) -> IdempotentProducer:
        self.made.append(role)
        config = {"bootstrap.servers": self.bootstrap, **QUICK}
        return IdempotentProducer(ProducerSettings(config, self.sizes.batch_size, self.sizes.largest), role)

    @contextmanager
    def delivering(self) -> Iterator[AtLeastOnce]:
        """Run delivery; at the end, wait until all submitted events are delivered."""
        delivery = AtLeastOnce(
            self._make,
            OwnTopics(self.checkpoints, SHARDS, self.lifecycle),
            self.sizes,
            TopicIds({}, dict),
            Limits(checkpoint_interval=0.2, max_in_flight=10_000, max_buffer_bytes=10**8),
            lambda: None,
        )
        delivery.start()
        try:
            yield delivery
            delivery.stop()
            assert delivery.join(monotonic() + TIMEOUT), "not everything was delivered"
        finally:
            delivery.abort()
            delivery.join(monotonic() + TIMEOUT)

    def open(self, delivery: AtLeastOnce, key: SessionKey) -> SessionPublisher:
        """Open a new session and wait until its first checkpoint is acknowledged."""
        one = delivery.open(key, Encoder(self.rules, key), "", None, Lease(0, SoleOwner()))
        one.begin_epoch(OverlapWindow.starting("0"))
        wait_until(lambda: one.acknowledged is not None, 30, "a first checkpoint")
        return one

    def read(self, *topics: str) -> list[Read]:
        """Return the committed records without the probes of ``lower``."""
        return [record for record in super().read(*topics) if record.key != b"probe"]

    def follow(self) -> Follower:
        """Return a consumer of all topics that follows the rule."""
        return follow(self.read(self.events, self.tools, self.dead_letters))

    def lower(self, topic: str, limit: int) -> None:
        """Lower the topic's ``max.message.bytes``; return when the broker applies it."""
        alter(self.bootstrap, topic, max_message_bytes=limit)
        wait_until(lambda: self._refuses(topic, limit + 1), 20, f"{topic} to refuse {limit} bytes")

    def _refuses(self, topic: str, size: int) -> bool:
        refused: list[bool] = []  # not the errors: KafkaError cannot be compared with None
        probe = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0, **QUICK})
        probe.produce(topic, b"x" * size, key=b"probe", on_delivery=lambda error, _: refused.append(error is not None))
        probe.flush(TIMEOUT)
        return refused == [True]


def assert_complete(follower: Follower, key: SessionKey, wanted: Iterable[int]) -> None:
    """Every event was accepted, each number has one meaning, and per topic an epoch is in the order of the stream."""
    accepted = follower.by_key()[str(key)]
    assert {at_of(one.data) for one in accepted} == set(wanted)
    meanings: dict[tuple[int, int], int] = {}
    for one in [*accepted, *(each for each in follower.repeats if each.key == str(key))]:
        assert meanings.setdefault(one.number, at_of(one.data)) == at_of(one.data)
    for place in {(one.record.topic, one.epoch) for one in accepted}:
        order = [at_of(one.data) for one in accepted if (one.record.topic, one.epoch) == place]
        assert order == sorted(set(order))
