"""Shards on a real Kafka: claimed, read to the claim, watched, and forgotten."""

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
from bridge.sharding.restore import ShardReader
from bridge.sharding.restore_progress import RestoredShard
from tests.support.broker import Broker
from tests.support.topics import create_topic, delete_topics, partitions_of, read_topic
from tests.support.waiting import TIMEOUT, wait_until

COMPACTED = {"cleanup.policy": "compact"}


def session(number: int) -> SessionKey:
    return SessionKey("local", f"0190c5de-aaaa-7bbb-8ccc-{number:012}")


def value(key: SessionKey, sequence: int, term: int | None = None, epoch: int = 1_700_000_000) -> bytes:
    position = Position(epoch, sequence, str(sequence))
    overlap_window = OverlapWindow(str(sequence - 1), str(sequence), b"8 bytes!", certain=True)
    return encode(Checkpoint(key, position, "active", 1_700_000_000_123, "f00d" * 4, overlap_window, term))


class Shards:
    """A reader, and its reports."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, timeout: float = 30.0) -> None:
        self.bootstrap, self.topic, self.partitions = bootstrap, topic, partitions
        self.restored: dict[int, list[RestoredShard]] = defaultdict(list)
        self.foreign: list[CheckpointRecord] = []
        self.reader = ShardReader(
            {
                "bootstrap.servers": bootstrap,
                "log_level": 2,
                "reconnect.backoff.max.ms": 200,
                "allow.auto.create.topics": False,
            },
            topic,
            partitions,
            lambda _shard, word: self.foreign.append(word),
            lambda: None,
            timeout=timeout,
        )

    def ask(self, shard: int, after: int = 0) -> Claim:
        wanted = Claim("host:1", uuid.uuid4().hex, self.partitions, "f00", 0)
        self.reader.restore(shard, wanted, self.restored[shard].append, after)
        return wanted

    def restore(self, shard: int = 0, after: int = 0, deadline: float = 20.0) -> RestoredShard:
        before = len(self.restored[shard])
        self.ask(shard, after)
        return self.wait(shard, before + 1, deadline)

    def wait(self, shard: int, times: int = 1, deadline: float = 20.0) -> RestoredShard:
        """Wait until it was restored so many times; returns the last result."""
        wait_until(lambda: len(self.restored[shard]) >= times, deadline, f"shard {shard}: {self.reader.held_up()}")
        return self.restored[shard][-1]

    def write(self, key: bytes, text: bytes | None, partition: int = 0) -> int:
        """Write one record; returns its offset."""
        return write(self.bootstrap, self.topic, [(key, text, partition)])[-1]


def write(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes | None, int]]) -> list[int]:
    """Write records as another process; returns their offsets."""
    offsets: list[int] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "log_level": 2, "linger.ms": 5, "allow.auto.create.topics": False}
    )

    def report(error: object, message: object) -> None:
        assert error is None
        offsets.append(message.offset())  # type: ignore[attr-defined]

    for number, (key, text, partition) in enumerate(records):
        producer.produce(topic, text, key, partition, on_delivery=report)
        if number % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(TIMEOUT) == 0
    return offsets


@contextmanager
def shards(bootstrap: str, topic: str, partitions: int = 1, timeout: float = 30.0) -> Iterator[Shards]:
    one = Shards(bootstrap, topic, partitions, timeout)
    one.reader.start()
    try:
        yield one
        assert one.reader.bug is None
    finally:
        one.reader.stop()
        assert one.reader.join(monotonic() + TIMEOUT)
        if one.reader.bug is not None:
            raise one.reader.bug


@pytest.fixture
def topic(kafka: str, namespace: str) -> str:
    """A checkpoints topic of four shards."""
    create_topic(kafka, f"{namespace}.checkpoints", 4, COMPACTED)
    return f"{namespace}.checkpoints"


def test_a_shard_is_claimed_and_read_up_to_the_claim(kafka: str, topic: str) -> None:
    """Its token is the claim's offset; the claim before it is returned; other shards are not read."""
    keys = {shard: next(session(n) for n in range(99) if home(session(n)) == shard) for shard in range(4)}
    write(kafka, topic, [(keys[shard].record_key, value(keys[shard], 7), shard) for shard in range(4)])
    with shards(kafka, topic, 4) as one:
        for shard in (1, 2):
            one.ask(shard)
        first = [one.wait(shard) for shard in (1, 2)]
        assert [(each.shard, each.token, each.previous) for each in first] == [(1, 1, None), (2, 1, None)]
        assert [set(each.log.restored()) for each in first] == [{keys[1]}, {keys[2]}]
        again = one.restore(1)
        assert again.token == 2
        assert again.previous is not None
        assert again.previous.owner == "host:1"
    written = [claim.decode(each.value or b"") for each in read_topic(kafka, topic) if each.key == CLAIM_KEY]
    assert [each.shards for each in written] == [4, 4, 4]
    assert len({each.nonce for each in written}) == 3


