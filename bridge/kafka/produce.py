"""Handing records over to the client: one loop, and the two reasons why it does not take a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message

from bridge.kafka.errors import error_of, in_words
from bridge.kafka.record_clock import RECORD_CLOCK

Report = Callable[[KafkaError | None, Message], None]


class QueueFull(Exception):
    """The producer's queue, or the memory of the process, is full: keep the record, poll, produce it again."""


class ProduceFailed(Exception):
    """The client refused the record, and no delivery report will come."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(in_words(error))
        self.error = error


class Fields(Protocol):
    """A record: topic, key, value, headers, timestamp in milliseconds, and one more that is not looked at."""

    def __iter__(self) -> Iterator[Any]: ...


def produce_all(
    produce: Callable[..., None],
    records: Iterable[Fields],
    report: Report,
    partitions: Mapping[str, int],
    note: Callable[[KafkaException], None],
) -> tuple[int, Exception | None]:
    """Produce records in order, up to the first one that the client does not take; ``partitions``: by topic.

    Returns how many it took, and why it did not take the next one: nothing newer may be produced before that one. It
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


ProduceAll = Callable[[Iterable[Fields], Report, Mapping[str, int]], tuple[int, Exception | None]]
"""Produces records in order, up to the first one that the client does not take: see :func:`produce_all`."""
