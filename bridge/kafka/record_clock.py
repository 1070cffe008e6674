"""The timestamps of records while Kafka refuses the time of this machine.

Kafka 4 refuses a record whose timestamp is more than an hour ahead of the broker's clock
(``message.timestamp.after.max.ms``). No such record could ever be sent again, so everything would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from structlog.stdlib import get_logger

from bridge.clock import clock_difference, monotonic, unix_ms

log = get_logger("bridge.kafka")

NO_TIMESTAMP = -1
"""Kafka accepts a record without a timestamp from any clock (``RecordBatch.NO_TIMESTAMP``)."""
_AGAIN = 600.0
"""Seconds after which our own time is tried again: a refused batch costs a new producer."""
_EARLIEST = 946_684_800_000
"""The year 2000: the embedded Kafka of the demo has a clock that begins with its start."""
_BY_BROKER = 2
"""The kind of a message's timestamp that the broker set (``message.timestamp.type=LogAppendTime``)."""


class RecordClock:
    """Whether records carry our own time, and how far it is ahead of the brokers'.

    A process has one clock, so there is one of these. Thread rule: any thread; each attribute is written at once.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._refused_at = -inf
        self._ahead_ms: int | None = None

    @property
    def is_refused(self) -> bool:
        """Whether Kafka refused a record that had our present time."""
        return self._now() - self._refused_at < _AGAIN

    def refused(self) -> None:
        """Note that Kafka refused a record with our present time."""
        if not self.is_refused:
            log.error(
                "Kafka refuses the time of this machine: records are sent with the brokers' time, or without one",
                ahead=self.ahead,
                fix="synchronise the clocks (NTP), or raise message.timestamp.after.max.ms on the topics",
            )
        self._refused_at = self._now()

    def compare(self, stamp: tuple[int, int], sent_ms: int) -> None:
        """Compare the clocks by the timestamp of a record that was sent at ``sent_ms``, if a broker set it."""
        kind, broker_ms = stamp
        if kind != _BY_BROKER or broker_ms < _EARLIEST:
            return
        answered_ms = unix_ms()
        # The broker's time lies between the two moments.
        ahead_ms = max(0, sent_ms - broker_ms) or min(0, answered_ms - broker_ms)
        was, self._ahead_ms = self._ahead_ms, ahead_ms
        problem = clock_difference(ahead_ms / 1000, "the brokers")
        if problem is not None and clock_difference((was or 0) / 1000, "the brokers") is None:
            log.error("the clocks of this machine and of the brokers differ", problem=problem)

    @property
    def ahead(self) -> float | None:
        """Seconds that this machine is ahead of the brokers (negative: behind); None: not known."""
        return None if self._ahead_ms is None else self._ahead_ms / 1000

    def of(self, ours_ms: int) -> int:
        """Return the timestamp of a record that has this time by our clock, in Unix milliseconds."""
        if not self.is_refused:
            return ours_ms
        return NO_TIMESTAMP if self._ahead_ms is None else ours_ms - self._ahead_ms

    def producing(self, produce: Callable[..., None]) -> Callable[..., None]:
        """Return the client's function, or one that replaces the timestamp while ours is refused."""
        if not self.is_refused:
            return produce

        def produce_at(*fields: Any) -> None:  # noqa: ANN401 - the client's arguments: the seventh is the timestamp
            produce(*fields[:6], self.of(fields[6]), *fields[7:])

        return produce_at


RECORD_CLOCK = RecordClock()
