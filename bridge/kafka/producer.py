"""The idempotent producer: records in, delivery reports out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from bridge.kafka.config import below, client_logger, settings_judged
from bridge.kafka.ending import end_client
from bridge.kafka.errors import ErrorScope, error_of, in_words, scope_of
from bridge.kafka.live_config import follow
from bridge.kafka.load import Load
from bridge.kafka.produce import Fields, Report, produce_all, produce_one
from bridge.kafka.throttle import Throttle


@dataclass(frozen=True, slots=True)
class ProducerSettings:
    """What is needed to create a producer, and to replace it after a fatal error."""

    config: Mapping[str, Any]
    """By librdkafka's names; the limits below are not among them."""
    batch_bytes: int
    """Of a batch of several records: at most the smallest ``max.message.bytes``, Kafka refuses a larger batch whole."""
    message_bytes: int = 0
    """Of the largest single record: at least the largest ``max.message.bytes``; 0: ``batch_bytes``."""

    @property
    def limits(self) -> Mapping[str, int]:
        """The size limits by librdkafka's names."""
        return {
            "message.max.bytes": max(self.message_bytes, self.batch_bytes),
            "batch.size": min(self.batch_bytes, 1_000_000),
        }


_LINGER_KEYS = frozenset({"linger.ms", "queue.buffering.max.ms"})
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
    """The producer's configuration: what protects delivery is fixed here, the rest comes from the settings."""
    return (
        below({"linger.ms": _LINGER[role]}, settings.config)
        | dict(DELIVERY)
        | dict(settings.limits)
        | dict(_OF_ROLE[role])
    )


class IdempotentProducer:
    """One producer, shared by all sessions.

    Thread rule: any thread produces, one thread polls; reports run in the polling thread.
    """

    def __init__(self, settings: ProducerSettings, role: Role) -> None:
        self.throttle = Throttle()
        config = producer_config(settings, role) | {"error_cb": self._on_error, "throttle_cb": self.throttle.note}
        self.fatal: str | None = None
        """The fatal error; None while the producer can be used."""
        with settings_judged():
            self._producer = Producer(config, logger=client_logger(role.value))
        self._produce: Callable[..., None] = self._producer.produce
        may_send_at_once = role is Role.EVENTS and settings.config.keys().isdisjoint(_LINGER_KEYS)
        self._load = Load() if may_send_at_once else None
        self.always_lingers = False
        """Set by the polling thread while it cannot wake up for each record: its turns cost too much."""
        self._has_more = threading.Event()
        follow(settings.config, self, config)

    def set_credentials(self, username: str, password: str) -> None:
        """Use these at the next authentication (any thread)."""
        with suppress(AttributeError):  # abandoned meanwhile
            self._producer.set_sasl_credentials(username, password)

    produce = produce_one

    def produce_all(
        self, records: Iterable[Fields], report: Report, partitions: Mapping[str, int], /
    ) -> tuple[int, Exception | None]:
        """See :func:`produce_all`; any thread."""
        outcome = produce_all(self._produce, records, report, partitions, self._note_exception)
        self._note_taken(outcome[0])
        return outcome

    def _note_taken(self, records: int) -> None:
        if self._load is not None:
            self._load.taken += records
            if not self._has_more.is_set():
                self._has_more.set()

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
            error = error_of(exception)
            self.fatal = in_words(error) if error else repr(exception)

    def flush(self, timeout: float) -> None:
        """Send what is queued now, and run reports, for up to ``timeout`` seconds."""
        try:
            self._producer.flush(timeout)
        except Exception as exception:  # noqa: BLE001 - as in poll
            error = error_of(exception)
            self.fatal = in_words(error) if error else repr(exception)

    def abandon(self) -> None:
        """Purge the queue, and end the client: reports that are already known run, the others never will.

        Nothing may be called afterwards but ``answers``, ``has_leaders`` and ``set_credentials``.
        """
        last = [self._producer]
        del self._produce, self._producer
        end_client(last, self._note_last)

    def _note_last(self, exception: Exception) -> None:
        self.fatal = self.fatal or repr(exception)

    def _note_exception(self, exception: KafkaException) -> None:
        error = error_of(exception)
        if error is not None:
            self._note(error)

    def _on_error(self, error: KafkaError) -> None:
        self._note(error)

    def _note(self, error: KafkaError) -> None:
        if scope_of(error) is ErrorScope.FATAL and self.fatal is None:
            self.fatal = in_words(error)

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
