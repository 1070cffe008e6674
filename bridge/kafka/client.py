"""Handing records over to a Kafka client, how it fails, and how it ends: the same for both kinds of producers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer, ThrottleEvent

from bridge.clock import monotonic
from bridge.kafka.config import follow, settings_judged
from bridge.kafka.connection_failures import ClientErrors
from bridge.kafka.errors import ErrorScope, error_of, in_words, scope_of
from bridge.kafka.record_clock import RECORD_CLOCK

Report = Callable[[KafkaError | None, Message], None]


class QueueFull(Exception):
    """The producer's queue, or the memory of the process, is full: keep the record, poll, produce it again."""


class ProduceFailed(Exception):
    """The client refused the record, and no delivery report will come."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(in_words(error))
        self.error = error


class Outgoing(NamedTuple):
    """One record to send. ``partition`` -1: chosen by the key, as Java clients do. Without a value: a tombstone."""

    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int
    partition: int = -1


def produce_all(
    produce: Callable[..., None],
    records: Iterable[Any],
    report: Report,
    partitions: Mapping[str, int],
    note: Callable[[KafkaException], None],
) -> tuple[int, Exception | None]:
    """Produce records in order, up to the first one that the client does not take; ``partitions``: by topic.

    Each is a tuple: topic, key, value, headers, timestamp in milliseconds, and one more that is not looked at. Returns
    how many it took, and why it did not take the next one: nothing newer may be produced before that one. It
    raises nothing: a batch with records of which nobody knows whether they were taken would wait for ever.
    """
    taken = 0
    produce = RECORD_CLOCK.producing(produce)
    try:
        for topic, key, value, headers, timestamp_ms, _ in records:
            produce(topic, value, key, partitions[topic], report, None, timestamp_ms, headers)
            taken += 1
    except (BufferError, MemoryError):
        return taken, QueueFull()
    except KafkaException as exception:
        failure = error_of(exception)
        if failure is None:
            return taken, exception
        note(exception)
        # A transaction that failed before takes nothing: this record is not the reason.
        return taken, QueueFull() if failure.code() == KafkaError._STATE else ProduceFailed(failure)
    except Exception as bug:  # noqa: BLE001 - returned like any other reason
        return taken, bug
    return taken, None


ProduceAll = Callable[[Iterable[Any], Report, Mapping[str, int]], tuple[int, Exception | None]]
"""Produces records in order, up to the first one that the client does not take, as :func:`produce_all` does."""


_LAST_REPORTS = 0.1
"""Seconds at most for the reports of a purged client: they took 0.2 ms on a busy machine."""


class Throttle:
    """Until when the brokers delay one producer, because a client quota is used up (KIP-219).

    Thread rule: the thread that polls notes; any thread reads.
    """

    def __init__(self) -> None:
        self.until = -inf
        """By :func:`bridge.clock.monotonic`. The broker answers no request on the connection before."""

    def note(self, event: ThrottleEvent) -> None:
        """The client's ``throttle_cb``."""
        self.until = max(self.until, monotonic() + event.throttle_time)


class ProducerClient:
    """One client. Thread rule: any thread produces, one thread polls; reports run in the polling thread."""

    def __init__(
        self, live: Mapping[str, Any], config: Mapping[str, Any], logger: ClientErrors | logging.LoggerAdapter[Any]
    ) -> None:
        """``live`` gives later logins; ``config``: the client's. Raises ``SettingsError``."""
        self.throttle = Throttle()
        self.fatal: str | None = None
        """The fatal error; None while the producer can be used."""
        values = {"error_cb": self._judge, "throttle_cb": self.throttle.note, **config}
        with settings_judged():
            self._producer = Producer(values, logger=logger)
        self._produce: Callable[..., None] = self._producer.produce
        follow(live, self, values)

    def set_credentials(self, username: str, password: str) -> None:
        """Use these at the next authentication (any thread)."""
        with suppress(AttributeError):  # abandoned meanwhile
            self._producer.set_sasl_credentials(username, password)

    def produce(self, record: Outgoing, report: Report) -> None:
        """Hand a record over; raises :class:`QueueFull` or :class:`ProduceFailed`. ``report``: its delivery report."""
        _, failure = self.produce_all((record,), report, {record.topic: record.partition})
        if failure is not None:
            raise failure

    def produce_all(
        self, records: Iterable[Any], report: Report, partitions: Mapping[str, int], /
    ) -> tuple[int, Exception | None]:
        """Produce records in order, up to the first one that the client does not take (any thread).

        Returns how many it took, and why not the next one; it raises nothing.
        """
        return produce_all(self._produce, records, report, partitions, self._note)

    def abandon(self) -> None:
        """Purge the client's records, run their reports, and end the client.

        A fatal error is known before the reports of the batch that caused it. Without them a batch that Kafka refused
        would count as lost, so it would go to the next shared producer and end that one too.

        Nothing may be called afterwards but ``set_credentials``, and what says that it answers then. Client and owner
        refer to each other, so without the ``del`` its threads and connections would live until the garbage is
        collected. The end waits for its threads, so another thread does it.
        """
        last = [self._producer]
        del self._produce, self._producer
        last[0].purge()
        self._run_last_reports(last[0])
        try:
            threading.Thread(target=last.clear, name="end of a Kafka client", daemon=True).start()
        except RuntimeError:  # the limit of threads
            last.clear()

    def _run_last_reports(self, producer: Producer) -> None:
        wait, end = 0.0, monotonic() + _LAST_REPORTS
        while wait >= 0:
            try:
                producer.poll(wait)
            except Exception as exception:  # noqa: BLE001 - fatal errors are raised before the reports run
                self._note(exception)
            else:
                if not len(producer):
                    return
            wait = end - monotonic()

    def _note(self, exception: Exception) -> None:
        error = error_of(exception)
        if error is None:
            self.fatal = self.fatal or repr(exception)
        else:
            self._judge(error)

    def _judge(self, error: KafkaError) -> None:
        if scope_of(error) is ErrorScope.FATAL:
            self.fatal = self.fatal or in_words(error)
