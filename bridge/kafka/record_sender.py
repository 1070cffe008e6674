"""Sends the records of a command and reports the outcome of each one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bridge.clock import monotonic
from bridge.errors import FatalFault, Unreachable
from bridge.kafka.client import Outgoing, ProduceFailed, QueueFull
from bridge.kafka.errors import ProduceError, in_words, is_for_age
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from bridge.kafka.record_clock import RECORD_CLOCK

Outcome = Callable[[str | None], None]
"""Called once for each record: with None when Kafka acknowledged it, else with the reason why it never will. It is not
called after an error of ``send`` or ``settle``: the outcome of the records in flight is then unknown."""


class RecordSender:
    """Sends records with an idempotent producer, each in its own batch: a refused record costs no other.

    Thread rule: one thread; ``send`` and ``settle`` call the outcomes.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        max_request_bytes: int,
        *,
        most_records: int = 1000,
        most_bytes: int = 32 * 1024 * 1024,
        timeout: float = 30.0,
    ) -> None:
        """``most_records``, ``most_bytes``: in flight.

        ``timeout``: seconds without any acknowledgement after which Kafka counts as unreachable.
        """
        self._producer = IdempotentProducer(ProducerSettings(config, max_request_bytes), Role.SINGLE)
        self._most_records, self._most_bytes, self._timeout = most_records, most_bytes, timeout
        self._in_flight = 0
        self._bytes = 0
        self._answered = monotonic()
        self._is_over = False
        self._again: list[tuple[Outgoing, Outcome]] = []
        """Records whose timestamp Kafka refused: they are sent again with another one."""

    def send(self, record: Outgoing, outcome: Outcome) -> None:
        """Send one record; waits while too many are in flight. Raises ``Unreachable``, ``FatalFault``."""
        size = len(record.value or b"")
        while self._in_flight >= self._most_records or self._bytes > self._most_bytes:
            self._wait()
        if not self._in_flight:
            self._answered = monotonic()
        while not self._produce(record, outcome, size):
            self._wait()

    def settle(self) -> None:
        """Wait until every record is acknowledged or refused; raises as ``send``."""
        while self._in_flight or self._again:
            while self._again:
                self.send(*self._again.pop(0))
            self._wait()

    def _produce(self, record: Outgoing, outcome: Outcome, size: int) -> bool:
        report = partial(self._report, record, outcome, size)
        try:
            self._producer.produce(record, report)
        except QueueFull:
            return False
        except ProduceFailed as failure:
            outcome(str(failure))
            return True
        self._in_flight += 1
        self._bytes += size
        return True

    def _report(
        self, record: Outgoing, outcome: Outcome, size: int, error: ProduceError | None, _message: object
    ) -> None:
        if self._is_over:
            return  # purged: Kafka may have it or not
        self._in_flight -= 1
        self._bytes -= size
        self._answered = monotonic()
        if error is not None and is_for_age(error) and not RECORD_CLOCK.is_refused:
            RECORD_CLOCK.refused()
            self._again.append((record, outcome))
            return
        outcome(None if error is None else in_words(error))

    def _wait(self) -> None:
        self._producer.poll(0.2)
        unknown = f"{self._in_flight} records are not acknowledged, and may be in Kafka anyway"
        if self._producer.fatal is not None:
            raise FatalFault(f"Kafka: {self._producer.fatal}; {unknown}")
        if self._in_flight and monotonic() - self._answered > self._timeout:
            self._is_over = True
            self._producer.abandon()
            raise Unreachable(f"Kafka: no acknowledgement for {self._timeout:g} s; {unknown}")