def home(key: SessionKey) -> int:
    return partition_of(key.record_key, 4)


def test_records_of_other_processes_are_reported_and_own_ones_are_not(kafka: str, topic: str) -> None:
    """With another token, with none, tombstones and claims; also after this process claimed the shard again."""
    key = session(0)
    with shards(kafka, topic) as one:
        token = one.restore().token
        other_claim = claim.encode(Claim("other:1", "n", 4, "f00", 0))
        others = [value(key, 2, None), value(key, 3, token + 1000), None, b"x"]
        records = [(key.record_key, each, 0) for each in (value(key, 1, token), *others, value(key, 4, token))]
        write(kafka, topic, [*records, (b"#unknown", b"x", 0), (CLAIM_KEY, other_claim, 0)])
        wait_until(lambda: len(one.foreign) >= 5, 10, "foreign")
        again = one.restore().token
        one.write(key.record_key, value(key, 5, token))
        one.write(key.record_key, value(key, 6, again))
        last = one.write(key.record_key, None)
        wait_until(lambda: one.foreign[-1].offset == last, 10, "the last other")
    assert [each.value for each in one.foreign] == [each or b"" for each in (*others, other_claim, None)]


def test_a_forgotten_shard_is_not_reported_and_can_be_restored_again(kafka: str, topic: str) -> None:
    """Also one that was forgotten during its restore."""
    with shards(kafka, topic, 4) as one:
        one.restore(0)
        one.restore(1)
        one.ask(2)
        one.reader.forget(0)
        one.reader.forget(2)
        one.reader.forget(3)
        one.restore(3)
        one.write(b"local/x", b"x", 0)
        seen = one.write(b"local/x", b"y", 1)
        wait_until(lambda: [(each.partition, each.offset) for each in one.foreign] == [(1, seen)], 10, "shard 1")
        again = one.restore(0)
        assert again.token == 2
        assert len(again.log.invalid) == 1
        assert not one.restored[2]


def test_a_shard_is_read_from_an_offset(kafka: str, topic: str) -> None:
    """An owner knows everything up to its own claim; an offset that does not exist means the whole shard."""
    key = session(0)
    with shards(kafka, topic) as one:
        one.write(key.record_key, value(key, 1))
        first = one.restore()
        assert key in first.log.restored()
        assert not one.restore(after=first.token).log.restored()
        one.write(key.record_key, value(key, 2, one.restored[0][-1].token))
        assert one.restore(after=first.token).log.restored()[key].checkpoint.position.sequence == 2
        assert one.restore(after=1000).log.restored()[key].checkpoint.position.sequence == 2


def test_an_open_transaction_holds_up_only_its_shard_until_it_ends(kafka: str, topic: str, namespace: str) -> None:
    """The reason names the fix; the restore continues by itself."""
    other = Producer({"bootstrap.servers": kafka, "transactional.id": namespace, "log_level": 2})
    other.init_transactions(TIMEOUT)
    other.begin_transaction()
    other.produce(topic, b"x", b"#x", 1)
    other.flush(TIMEOUT)
    with shards(kafka, topic, 4, timeout=1.0) as one:
        for shard in (0, 1):
            one.ask(shard)
        one.wait(0)
        expected = f"open transaction on {topic} partition 1"  # before its claim is acknowledged, that is the reason
        wait_until(lambda: expected in one.reader.held_up().get(1, ""), 30, "what is held up")
        why = one.reader.held_up()[1]
        assert f"describe-producers --topic {topic} --partition 1" in why
        assert not one.restored[1]
        assert len(one.restored[0]) == 1
        one.write(b"local/x", b"x", 0)
        wait_until(lambda: one.foreign, 10, "shard 0 is listened to meanwhile")
        other.abort_transaction(TIMEOUT)
        assert one.wait(1).token > 0
        assert not one.reader.held_up()


