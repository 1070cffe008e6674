"""Shards are taken from a real Kafka: claimed, read to the claim, listened to, and let go."""

from __future__ import annotations

import gc
import tracemalloc
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import process_time

import pytest
from confluent_kafka import Producer

from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointRecord
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records import claim
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.core.stream.overlap import OverlapWindow
from bridge.sharding.read_state import Taken
from bridge.sharding.restore import ShardReader
from tests.support.broker import Broker
from tests.support.topics import create_topic, delete_topics, read_topic
from tests.support.waiting import wait_until

COMPACTED = {"cleanup.policy": "compact"}


def session(number: int) -> SessionKey:
    return SessionKey("local", f"0190c5de-aaaa-7bbb-8ccc-{number:012}")


def value(key: SessionKey, sequence: int, term: int | None = None, epoch: int = 1_700_000_000) -> bytes:
    position = Position(epoch, sequence, str(sequence))
    overlap_window = OverlapWindow(str(sequence - 1), str(sequence), b"8 bytes!", certain=True)
    return encode(Checkpoint(key, position, "active", 1_700_000_000_123, "f00d" * 4, overlap_window, term))


class Shards:
    """A reader, and what it has told."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, patience: float = 30.0) -> None:
        self.bootstrap, self.topic, self.partitions = bootstrap, topic, partitions
        self.taken: dict[int, list[Taken]] = defaultdict(list)
        self.strangers: list[CheckpointRecord] = []
        self.reader = ShardReader(
            {"bootstrap.servers": bootstrap, "log_level": 2, "reconnect.backoff.max.ms": 200},
            topic,
            partitions,
            lambda _shard, word: self.strangers.append(word),
            lambda: None,
            patience=patience,
        )

    def ask(self, shard: int, after: int = 0) -> Claim:
        """Begin to take a shard."""
        wanted = Claim("host:1", uuid.uuid4().hex, self.partitions, "f00", 0)
        self.reader.take(shard, wanted, self.taken[shard].append, after)
        return wanted

    def take(self, shard: int = 0, after: int = 0, deadline: float = 20.0) -> Taken:
        """Take a shard, and wait for it."""
        before = len(self.taken[shard])
        self.ask(shard, after)
        return self.wait(shard, before + 1, deadline)

    def wait(self, shard: int, times: int = 1, deadline: float = 20.0) -> Taken:
        """The last one, when it was taken so many times."""
        wait_until(lambda: len(self.taken[shard]) >= times, deadline, f"shard {shard}: {self.reader.held_up()}")
        return self.taken[shard][-1]

    def write(self, key: bytes, text: bytes | None, partition: int = 0) -> int:
        """One record, and its offset."""
        return write(self.bootstrap, self.topic, [(key, text, partition)])[-1]


def write(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes | None, int]]) -> list[int]:
    """Records as another process would; their offsets."""
    offsets: list[int] = []
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 2, "linger.ms": 5})

    def report(error: object, message: object) -> None:
        assert error is None
        offsets.append(message.offset())  # type: ignore[attr-defined]

    for number, (key, text, partition) in enumerate(records):
        producer.produce(topic, text, key, partition, on_delivery=report)
        if number % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
    return offsets


@contextmanager
def shards(bootstrap: str, topic: str, partitions: int = 1, patience: float = 30.0) -> Iterator[Shards]:
    """A running reader."""
    one = Shards(bootstrap, topic, partitions, patience)
    one.reader.start()
    try:
        yield one
        assert one.reader.bug is None
    finally:
        one.reader.stop()
        assert one.reader.join(monotonic() + 10)
        if one.reader.bug is not None:
            raise one.reader.bug


@pytest.fixture
def topic(kafka: str, namespace: str) -> str:
    """A checkpoints topic of four shards."""
    create_topic(kafka, f"{namespace}.checkpoints", 4, COMPACTED)
    return f"{namespace}.checkpoints"


def test_a_shard_is_claimed_and_read_up_to_the_claim(kafka: str, topic: str) -> None:
    """Its term is the claim's offset; the claim before it is told; what belongs to other shards is not read."""
    keys = {shard: next(session(n) for n in range(99) if home(session(n)) == shard) for shard in range(4)}
    write(kafka, topic, [(keys[shard].record_key, value(keys[shard], 7), shard) for shard in range(4)])
    with shards(kafka, topic, 4) as one:
        for shard in (1, 2):
            one.ask(shard)
        first = [one.wait(shard) for shard in (1, 2)]
        assert [(each.shard, each.term, each.previous) for each in first] == [(1, 1, None), (2, 1, None)]
        assert [set(each.log.restored()) for each in first] == [{keys[1]}, {keys[2]}]
        again = one.take(1)
        assert again.term == 2
        assert again.previous is not None
        assert again.previous.owner == "host:1"
    written = [claim.decode(each.value or b"") for each in read_topic(kafka, topic) if each.key == CLAIM_KEY]
    assert [each.shards for each in written] == [4, 4, 4]
    assert len({each.nonce for each in written}) == 3


