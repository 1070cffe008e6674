"""At-least-once delivery on a real Kafka that refuses records, and whose data loss ends the producer."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from bridge.admin.checkpoints.topic import read_log
from bridge.clock import monotonic, unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.rules import Encoder, Format, Route, Rules
from bridge.core.records.sizes import SizeLimits
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.at_least_once import AtLeastOnce, Limits
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.lease import Lease
from bridge.delivery.publisher import SessionPublisher
from bridge.delivery.topic_ids import TopicIds
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from tests.fakes.membership import SoleOwner
from tests.support.broker import Broker, quiet_admin
from tests.support.rule import Follower, follow
from tests.support.topics import Read, create_topic, delete_topics, read_topic
from tests.support.waiting import TIMEOUT, wait_until

SESSIONS = [SessionKey("local", f"s{number}") for number in range(3)]
LIMIT = 12_000
"""Of the lowered topic: some fifty small events, so that whole batches of innocent ones are refused as well."""
LARGE = 20_000
CHECKPOINT_PARTITIONS = 2


class Topics:
    """Topics of one namespace, and delivery to them."""

    def __init__(self, bootstrap: str, namespace: str, form: Format = "structured") -> None:
        self.bootstrap = bootstrap
        self.events, self.tools = f"{namespace}.events", f"{namespace}.tools"
        self.dead_letters, self.checkpoints = f"{namespace}.dead-letters", f"{namespace}.checkpoints"
        self.lifecycle = f"{namespace}.lifecycle"
        create_topic(bootstrap, self.events)
        create_topic(bootstrap, self.tools, partitions=2)
        create_topic(bootstrap, self.dead_letters)
        create_topic(bootstrap, self.lifecycle)
        create_topic(bootstrap, self.checkpoints, CHECKPOINT_PARTITIONS, {"cleanup.policy": "compact"})
        self.made: list[Role] = []
        self.sizes = SizeLimits()
        self._rules = Rules(
            format=form,
            type_prefix="mix.",
            skip=frozenset(),
            unknown="publish",
            invalid="dead_letter",
            max_bytes=900_000,
            events_topic=self.events,
            dead_letters_topic=self.dead_letters,
            routes=(Route("tool_*", self.tools),),
        )

    def _make(self, role: Role) -> IdempotentProducer:
        self.made.append(role)
        quick = {"reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50, "log_level": 0}
        return IdempotentProducer(
            ProducerSettings({"bootstrap.servers": self.bootstrap, **quick}, self.sizes.batch_size, self.sizes.largest),
            role,
        )

    @contextmanager
    def delivering(self) -> Iterator[AtLeastOnce]:
        """Delivery that runs; all that was submitted is delivered at the end."""
        delivery = AtLeastOnce(
            self._make,
            OwnTopics(self.checkpoints, CHECKPOINT_PARTITIONS, self.lifecycle),
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
        """A new session, its first position acknowledged."""
        one = delivery.open(key, Encoder(self._rules, key), "", None, Lease(0, SoleOwner()))
        one.begin_epoch(OverlapWindow.starting("0"))
        wait_until(lambda: one.acknowledged is not None, 30, "a first checkpoint")
        return one

    def restored(self) -> Mapping[SessionKey, Checkpoint]:
        """What the next start would know."""
        config = {"bootstrap.servers": self.bootstrap, "log_level": 0}
        return read_log(config, self.checkpoints, CHECKPOINT_PARTITIONS).checkpoints

    def read(self, topic: str) -> list[Read]:
        """What consumers of the topic see."""
        return [record for record in read_topic(self.bootstrap, topic) if record.key != b"probe"]

    def follow(self) -> Follower:
        """A consumer of all topics that follows the rule."""
        return follow([*self.read(self.events), *self.read(self.tools), *self.read(self.dead_letters)])

    def lower(self, topic: str, limit: int) -> None:
        """Lower the topic's ``max.message.bytes``; returns when the broker goes by it."""
        entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin = quiet_admin(self.bootstrap)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(TIMEOUT)
        wait_until(lambda: self._refuses(topic, limit + 1), 20, f"{topic} to refuse {limit} bytes")

    def _refuses(self, topic: str, size: int) -> bool:
        refused: list[bool] = []  # not the errors: the client's cannot be compared with None
        probe = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0})
        probe.produce(topic, b"x" * size, key=b"probe", on_delivery=lambda error, _: refused.append(error is not None))
        probe.flush(TIMEOUT)
        return refused == [True]


def data(at: int, size: int = 0) -> str:
    return f'{{"at":{at},"pad":"{"x" * size}"}}'


def events(ats: Iterable[int], *, name: str = "agent", size: int = 100) -> list[Event]:
    now = unix_ms()  # a broker that starts forgets producers whose records are older than a day
    return [Event(name, data(at, size), str(at), str(at), now) for at in ats]


def at_of(text: bytes) -> int:
    return int(text.partition(b":")[2].partition(b",")[0])


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


