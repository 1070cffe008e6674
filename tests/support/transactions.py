"""Exactly-once delivery in this process on a real Kafka, and checks of the committed records."""

from __future__ import annotations

import json
import queue
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import Producer

from bridge.clock import monotonic, unix_ms
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.claim import Claim
from bridge.core.records.encoder import Encoder
from bridge.core.records.topics import SizeLimits
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.checkpoint_writer import OwnTopics
from bridge.delivery.exactly_once import ExactlyOnce
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Limits
from bridge.delivery.publisher import SessionPublisher
from bridge.delivery.shard_thread import ShardThread
from bridge.errors import Stopped
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts
from bridge.settings.naming import transactional_id
from bridge.sharding.restore import ShardReader
from bridge.sharding.restore_progress import RestoredShard
from tests.support.delivery_topics import QUICK, SHARDS, DeliveryTopics, at_of
from tests.support.rule import understand
from tests.support.waiting import TIMEOUT, wait_until

SHORT_TIMEOUTS = TransactionTimeouts(transaction=20.0, flush=8.0, stuck=2.0, end=3.0)
"""For tests that do not test the timeouts."""


class Group:
    """A membership whose answer the test chooses; ``proofs`` counts the requests."""

    def __init__(self) -> None:
        self.is_member = True
        self.proofs = 0

    @property
    def proven_at(self) -> float:
        return monotonic() if self.is_member else float("-inf")

    def ask(self) -> None:
        """Do nothing: ``prove`` answers immediately."""

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:
        del since
        self.proofs += 1
        return self.is_member and not is_over()


class Replica:
    """The delivery of one process, with the shards that it acquired."""

    def __init__(self, topics: Topics, shards: Iterable[int], interval: float, timeouts: TransactionTimeouts) -> None:
        self.group = Group()
        self.leases = [Lease(shard, self.group) for shard in shards]
        self.restored: dict[SessionKey, Checkpoint] = {}
        self.reclaims = 0
        settings = ProducerSettings(
            {"bootstrap.servers": topics.through, **QUICK, **topics.properties},
            topics.sizes.batch_size,
            topics.sizes.largest,
        )
        config = {"bootstrap.servers": topics.bootstrap, **QUICK}
        self.reader = ShardReader(
            config, topics.checkpoints, SHARDS, lambda _shard, _record: None, lambda: None, timeout=1.0
        )
        self.delivery = ExactlyOnce(
            lambda shard: TransactionalProducer(settings, transactional_id(topics.namespace, shard), timeouts),
            lambda: IdempotentProducer(settings, Role.CHECKPOINTS),
            OwnTopics(topics.checkpoints, SHARDS, topics.lifecycle),
            topics.sizes,
            Limits(10_000, 10**8, checkpoint_interval=0.2, transaction_interval=interval, timeouts=timeouts),
            self._reclaim,
            lambda: None,
        )

    def start(self) -> None:
        """Start delivery and acquire the shards as the daemon does: the transactional id, then the claim."""
        self.reader.start()
        self.delivery.start()
        for lease in self.leases:
            ready = threading.Event()
            self.delivery.enter(lease, ready.set)
            wait_until(ready.is_set, 30, "the transactional id")
            self._restore(lease, after=0)

    def stop(self) -> None:
        """Abort delivery and wait for the threads."""
        self.delivery.abort()
        self.reader.stop()
        self.delivery.join(monotonic() + TIMEOUT)
        self.reader.join(monotonic() + TIMEOUT)

    def _restore(self, lease: Lease, after: int) -> None:
        answers: queue.SimpleQueue[RestoredShard] = queue.SimpleQueue()
        claim = Claim("test", uuid.uuid4().hex, SHARDS, "", unix_ms())
        self.reader.restore(lease.shard, claim, answers.put, after=after)
        restored = wait_until(lambda: self._answer(lease, answers), 60, "the own claim")
        if not isinstance(restored, RestoredShard):
            raise Stopped
        lease.claimed(restored.token)
        self.restored |= restored.log.checkpoints

    def _answer(self, lease: Lease, answers: queue.SimpleQueue[RestoredShard]) -> RestoredShard | bool:
        if self.reader.bug is not None:
            raise self.reader.bug
        return lease.is_over if answers.empty() else answers.get()

    def _reclaim(self, lease: Lease) -> Mapping[SessionKey, Checkpoint]:
        before, self.restored = self.restored, {}
        self.reclaims += 1
        self._restore(lease, after=lease.fencing_token or 0)
        found, self.restored = self.restored, before | self.restored
        return found

    def thread(self, shard: int) -> ShardThread:
        """Return the thread of a shard."""
        return self.delivery._shards[shard]