def home(key: SessionKey) -> int:
    return partition_of(key.record_key, 4)


def test_words_of_others_are_told_and_own_ones_are_not(kafka: str, topic: str) -> None:
    """Of another claim, of none, tombstones and foreign claims; also after the shard was taken again by itself."""
    key = session(0)
    with shards(kafka, topic) as one:
        term = one.take().term
        foreign = claim.encode(Claim("other:1", "n", 4, "f00", 0))
        others = [value(key, 2, None), value(key, 3, term + 1000), None, b"x"]
        records = [(key.record_key, each, 0) for each in (value(key, 1, term), *others, value(key, 4, term))]
        write(kafka, topic, [*records, (b"#whatever", b"x", 0), (CLAIM_KEY, foreign, 0)])
        wait_until(lambda: len(one.strangers) >= 5, 10, "strangers")
        again = one.take().term
        one.write(key.record_key, value(key, 5, term))
        one.write(key.record_key, value(key, 6, again))
        last = one.write(key.record_key, None)
        wait_until(lambda: one.strangers[-1].offset == last, 10, "the last stranger")
    assert [each.value for each in one.strangers] == [each or b"" for each in (*others, foreign, None)]


def test_a_shard_that_was_let_go_is_not_heard_of_and_can_be_taken_again(kafka: str, topic: str) -> None:
    """Nor is one whose taking was given up."""
    with shards(kafka, topic, 4) as one:
        one.take(0)
        one.take(1)
        one.ask(2)
        one.reader.forget(0)
        one.reader.forget(2)
        one.reader.forget(3)
        one.take(3)
        one.write(b"local/x", b"x", 0)
        seen = one.write(b"local/x", b"y", 1)
        wait_until(lambda: [(each.partition, each.offset) for each in one.strangers] == [(1, seen)], 10, "shard 1")
        again = one.take(0)
        assert again.term == 2
        assert len(again.log.invalid) == 1
        assert not one.taken[2]


def test_a_shard_is_read_from_an_offset_on(kafka: str, topic: str) -> None:
    """What an owner reads again, it knows up to its own claim; an offset that is gone means all of it."""
    key = session(0)
    with shards(kafka, topic) as one:
        one.write(key.record_key, value(key, 1))
        first = one.take()
        assert key in first.log.restored()
        assert not one.take(after=first.term).log.restored()
        one.write(key.record_key, value(key, 2, one.taken[0][-1].term))
        assert one.take(after=first.term).log.restored()[key].checkpoint.position.sequence == 2
        assert one.take(after=1000).log.restored()[key].checkpoint.position.sequence == 2


def test_a_strangers_open_transaction_holds_up_its_shard_alone_until_it_ends(
    kafka: str, topic: str, namespace: str
) -> None:
    """It is told with the way out, and goes on by itself."""
    stranger = Producer({"bootstrap.servers": kafka, "transactional.id": namespace, "log_level": 2})
    stranger.init_transactions(10)
    stranger.begin_transaction()
    stranger.produce(topic, b"x", b"#x", 1)
    stranger.flush(10)
    with shards(kafka, topic, 4, patience=1.0) as one:
        for shard in (0, 1):
            one.ask(shard)
        one.wait(0)
        wait_until(one.reader.held_up, 10, "what is held up")
        why = one.reader.held_up()[1]
        assert f"open transaction on {topic} partition 1" in why
        assert f"describe-producers --topic {topic} --partition 1" in why
        assert not one.taken[1]
        assert len(one.taken[0]) == 1
        one.write(b"local/x", b"x", 0)
        wait_until(lambda: one.strangers, 10, "shard 0 is listened to meanwhile")
        stranger.abort_transaction(10)
        assert one.wait(1).term > 0
        assert not one.reader.held_up()


