"""A Kafka in memory, as hostile as the real one is allowed to be, and a producer in front of it.

What is promised is what an idempotent producer promises: per partition, in order, each batch once or not at all while
the producer lives. Everything else is left to chance: how records are batched, which partition is quicker, when reports
come, and, of a producer that was given up, how much of what it had on its way still arrives, and when.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError

from bridge.core.identity import partition_of
from bridge.core.records.record import Record
from bridge.kafka import client as real
from bridge.kafka.client import Outgoing, ProduceFailed, QueueFull, Throttle
from bridge.kafka.config import Answer
from bridge.kafka.errors import ErrorScope, in_words, scope_of
from bridge.kafka.producer import Role

Report = Callable[[KafkaError | None, object], None]
Place = tuple[str, int]

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")
NO_TOPIC = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic")
NO_PARTITION = KafkaError(KafkaError._UNKNOWN_PARTITION, "no such partition")
PURGED = KafkaError(KafkaError._PURGE_QUEUE, "purged")
FINISHED = KafkaError(KafkaError._FATAL, "the producer is finished", fatal=True)


class Produced(NamedTuple):
    """One record and who wants to hear of it."""

    place: Place
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    report: Report

    def topic(self) -> str:
        """As of the client's message in a delivery report."""
        return self.place[0]


def produce_all(
    produce: Callable[..., None], records: Sequence[Record], report: Callable[..., None], partitions: Mapping[str, int]
) -> tuple[int, Exception | None]:
    """The bridge's own loop around ``produce``."""

    def produce_one(  # noqa: PLR0913, PLR0917 - as the client's
        topic: str, value: bytes, key: bytes, partition: int, report: Report, _poll: None, time: int, headers: Any
    ) -> None:
        produce(Outgoing(topic, key, value, headers, time, partition), report)

    return real.produce_all(produce_one, records, report, partitions, unnoted)


def unnoted(_error: object) -> None:
    """Nobody wants to hear of errors of the client."""


def at_once(ask: Callable[[], Answer]) -> Future[Answer]:
    """Do in this thread what needs one of its own."""
    answer = Future[Answer]()
    answer.set_result(ask())
    return answer


class Written(Protocol):
    """Hears of each record as it is written; ``late``: its producer was given up before."""

    def __call__(self, record: Produced, /, *, late: bool) -> None: ...


def unheard(_record: Produced, /, *, late: bool) -> None:
    """Nobody wants to hear of records."""
    del late


