"""A Kafka in memory with transactions, as hostile as the real one is allowed to be, and a producer in front of it.

What is promised: of one transactional id only the newest epoch may write, a transaction is in the log whole or not at
all, and taking the id settles what is open. Everything else is left to chance: what came of a call that is not
answered, when a request that was sent again arrives for the second time, and when the brokers end a transaction for its
age. The log is what readers of committed records see.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaError

from bridge.core.identity import partition_of
from bridge.core.records.record import Record
from bridge.kafka.client import Outgoing, ProduceFailed, QueueFull, Report, Throttle
from bridge.kafka.transactional import Verdict
from tests.fakes.kafka_model import NO_TOPIC, PURGED, TOO_LARGE, Place, produce_all


class Sent(NamedTuple):
    """One record and who wants to hear of its failure."""

    place: Place
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    report: Report

    def topic(self) -> str:
        """As of the client's message in a delivery report."""
        return self.place[0]


class Committed(Protocol):
    """Hears of each transaction when it becomes visible."""

    def __call__(self, records: list[Sent], /) -> None: ...


class Clock(Protocol):
    """What the model's waits move."""

    now: float


@dataclass
class Coordinator:
    """What the brokers know of one transactional id."""

    epoch: int = 0
    open: list[Sent] = field(default_factory=list)
    late: list[tuple[int, bool]] = field(default_factory=list)
    """Ends of transactions that are still under way: of which epoch, and whether to commit."""