def test_a_kafka_that_is_away_is_waited_for(private_broker: Broker) -> None:
    """In the middle of a taking, and while a shard is listened to; what is written later is heard of."""
    create_topic(private_broker.bootstrap, "checkpoints", 2, COMPACTED)
    with shards(private_broker.bootstrap, "checkpoints", 2, patience=1.0) as one:
        one.take(0)
        private_broker.kill()
        one.ask(1)
        wait_until(one.reader.held_up, 10, "what is held up")
        assert "not acknowledged" in one.reader.held_up()[1]
        private_broker.start()
        assert one.wait(1, deadline=40).term == 0
        told = one.write(b"local/x", b"x")
        wait_until(lambda: [each.offset for each in one.strangers] == [told], 30, "the word")


def test_a_claim_that_went_with_a_deleted_topic_is_written_again(kafka: str, topic: str, namespace: str) -> None:
    """Although nobody tells the reader; the claim before it is still another's."""
    stranger = Producer({"bootstrap.servers": kafka, "transactional.id": namespace, "log_level": 2})
    stranger.init_transactions(10)
    stranger.begin_transaction()
    stranger.produce(topic, b"x", b"#x", 1)
    stranger.flush(10)
    with shards(kafka, topic, 4, patience=1.0) as one:
        one.ask(1)
        wait_until(lambda: "open transaction" in one.reader.held_up().get(1, ""), 20, "its claim to be acknowledged")
        delete_topics(kafka, topic)
        create_topic(kafka, topic, 4, COMPACTED)
        one.write(CLAIM_KEY, claim.encode(Claim("other:1", "n", 4, "f00", 0)), 1)
        previous = one.wait(1, deadline=40).previous
        assert previous is None or previous.owner == "other:1"


def test_a_topic_that_is_deleted_and_created_anew_is_taken_again(kafka: str, topic: str) -> None:
    """With a new claim in each partition; also in the middle of a taking, and with more partitions than before."""
    with shards(kafka, topic, 4, patience=1.0) as one:
        one.take(0)
        delete_topics(kafka, topic)
        one.ask(1)
        wait_until(one.reader.held_up, 20, "what is held up")
        create_topic(kafka, topic, 6, COMPACTED)
        one.reader.renew(6)
        assert one.wait(1).term <= 1  # the claim that waited for the topic may be there too
        assert one.take(0).term == 0
        assert one.take(5).term == 0
        one.write(b"local/x", b"x", 5)
        wait_until(lambda: one.strangers, 10, "the word")
    assert {each.partition for each in read_topic(kafka, topic) if each.key == CLAIM_KEY} == {0, 1, 5}


MANY = 100_000


def test_a_hundred_thousand_checkpoints_are_restored_in_seconds_and_only_what_is_owned_takes_memory(
    kafka: str, topic: str
) -> None:
    """At most five seconds' work for all four shards; a quarter of the memory for one; nothing once it is let go."""
    keys = [session(number) for number in range(MANY)]
    before, after = value(session(0), 5).split(session(0).session_id.encode())  # to encode each would take longer
    records = ((key.record_key, before + key.session_id.encode() + after, home(key)) for key in keys)
    write(kafka, topic, records)
    with shards(kafka, topic, 4) as one:
        begun, worked = monotonic(), process_time()
        for shard in range(4):
            one.ask(shard)
        found = [one.wait(shard, deadline=60).log.restored() for shard in range(4)]
        took, work = monotonic() - begun, process_time() - worked
        print(f"{MANY} checkpoints: {took:.2f} s, {work:.2f} s of processor time")
        assert set().union(*found) == set(keys)
        # Of the machine's time this process gets a share that other tests decide.
        assert work < 5
        found.clear()
        one.taken.clear()
        tracemalloc.start()
        try:
            owned = len(one.take(0, deadline=60).log.restored())
            held = tracemalloc.get_traced_memory()[0]
            one.reader.forget(0)
            one.taken.clear()
            gc.collect()
            left = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    print(f"{held / owned:.0f} bytes for each of {owned} sessions, {left} once they are let go")
    assert held < 2500 * owned < 2500 * MANY / 3
    assert left < held / 10