def test_a_restore_waits_for_a_kafka_that_is_away(private_broker: Broker) -> None:
    """During a restore, and while a shard is watched; records that are written later are reported."""
    create_topic(private_broker.bootstrap, "checkpoints", 2, COMPACTED)
    with shards(private_broker.bootstrap, "checkpoints", 2, timeout=1.0) as one:
        one.restore(0)
        private_broker.kill()
        one.ask(1)
        wait_until(one.reader.held_up, 10, "what is held up")
        assert "not acknowledged" in one.reader.held_up()[1]
        private_broker.start()
        token = one.wait(1, deadline=40).token
        offset = one.write(b"local/x", b"x")
        wait_until(lambda: [each.offset for each in one.foreign] == [offset], 30, "the record")
    # A claim that a slow start answered late is written again: the last one counts.
    claims = read_topic(private_broker.bootstrap, "checkpoints")
    assert token == max(each.offset for each in claims if (each.key, each.partition) == (CLAIM_KEY, 1))


def test_a_claim_that_was_deleted_with_its_topic_is_written_again(kafka: str, topic: str, namespace: str) -> None:
    """The reader finds out by itself; the claim before it is still that of another process."""
    other = Producer({"bootstrap.servers": kafka, "transactional.id": namespace, "log_level": 2})
    other.init_transactions(TIMEOUT)
    other.begin_transaction()
    other.produce(topic, b"x", b"#x", 1)
    other.flush(TIMEOUT)
    with shards(kafka, topic, 4, timeout=1.0) as one:
        one.ask(1)
        wait_until(lambda: "open transaction" in one.reader.held_up().get(1, ""), 20, "its claim to be acknowledged")
        delete_topics(kafka, topic)
        create_topic(kafka, topic, 4, COMPACTED)
        one.write(CLAIM_KEY, claim.encode(Claim("other:1", "n", 4, "f00", 0)), 1)
        previous = one.wait(1, deadline=40).previous
        assert previous is None or previous.owner == "other:1"


def test_the_shards_of_a_recreated_topic_are_restored_again(kafka: str, topic: str) -> None:
    """With a new claim in each partition; also during a restore, and with more partitions than before."""
    with shards(kafka, topic, 4, timeout=1.0) as one:
        one.restore(0)
        delete_topics(kafka, topic)
        wait_until(lambda: not partitions_of(kafka, topic), 20, "the deletion at the broker")
        one.ask(1)
        wait_until(one.reader.held_up, 20, "what is held up")
        create_topic(kafka, topic, 6, COMPACTED)
        one.reader.topic_was_recreated(6)
        # Claims that waited for the topic, or that a busy broker answered late, may be there too.
        assert one.wait(1).previous is None
        assert one.restore(0).previous is None
        assert one.restore(5).previous is None
        one.write(b"local/x", b"x", 5)
        wait_until(lambda: one.foreign, 10, "the record")
    assert {each.partition for each in read_topic(kafka, topic) if each.key == CLAIM_KEY} == {0, 1, 5}


MANY = 100_000


def test_a_hundred_thousand_checkpoints_are_restored_in_seconds_and_only_what_is_owned_takes_memory(
    kafka: str, topic: str
) -> None:
    """At most five seconds' work for all four shards; a quarter of the memory for one; none once it is forgotten."""
    keys = [session(number) for number in range(MANY)]
    before, after = value(session(0), 5).split(session(0).session_id.encode())  # encoding each would take longer
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
        # Processor time: the elapsed time depends on what else runs on the machine.
        assert work < 5
        found.clear()
        one.restored.clear()
        tracemalloc.start()
        try:
            owned = len(one.restore(0, deadline=60).log.restored())
            held = memory_in_use()
            one.reader.forget(0)
            one.restored.clear()
            wait_until(lambda: memory_in_use() < held / 10, 10, "the memory of the forgotten shard")
        finally:
            tracemalloc.stop()
    print(f"{held / owned:.0f} bytes for each of {owned} sessions")
    assert held < 2500 * owned < 2500 * MANY / 3


def memory_in_use() -> int:
    """The traced bytes in use; the reader's thread may still be about to free some."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