@dataclass
class ModelKafka:
    """Topics, what is wrong with them at the moment, and what was written. The lock is every producer's."""

    partitions: dict[str, int]
    written: Written
    """Called for each record as it is written."""
    logs: dict[Place, list[Produced]] = field(default_factory=lambda: defaultdict(list))
    limits: dict[str, int] = field(default_factory=dict)
    """The largest batch, in bytes of values, per topic."""
    down: set[str] = field(default_factory=set)
    """Topics whose batches fail, though no record is at fault."""
    leaderless: set[Place] = field(default_factory=set)
    """Partitions without a leader: what is produced to them waits in the client."""
    refused_at_once: set[str] = field(default_factory=set)
    """Topics the client knows to be missing."""
    client_limit: int = 10**9
    """Larger records are refused by the client itself."""
    ids: dict[str, str | None] = field(default_factory=dict)
    """Topic ids."""
    capacity: int = 10**9
    """Records one producer's queue holds."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    given_up: list[ModelProducer] = field(default_factory=list)

    def error_for(self, batch: list[Produced]) -> KafkaError | None:
        """What is wrong with a batch: it is taken whole or not at all."""
        topic = batch[0].place[0]
        if topic in self.down:
            return NO_TOPIC
        return TOO_LARGE if sum(len(record.value) for record in batch) > self.limits.get(topic, 10**9) else None

    def write(self, batch: list[Produced], *, late: bool) -> None:
        """Write a batch that nothing is wrong with."""
        for record in batch:
            self.logs[record.place].append(record)
            self.written(record, late=late)

    def recreate(self, topic: str, producers: Iterable[ModelProducer]) -> None:
        """Delete a topic and create it again: no producer is known there. What consumers have read stays read."""
        self.ids[topic] = f"{topic} {len(self.ids)} {self.ids.get(topic)}"[:60]
        for producer in producers:
            producer.forget(topic)

    def lose_leader(self, topic: str) -> None:
        """A partition of the topic has no leader."""
        self.leaderless.add((topic, 0))

    def heal(self) -> None:
        """Everything works again."""
        self.limits.clear()
        self.down.clear()
        self.leaderless.clear()
        self.refused_at_once.clear()
        self.capacity = self.client_limit = 10**9


class ModelProducer:
    """Stands where :class:`bridge.kafka.producer.IdempotentProducer` stands."""

    def __init__(self, kafka: ModelKafka, chance: random.Random, role: Role) -> None:
        self.kafka = kafka
        self.fatal: str | None = None
        self.throttle = Throttle()
        self.abandoned = False
        self.is_mute = False
        """Its records are written or refused as always, and never reported."""
        self._chance = chance
        self.role = role
        self._known: set[Place] = set()
        self._metadata = dict(kafka.partitions)  # the client looks for new partitions every five minutes only
        self._queued: dict[Place, deque[Produced]] = defaultdict(deque)
        self._sent: dict[Place, deque[list[Produced]]] = defaultdict(deque)
        self._answers: dict[Place, deque[tuple[Produced, KafkaError | None]]] = defaultdict(deque)

    # What the bridge calls

    def produce(self, record: Outgoing, report: Report) -> None:
        topic, key, value, headers, timestamp_ms, partition = record
        assert timestamp_ms > 0
        assert value is not None
        kafka = self.kafka
        with kafka.lock:
            if self.fatal is not None:
                raise ProduceFailed(FINISHED)
            if len(value) > kafka.client_limit:
                raise ProduceFailed(TOO_LARGE)
            if topic in kafka.refused_at_once:
                raise ProduceFailed(NO_TOPIC)
            if sum(map(len, self._queued.values())) >= kafka.capacity:
                raise QueueFull
            if partition >= self._metadata[topic]:
                raise ProduceFailed(NO_PARTITION)
            place = topic, partition_of(key, self._metadata[topic]) if partition < 0 else partition
            self._queued[place].append(Produced(place, key, value, tuple(headers), report))

    def produce_all(
        self, records: Sequence[Record], report: Report, partitions: Mapping[str, int]
    ) -> tuple[int, Exception | None]:
        return produce_all(self.produce, records, report, partitions)

    def flush(self, timeout: float) -> None:
        self.poll(timeout)

    def poll(self, timeout: float) -> int:
        del timeout
        with self.kafka.lock:
            self._live(self._chance.randrange(12))
            due = [] if self.is_mute else self._due(self._chance.choice((0, 1, 3, 1000)))
        for record, error in due:
            if error is not None and scope_of(error) is ErrorScope.FATAL:
                self.fatal = self.fatal or in_words(error)
            record.report(error, record)
        return len(due)

    def abandon(self) -> None:
        """Reports that are known run, perhaps those of what was still queued; what is on the wire may arrive, later."""
        with self.kafka.lock:
            self.abandoned = True
            if self._chance.random() < 0.5:
                for place, queue in self._queued.items():
                    self._answers[place].extend((record, PURGED) for record in queue)
            self._queued.clear()
            due = [] if self.is_mute else self._due(10**9)
            self.kafka.given_up.append(self)
        for record, error in due:
            record.report(error, record)

    @property
    def outstanding(self) -> int:
        places = (self._queued, self._sent, self._answers)
        return sum(len(each) for queues in places for each in queues.values())

    def has_leaders(self, topics: object, timeout: float) -> bool:
        del topics, timeout
        return True

    def answers(self, topic: str, timeout: float) -> bool:
        del topic, timeout
        return True

    # What the world does

    def forget(self, topic: str) -> None:
        """Kafka does not know this producer in the topic any more."""
        self._known = {place for place in self._known if place[0] != topic}

    def fail(self, *, is_crash: bool = False) -> None:
        """A fatal error: of what is on its way, any beginning of each partition's may have been written.

        Where Kafka does not know the producer, the first batch may be missing: it accepts any first number.
        """
        with self.kafka.lock:
            self.fatal = in_words(FINISHED)
            for place, batches in self._sent.items():
                if place not in self._known and len(batches) > 1 and not is_crash and self._chance.random() < 0.5:
                    batches.popleft()
                self._write_some(batches, self._chance.choice((0, 1, 5)))

    def arrive_late(self) -> None:
        """Some of what was on the wire when the producer was given up is written, or lost."""
        with self.kafka.lock:
            for batches in self._sent.values():
                self._write_some(batches, self._chance.choice((0, 1, 5)))
            if not any(self._sent.values()):
                self.kafka.given_up.remove(self)

    def _write_some(self, batches: deque[list[Produced]], most: int) -> None:
        # Stops where one is refused: nobody hears of that refusal, and what came behind it would stand in its place.
        while most and batches and self.kafka.error_for(batches[0]) is None:
            self._write(batches)
            most -= 1
        if most:
            batches.clear()

    def _live(self, steps: int) -> None:
        for _ in range(steps):
            if self.fatal is not None:
                return  # it sends nothing more
            moving = [place for place, queue in self._queued.items() if queue and place not in self.kafka.leaderless]
            if moving and self._chance.random() < 0.5:
                self._send(self._chance.choice(moving))
            on_wire = [place for place, batches in self._sent.items() if batches]
            if on_wire and self._chance.random() < 0.7:
                self._write(self._sent[self._chance.choice(on_wire)])

    def _send(self, place: Place) -> None:
        queue = self._queued[place]
        if len(self._sent[place]) < 5:
            size = min(len(queue), self._chance.choice((1, 2, 5, 20)))
            if self.role is Role.ISOLATION:
                size = len(queue)  # a flush sends one request
            self._sent[place].append([queue.popleft() for _ in range(size)])

    def _write(self, batches: deque[list[Produced]]) -> None:
        batch = batches.popleft()
        error = self.kafka.error_for(batch)
        place = batch[0].place
        if error is None:
            self.kafka.write(batch, late=self.abandoned)
            self._known.add(place)
        elif self.role is Role.EVENTS:  # the broker takes nothing behind a gap, and the client ends over it
            if place in self._known:
                batches.clear()
            self.fatal = in_words(error)
            self._write_some(batches, 4)  # of a producer it does not know it takes any first number that is on the wire
        self._answers[batch[0].place].extend((record, error) for record in batch)

    def _due(self, most: int) -> list[tuple[Produced, KafkaError | None]]:
        due = []
        for _ in range(most):
            places = [place for place, answers in self._answers.items() if answers]
            if not places:
                break
            due.append(self._answers[self._chance.choice(places)].popleft())
        return due
