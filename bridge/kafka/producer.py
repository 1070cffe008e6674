"""The idempotent producer: records in, delivery reports out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from confluent_kafka import KafkaException

from bridge.clock import monotonic
from bridge.kafka.client import ProducerClient, Report
from bridge.kafka.config import below, client_logger
from bridge.kafka.errors import error_of, in_words


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """What is needed to create a producer, and to replace it after a fatal error."""

    config: Mapping[str, Any]
    """By librdkafka's names; the limits below are not among them."""
    batch_bytes: int
    """Of a batch of several records: at most the smallest ``max.message.bytes``, Kafka refuses a larger batch whole."""
    message_bytes: int = 0
    """Of the largest single record: at least the largest ``max.message.bytes``; 0: ``batch_bytes``."""

    def properties(self, linger_ms: int, own: Mapping[str, Any]) -> dict[str, Any]:
        """A producer's configuration: what protects delivery is fixed here, the rest comes from the settings."""
        largest, batch = max(self.message_bytes, self.batch_bytes), min(self.batch_bytes, 1_000_000)
        sizes = {"message.max.bytes": largest, "batch.size": batch}
        return below({"linger.ms": linger_ms}, self.config) | {**DELIVERY, **sizes, **own}


_LINGER_KEYS = frozenset({"linger.ms", "queue.buffering.max.ms"})
_WINDOW = 0.1
"""Seconds over which the load is measured."""
_HIGH = 2000
"""Records a second. Below, a request for each record costs at most a tenth of a core, here and in the broker each."""
_FLUSH = 0.005
"""Seconds of one flush at most: what comes meanwhile is sent at once too."""

DELIVERY: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    # A record that expires and is produced again lands out of order: nothing expires, the window bounds memory.
    "message.timeout.ms": 0,
    # As Java clients do, so that a key is in the same partition whoever wrote it.
    "partitioner": "murmur2_random",
    # The bridge's own window is the limit (delivery.max_in_flight, max_buffer_bytes); the queue must never be it.
    "queue.buffering.max.messages": 10_000_000,
    "queue.buffering.max.kbytes": 2_097_151,
}


class Role(Enum):
    """What a producer is for."""

    EVENTS = "events"
    """Events and dead letters. It ends with a fatal error when Kafka refuses a batch, so no record behind a refused one
    reaches the partition (KIP-98 sequence numbers, librdkafka's gap-less guarantee). Without that, a process that is
    killed after the refusal would send the refused record again under a number that consumers have passed. Kafka
    guarantees it only after the producer's first acknowledged batch in a partition: a first record goes alone."""
    CHECKPOINTS = "checkpoints"
    """Checkpoints: each one replaces the one before it, so a gap hides nothing."""
    SINGLE = "single"
    """Each record is a request of its own: claims, replayed dead letters."""
    ISOLATION = "isolation"
    """One request at a time, sent by a flush, to find the record that Kafka refuses. A refusal ends nothing."""


_OF_ROLE: Mapping[Role, Mapping[str, Any]] = {
    Role.EVENTS: {"enable.gapless.guarantee": True},
    Role.CHECKPOINTS: {},
    Role.SINGLE: {"batch.num.messages": 1},
    Role.ISOLATION: {"batch.num.messages": 10_000},
}
_LINGER = {Role.EVENTS: 5, Role.CHECKPOINTS: 1, Role.SINGLE: 0, Role.ISOLATION: 100}
"""Milliseconds. Shorter ones cost throughput: with 2 ms a busy session took 1.2 times the processor time, with 0 ms
1.4 times. Events linger only while many come: see :class:`Load`. Checkpoints are produced many at a time."""


def producer_config(settings: ProducerSettings, role: Role) -> dict[str, Any]:
    """The configuration of an idempotent producer."""
    return settings.properties(_LINGER[role], _OF_ROLE[role])


class Load:
    """Measures whether so many records come that it pays to collect them.

    Thread rule: ``taken`` any thread (two at once may count one call: an estimate is enough), the rest the polling one.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self.taken = 0
        """Records that the client took so far."""
        self._now = now
        self._before, self._since = 0, now()
        self._is_high = False

    @property
    def is_high(self) -> bool:
        """Whether more than 2,000 records a second came, of late."""
        taken, now = self.taken, self._now()
        seconds = now - self._since
        if seconds >= _WINDOW:
            self._is_high = taken - self._before > _HIGH * seconds
            self._before, self._since = taken, now
        return self._is_high


class IdempotentProducer(ProducerClient):
    """One producer, shared by all sessions.

    Thread rule: any thread produces, one thread polls; reports run in the polling thread.
    """

    def __init__(self, settings: ProducerSettings, role: Role) -> None:
        super().__init__(settings.config, producer_config(settings, role), client_logger(role.value))
        may_send_at_once = role is Role.EVENTS and settings.config.keys().isdisjoint(_LINGER_KEYS)
        self._load = Load() if may_send_at_once else None
        self.always_lingers = False
        """Set by the polling thread while it cannot wake up for each record: its turns cost too much."""
        self._has_more = threading.Event()

    def produce_all(
        self, records: Iterable[Any], report: Report, partitions: Mapping[str, int], /
    ) -> tuple[int, Exception | None]:
        """Produce records, and wake the thread that polls: few records are sent at once (any thread)."""
        outcome = super().produce_all(records, report, partitions)
        if self._load is not None:
            self._load.taken += outcome[0]
            if not self._has_more.is_set():
                self._has_more.set()
        return outcome

    def poll(self, timeout: float) -> None:
        """Run the reports that are due, waiting up to ``timeout`` seconds for the first.

        While few events come they do not linger, because a flush sends them at once.
        """
        try:
            if not timeout or self._load is None or self.always_lingers or self._load.is_high:
                self._producer.poll(timeout)
            elif self._has_more.wait(0 if self.outstanding else timeout):
                self._has_more.clear()
                self._producer.flush(_FLUSH)
            else:
                self._producer.poll(timeout if self.outstanding else 0)
        except Exception as exception:  # noqa: BLE001 - a fatal error comes out here, and not always as KafkaException
            self._fail(exception)

    def flush(self, timeout: float) -> None:
        """Send what is queued now, and run reports, for up to ``timeout`` seconds."""
        try:
            self._producer.flush(timeout)
        except Exception as exception:  # noqa: BLE001 - as in poll
            self._fail(exception)

    def _fail(self, exception: Exception) -> None:
        error = error_of(exception)
        self.fatal = in_words(error) if error else repr(exception)

    @property
    def outstanding(self) -> int:
        """Records without a report."""
        return len(self._producer)

    def has_leaders(self, topics: Container[str], timeout: float) -> bool:
        """Whether a broker answers within ``timeout`` seconds, and all partitions of these topics have leaders.

        Any thread. It asks for all topics of the cluster: naming one may make a broker create it.
        """
        try:
            found = self._producer.list_topics(timeout=timeout).topics.items()
        except (KafkaException, AttributeError):  # or abandoned meanwhile
            return False
        own = (topic for name, topic in found if name in topics)
        return all(partition.leader >= 0 for topic in own for partition in topic.partitions.values())

    def answers(self, topic: str, timeout: float) -> bool:
        """Whether a broker answers a metadata request within ``timeout`` seconds (any thread)."""
        try:
            self._producer.list_topics(topic, timeout)
        except (KafkaException, AttributeError):  # or abandoned meanwhile
            return False
        return True