@pytest.mark.parametrize("form", ["structured", "binary", "raw"])
def test_only_the_culprit_of_a_refused_batch_becomes_a_dead_letter(kafka: str, namespace: str, form: Format) -> None:
    """A topic's limit is lowered under the running bridge: batches of several sessions are refused for one record."""
    topics = Topics(kafka, namespace, form)
    with topics.delivering() as delivery:
        publishers = [topics.open(delivery, key) for key in SESSIONS]
        for one in publishers:
            one.submit(events(range(1, 51)))
        wait_until(lambda: all(one.acknowledged == one.position for one in publishers), 30, "the first events")
        epochs = {one.key: one.position.epoch for one in publishers}
        topics.lower(topics.events, LIMIT)
        for one in publishers[:2]:
            one.submit(events(range(51, 201)) + events([201], name="tool_call"))
        publishers[1].submit(events([202], size=LARGE) + events(range(203, 221)))
        publishers[2].submit(events([51], size=LARGE))
    follower = topics.follow()
    assert_complete(follower, SESSIONS[0], range(1, 202))
    assert_complete(follower, SESSIONS[1], range(1, 221))
    assert_complete(follower, SESSIONS[2], range(1, 52))
    letters = topics.read(topics.dead_letters)
    assert {(letter.key, letter.header("bridge.last_event_id")) for letter in letters} == {
        (b"local/s1", "202"),
        (b"local/s2", "51"),
    }
    assert {letter.header("bridge.reason") for letter in letters} == {"rejected"}
    assert all("MSG_SIZE_TOO_LARGE" in (letter.header("bridge.error") or "") for letter in letters)
    for one in publishers:
        assert topics.restored()[one.key].position == one.position
        assert one.position.epoch >= epochs[one.key]
        assert one.trouble is None


def test_what_its_topic_does_not_accept_is_never_sent_there(kafka: str, namespace: str) -> None:
    """The limits are known: a dead letter at once, whole, without a refused request or a new producer."""
    topics = Topics(kafka, namespace)
    topics.lower(topics.tools, LIMIT)
    topics.sizes.update({topics.tools: LIMIT})
    with topics.delivering() as delivery:
        one = topics.open(delivery, SESSIONS[0])
        for at in range(1, 201, 10):
            one.submit(events(range(at, at + 9)) + events([at + 9], name="tool_call", size=LARGE))
    letters = topics.read(topics.dead_letters)
    assert [at_of(letter.value or b"") for letter in letters] == list(range(10, 201, 10))
    assert {letter.header("bridge.reason") for letter in letters} == {"oversize"}
    assert all(len(letter.value or b"") > LARGE for letter in letters)
    assert_complete(topics.follow(), SESSIONS[0], range(1, 201))
    assert one.counters.rewinds == 0
    assert topics.made == [Role.EVENTS, Role.POSITIONS]


def test_a_dead_letter_fits_even_a_topic_smaller_than_its_marker(kafka: str, namespace: str) -> None:
    """Both topics are lowered: the letter is cut until Kafka takes it, and the next events follow."""
    topics = Topics(kafka, namespace)
    with topics.delivering() as delivery:
        one = topics.open(delivery, SESSIONS[0])
        topics.lower(topics.events, LIMIT)
        topics.lower(topics.dead_letters, LIMIT)
        one.submit(events([1], size=200_000) + events([2]))
    (letter,) = topics.read(topics.dead_letters)
    assert 0 < len(letter.value or b"") < LIMIT
    assert letter.header("bridge.bytes") == str(len(data(1, 200_000)))
    assert_complete(topics.follow(), SESSIONS[0], [1, 2])


def test_a_topic_that_comes_later_delays_and_loses_nothing(kafka: str, namespace: str) -> None:
    """A routed topic is deleted and created again: what belongs there waits, under its numbers or in a new epoch."""
    topics = Topics(kafka, namespace)
    with topics.delivering() as delivery:
        one = topics.open(delivery, SESSIONS[0])
        one.submit(events(range(1, 21), name="tool_call"))
        wait_until(lambda: one.acknowledged == one.position, 30, "the first events")
        delete_topics(kafka, topics.tools)
        for at in range(21, 121, 10):
            one.submit(events(range(at, at + 5), name="tool_call") + events(range(at + 5, at + 10)))
        create_topic(kafka, topics.tools, partitions=2)
    assert_complete(topics.follow(), SESSIONS[0], range(21, 121))
    assert topics.restored()[one.key].position == one.position


def test_the_end_of_a_producer_loses_nothing_that_was_in_memory(private_broker: Broker, namespace: str) -> None:
    """The broker loses acknowledged records, so the sequence breaks and the producer is finished: a new one continues.

    What the broker lost after it had acknowledged it is gone; everything later arrives, under the numbers it had.
    """
    topics = Topics(private_broker.bootstrap, namespace)
    partition = next(private_broker._data.rglob(f"{topics.events}-0"))
    saved = Path(f"{private_broker._data}.saved")
    with topics.delivering() as delivery:
        one = topics.open(delivery, SESSIONS[0])
        submit_and_wait(one, range(1, 101))
        private_broker.terminate()
        shutil.copytree(partition, saved)
        private_broker.start()
        submit_and_wait(one, range(101, 201))
        private_broker.kill()
        shutil.rmtree(partition)
        shutil.copytree(saved, partition)
        epoch = one.position.epoch
        one.submit(events(range(201, 301)))
        private_broker.start()
        wait_until(lambda: one.acknowledged == one.position, 60, "the rest from memory")
        submit_and_wait(one, range(301, 401))
    assert topics.made == [Role.EVENTS, Role.POSITIONS] * 2, "the producer was not finished"
    follower = topics.follow()
    assert_complete(follower, SESSIONS[0], [*range(1, 101), *range(201, 401)])
    assert {one.epoch for one in follower.accepted} == {epoch}
    assert topics.restored()[one.key].position == one.position
    assert one.position.sequence == 400


def submit_and_wait(one: SessionPublisher, ats: Iterable[int]) -> None:
    """Until Kafka has acknowledged them."""
    one.submit(events(ats))
    wait_until(lambda: one.acknowledged == one.position, 60, f"events up to {one.position.last_event_id}")
