"""Keeps the age of Kafka's last answer young while nothing is delivered, and logs when Kafka is silent."""

from __future__ import annotations

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.delivery.protocol import Delivery
from bridge.observe.health import KAFKA_LIMIT

log = get_logger("bridge.daemon")

_PROBE_AFTER = 3.0
"""Seconds without an answer after which Kafka is asked: ``/readyz`` needs an answer every 10 s."""
_PROBE_TIMEOUT = 1.0


class KafkaProbe:
    """Asks Kafka for the checkpoints topic. Thread rule: the main thread."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._is_silent = False

    def check(self) -> None:
        """Ask if the last answer is old; log a change between silent and answering."""
        if self._silence() > _PROBE_AFTER:
            self._delivery.kafka_answers(_PROBE_TIMEOUT)
        silence = self._silence()
        if (silence > KAFKA_LIMIT) == self._is_silent:
            return
        self._is_silent = not self._is_silent
        if self._is_silent:
            log.warning(
                "Kafka does not answer: events wait in memory, delivery is retried for ever", silent_for=silence
            )
        else:
            log.info("Kafka answers again")

    def _silence(self) -> float:
        return 0.0 if self._delivery.last_answer is None else monotonic() - self._delivery.last_answer