@dataclass
class ModelTransactions:
    """Topics, transactional ids, and what is wrong at the moment."""

    partitions: dict[str, int]
    committed: Committed
    clock: Clock
    logs: dict[Place, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    ids: dict[int, Coordinator] = field(default_factory=lambda: defaultdict(Coordinator))
    limits: dict[str, int] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    """Topics that refuse every batch, though no record is at fault."""
    stuck: set[str] = field(default_factory=set)
    """Topics that answer nothing."""
    client_limit: int = 10**9
    unknown: float = 0.0
    """How often a call that ends a transaction is not answered."""
    rate: float = 0.0
    """Bytes a second that are taken; 0: any number."""
    repeated: float = 0.0
    """How often one that was answered was sent twice, and the first may still arrive."""

    def heal(self) -> None:
        """Everything works again."""
        self.limits.clear()
        self.down.clear()
        self.stuck.clear()
        self.client_limit, self.unknown, self.repeated, self.rate = 10**9, 0.0, 0.0, 0.0

    def error_for(self, batch: list[Sent]) -> KafkaError | None:
        """What is wrong with a batch: it is taken whole or not at all."""
        topic = batch[0].place[0]
        if topic in self.down:
            return NO_TOPIC
        return TOO_LARGE if sum(len(record.value) for record in batch) > self.limits.get(topic, 10**9) else None

    def end(self, shard: int, *, commit: bool) -> None:
        """What is open is committed, or was never there."""
        records, self.ids[shard].open = self.ids[shard].open, []
        if commit:
            for record in records:
                self.logs[record.place].append(record)
            if records:
                self.committed(records)

    def arrive(self, shard: int) -> None:
        """A request that was still under way arrives: it is obeyed if its epoch is the newest."""
        coordinator = self.ids[shard]
        if coordinator.late:
            epoch, commit = coordinator.late.pop(0)
            if epoch == coordinator.epoch:
                self.end(shard, commit=commit)

    def expire(self, shard: int) -> None:
        """The brokers end the open transaction for its age, and fence who has it."""
        self.ids[shard].epoch += 1
        self.end(shard, commit=False)


_MAX_REFUSED = 1000
"""So many records may be refused between two polls: nobody hands more over in one round."""


class State(Enum):
    """Of a producer's transaction."""

    NONE = auto()
    OPEN = auto()
    FAILED = auto()


class ModelTransactionalProducer:
    """Stands where :class:`bridge.kafka.transactional.TransactionalProducer` stands."""

    def __init__(self, kafka: ModelTransactions, shard: int, chance: random.Random) -> None:
        self.fatal: str | None = None
        self.is_fenced = False
        self.throttle = Throttle()
        self.trouble: str | None = None
        self.was_disturbed = False
        self.abandoned = False
        self._kafka = kafka
        self._shard = shard
        self._chance = chance
        self._epoch = -1
        self._state = State.NONE
        self._queued: dict[Place, deque[Sent]] = defaultdict(deque)
        self._sent_until = 0.0
        self._unreported: list[tuple[Sent, KafkaError]] = []
        self._refused = 0
        self._changes_epoch = False

    @property
    def has_begun(self) -> bool:
        return self._state is not State.NONE

    def init(self, timeout: float) -> Verdict:
        coordinator = self._kafka.ids[self._shard]
        if self._is_lost(timeout) and self._chance.random() < 0.5:
            return Verdict.UNKNOWN
        if self._chance.random() < 0.5:
            self._kafka.arrive(self._shard)
        coordinator.epoch += 1
        self._kafka.end(self._shard, commit=False)
        self._epoch = coordinator.epoch
        return Verdict.UNKNOWN if self._is_lost(timeout) else Verdict.DONE

    def begin(self) -> None:
        if self._state is State.NONE:
            self._state, self.was_disturbed = State.OPEN, False

    def produce(self, record: Outgoing, report: Report) -> None:
        topic, key, value, headers, timestamp_ms, partition = record
        assert timestamp_ms > 0
        assert value is not None
        assert self._state is not State.NONE, "a record outside of any transaction"
        assert not self.abandoned, "a record for an abandoned producer"
        self._live(self._chance.choice((0, 0, 0, 1)))  # requests fail in the background, and a poll reports them
        if self._state is State.FAILED or self.fatal is not None:
            self._refused += 1
            assert self._refused < _MAX_REFUSED, "produce() is repeated in a failed transaction without a poll"
            raise QueueFull
        if len(value) > self._kafka.client_limit:
            raise ProduceFailed(TOO_LARGE)
        place = topic, partition_of(key, self._kafka.partitions[topic]) if partition < 0 else partition
        self._queued[place].append(Sent(place, key, value, tuple(headers), report))

    def produce_all(
        self, records: Sequence[Record], report: Report, partitions: Mapping[str, int]
    ) -> tuple[int, Exception | None]:
        return produce_all(self.produce, records, report, partitions)

    def poll(self) -> None:
        self._live(self._chance.randrange(6))
        self._run_reports()

    def flush(self, timeout: float) -> int:
        self._live(self._chance.choice((5, 10**6)))
        self._run_reports()
        left = sum(map(len, self._queued.values()))
        if left:
            self._kafka.clock.now += timeout
        return left

    def commit(self, timeout: float) -> Verdict:
        assert not any(self._queued.values()), "a commit without a flush"
        assert self._state is State.OPEN
        return self._end(timeout, commit=True)

    def abort(self, timeout: float) -> Verdict:
        self._changes_epoch = self._state is State.FAILED or any(self._queued.values())
        self._purge()
        self._run_reports()
        return self._end(timeout, commit=False)

    def abandon(self) -> None:
        self.abandoned = True
        self._queued.clear()
        self._run_reports()

    def _end(self, timeout: float, *, commit: bool) -> Verdict:
        if self._is_outdated():
            return Verdict.FENCED
        coordinator = self._kafka.ids[self._shard]
        if self._is_lost(timeout):
            match self._chance.choice(("done", "late", "never")):
                case "done":
                    self._kafka.end(self._shard, commit=commit)
                case "late":
                    coordinator.late.append((self._epoch, commit))
            self.trouble = "not answered"
            return Verdict.UNKNOWN
        if self._chance.random() < self._kafka.repeated:
            coordinator.late.append((self._epoch, commit))
            self.was_disturbed = True
        self._kafka.end(self._shard, commit=commit)
        self._state = State.NONE
        return Verdict.DONE

    def _is_lost(self, timeout: float) -> bool:
        if self._chance.random() >= self._kafka.unknown:
            return False
        self._kafka.clock.now += timeout
        return True

    def _is_outdated(self) -> bool:
        if self._kafka.ids[self._shard].epoch != self._epoch:
            self.fatal, self.is_fenced = "fenced", True
        return self.is_fenced

    def _purge(self) -> None:
        self._unreported += [(record, PURGED) for queue in self._queued.values() for record in queue]
        self._queued.clear()

    def _live(self, steps: int) -> None:
        if self._changes_epoch and steps and any(self._queued.values()):
            # librdkafka changes its epoch after an abort of what was not sent, in the middle of what comes next
            self._changes_epoch, self._state = False, State.FAILED
            self._purge()
        for _ in range(steps):
            ready = [place for place, queue in self._queued.items() if queue and place[0] not in self._kafka.stuck]
            is_slow = self._kafka.rate and self._sent_until > self._kafka.clock.now
            if not ready or is_slow or self._state is State.FAILED or self._is_outdated():
                return
            queue = self._queued[self._chance.choice(ready)]
            self._send([queue.popleft() for _ in range(min(len(queue), self._chance.choice((1, 3, 20))))])

    def _send(self, batch: list[Sent]) -> None:
        error = self._kafka.error_for(batch)
        if self._kafka.rate:
            began = max(self._sent_until, self._kafka.clock.now - 0.1)  # no rate is saved up
            self._sent_until = began + sum(len(record.value) for record in batch) / self._kafka.rate
        if error is None:
            self._kafka.ids[self._shard].open += batch
            return
        self._state = State.FAILED
        self._unreported += [(record, error) for record in batch]

    def _run_reports(self) -> None:
        self._refused = 0
        untold, self._unreported = self._unreported, []
        for record, error in untold:
            record.report(error, record)  # type: ignore[arg-type]  # only its topic is looked at