class Topics(DeliveryTopics):
    """Topics of one namespace, and replicas that deliver to them exactly once."""

    def __init__(
        self, bootstrap: str, namespace: str, *, through: str | None = None, limit: int | None = None, tools: int = 0
    ) -> None:
        """``through``: the bridge's address of Kafka.

        ``limit``: the events topic's ``max.message.bytes``, which the bridge does not know; ``tools``: that of the
        routed topic, which it knows.
        """
        limits = {"events": limit or 0, "tools": tools}
        super().__init__(bootstrap, namespace, limits={name: size for name, size in limits.items() if size})
        self.through = through or bootstrap
        self.properties: dict[str, str] = {}
        """Of the bridge's producers."""
        self.sizes = SizeLimits({self.tools: tools} if tools else {})

    def key(self, shard: int, number: int = 0) -> SessionKey:
        """Return a session key of this shard."""
        found = (SessionKey("local", f"s{each}") for each in range(1000))
        return [key for key in found if partition_of(key.record_key, SHARDS) == shard][number]

    @contextmanager
    def replica(
        self, shards: Iterable[int] = (0,), *, interval: float = 0.05, timeouts: TransactionTimeouts = SHORT_TIMEOUTS
    ) -> Iterator[Replica]:
        """Run a replica that has acquired these shards."""
        replica = Replica(self, shards, interval, timeouts)
        try:
            replica.start()
            yield replica
        finally:
            replica.stop()

    def open(self, replica: Replica, key: SessionKey) -> SessionPublisher:
        """Open a session at its restored checkpoint."""
        shard = partition_of(key.record_key, SHARDS)
        lease = next(each for each in replica.leases if each.shard == shard)
        known = replica.restored.get(key)
        one = replica.delivery.open(key, Encoder(self.rules, key), "", known, lease)
        if known is None:
            one.begin_epoch(OverlapWindow.starting("0"))
        return one

    def position_of(self, key: SessionKey) -> Position | None:
        """Return the stored position. Kafka answers a commit before its markers are readable, so it may be late."""
        found = self.restored().get(key)
        return None if found is None else found.position

    def assert_exactly_once(self, key: SessionKey, last: int) -> None:
        """Assert that each event up to ``last`` is there once, in order, numbered from 1 on without a gap.

        Kafka answers a commit before its markers are readable, so wait for the last ones.
        """
        wait_until(lambda: len(self.events_of(key)) >= last, 10, f"all events of {key}")
        assert self.events_of(key) == [(at, at) for at in range(1, last + 1)]

    def events_of(self, key: SessionKey) -> list[tuple[int, int]]:
        """Return (sequence, number of the event) of each record of a session, sorted; assert one epoch and order."""
        found = [understand(each) for each in self.read(self.events, self.tools, self.dead_letters)]
        mine = [each for each in found if each.key == str(key)]
        assert len({each.epoch for each in mine}) <= 1
        places: dict[tuple[str, int], list[int]] = defaultdict(list)
        for each in mine:
            places[each.record.topic, each.record.partition].append(each.sequence)
        assert all(place == sorted(place) for place in places.values())
        return sorted((each.sequence, at_of(each.data)) for each in mine)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint as a foreign writer would."""
        value, place = encode(checkpoint), partition_of(checkpoint.key.record_key, SHARDS)
        producer = Producer({"bootstrap.servers": self.bootstrap, **QUICK})
        producer.produce(self.checkpoints, value, checkpoint.key.record_key, partition=place)
        assert producer.flush(TIMEOUT) == 0

    def lifecycle_kinds(self) -> list[str]:
        """Return the kinds of the lifecycle records."""
        return [json.loads(each.value or b"{}")["type"].rpartition(".")[2] for each in self.read(self.lifecycle)]


def settled(one: SessionPublisher, deadline: float = 30.0) -> None:
    """Wait until Kafka has acknowledged everything, including the position."""
    wait_until(lambda: one.is_settled, deadline, f"{one.key} to be settled: {one.session.trouble}")
