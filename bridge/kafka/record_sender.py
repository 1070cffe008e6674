"""Records that a command sends: each one is acknowledged, or it is told that it was not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from bridge.clock import monotonic
from bridge.errors import FatalFault, Unreachable
from bridge.kafka.errors import ProduceError, in_words
from bridge.kafka.producer import IdempotentProducer, ProduceFailed, ProducerSettings, QueueFull, Role

_PATIENCE = 30.0
"""Seconds without any answer after which Kafka is given up."""
_MOST_IN_FLIGHT = 1000
_MOST_BYTES = 32 * 1024 * 1024


class Outgoing(NamedTuple):
    """One record to send. ``partition`` -1: by its key, as Java clients do; no value is a tombstone."""

    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int
    partition: int = -1


Outcome = Callable[[str | None], None]
"""Told once for each record: None when Kafka has acknowledged it, else why it never will. Not told after an error of
``send`` or ``settle``: what was in flight then is not known."""


class RecordSender:
    """Sends records, acks from all replicas, idempotent, each in a batch of its own: one refused costs no other.

    Thread rule: one thread; outcomes are told in it, in ``send`` and ``settle``.
    """

    def __init__(self, config: Mapping[str, Any], max_request_bytes: int) -> None:
        self._producer = IdempotentProducer(ProducerSettings(config, max_request_bytes), Role.TRIAL)
        self._in_flight = 0
        self._bytes = 0
        self._answered = monotonic()
        self._is_over = False

    def send(self, record: Outgoing, outcome: Outcome) -> None:
        """Send one record, waiting for room. Raises ``Unreachable`` or ``FatalFault`` when no answer is to come."""
        size = len(record.value or b"")
        while self._in_flight >= _MOST_IN_FLIGHT or self._bytes > _MOST_BYTES:
            self._wait()
        if not self._in_flight:
            self._answered = monotonic()  # nothing was asked, so nothing was to be answered
        while not self._taken(record, outcome, size):
            self._wait()

    def settle(self) -> None:
        """Return once every record is acknowledged or refused; raises as ``send``."""
        while self._in_flight:
            self._wait()

    def _taken(self, record: Outgoing, outcome: Outcome, size: int) -> bool:
        report = partial(self._report, outcome, size)
        try:
            self._producer.produce(
                record.topic, record.value, record.key, record.headers, record.timestamp_ms, report, record.partition
            )
        except QueueFull:
            return False
        except ProduceFailed as failure:
            outcome(str(failure))
            return True
        self._in_flight += 1
        self._bytes += size
        return True

    def _report(self, outcome: Outcome, size: int, error: ProduceError | None, _message: object) -> None:
        if self._is_over:
            return  # purged: whether it was on its way already nobody knows
        self._in_flight -= 1
        self._bytes -= size
        self._answered = monotonic()
        outcome(None if error is None else in_words(error))

    def _wait(self) -> None:
        self._producer.poll(0.2)
        trouble = f"{self._in_flight} records are not acknowledged, and may be in Kafka all the same"
        if self._producer.fatal is not None:
            raise FatalFault(f"Kafka: {self._producer.fatal}; {trouble}")
        if self._in_flight and monotonic() - self._answered > _PATIENCE:
            self._is_over = True
            self._producer.abandon()
            raise Unreachable(f"Kafka: no acknowledgement for {_PATIENCE:g} s; {trouble}")
