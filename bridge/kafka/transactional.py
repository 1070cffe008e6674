"""The transactional producer of one shard: records in, all of them committed or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from bridge.clock import monotonic
from bridge.core.durations import COMMIT_BOUNDS, Histogram
from bridge.kafka.client import ProducerClient
from bridge.kafka.connection_failures import LOG_LEVEL, ClientErrors
from bridge.kafka.errors import error_of, in_words
from bridge.kafka.producer import ProducerSettings
from bridge.settings.naming import TRANSACTION_TIMEOUT


class Verdict(Enum):
    """The outcome of a call that ends a transaction or initialises the transactional id."""

    DONE = auto()
    FENCED = auto()
    """A newer producer has the transactional id, or the brokers aborted the transaction after its time-out: both give
    the same error. Whether a commit that got this error was applied before it is not known."""
    UNKNOWN = auto()
    """It was done, will be done, or never. librdkafka does not implement transactions version 2 (KIP-890), so the
    brokers may apply a delayed request to the next transaction of the same producer. Only a new producer, whose epoch
    fences that request, may continue."""


@dataclass(frozen=True, slots=True)
class TransactionTimeouts:
    """Time-outs, in seconds, of the calls that end a transaction.

    The brokers abort a transaction at ``transaction``. The interval, ``flush`` and twice ``end`` add up to less, so the
    brokers' time-out means that this process stalled. ``end`` is also less than librdkafka's request time-out, so the
    client never repeats an unanswered request without our knowledge.
    """

    transaction: float = TRANSACTION_TIMEOUT
    flush: float = 20.0
    """For all records of a transaction, while some are being acknowledged."""
    stuck: float = 4.0
    """While none is acknowledged. A broker restarts in less; a longer wait would delay the shard's other sessions."""
    end: float = 8.0
    """For a commit, an abort, or ``init_transactions``."""


_LINGER = 25
"""Milliseconds. Each shard has its own producer, so batches fill more slowly than in a shared one. It adds no latency,
because the end of a transaction flushes what is left."""
_REPEATED_AFTER = 30.0
"""Seconds in which librdkafka reports the same connection failure only once."""


def transactional_config(
    settings: ProducerSettings, transactional_id: str, timeouts: TransactionTimeouts
) -> dict[str, Any]:
    """The configuration of a transactional producer."""
    own = {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": round(timeouts.transaction * 1000),
        # The commit acknowledges all records, so only failures need a delivery report.
        "delivery.report.only.error": True,
        # Only the log reports an orderly close of a connection: see ClientErrors.
        "log_level": LOG_LEVEL,
        "log.connection.close": True,
    }
    return settings.properties(_LINGER, own)


class TransactionalProducer(ProducerClient):
    """One shard's producer.

    Thread rule: any thread produces; everything else is the shard's thread. Only ``init``, ``flush``, ``commit`` and
    ``abort`` wait, and not longer than their time-out.
    """

    def __init__(
        self,
        settings: ProducerSettings,
        transactional_id: str,
        timeouts: TransactionTimeouts,
        commit_duration: Histogram | None = None,
    ) -> None:
        self._errors = ClientErrors(settings.config, "shards", int(settings.config.get("log_level", LOG_LEVEL)))
        config = transactional_config(settings, transactional_id, timeouts) | {"error_cb": self._on_error}
        super().__init__(settings.config, config, self._errors)
        self.is_fenced = False
        self.has_begun = False
        self.trouble: str | None = None
        """The error of the last call that failed."""
        self._began_at = 0.0
        self._commit_duration = commit_duration or Histogram(COMMIT_BOUNDS)

    def init(self, timeout: float) -> Verdict:
        """Fence the former producer of this transactional id; the brokers abort its open transaction."""
        return self._end(self._producer.init_transactions, timeout)

    def begin(self) -> None:
        """Begin a transaction, or keep an empty one: the client sends nothing before its first record."""
        self._began_at = monotonic()
        if self.has_begun:
            return
        self.has_begun = True
        try:
            self._producer.begin_transaction()
        except KafkaException as exception:
            self._note(exception)
            self.fatal = self.fatal or str(exception)  # after any error the producer cannot be used

    def poll(self) -> None:
        """Run the delivery reports that are due."""
        try:
            self._producer.poll(0)
        except Exception as exception:  # noqa: BLE001 - a fatal error comes out here, and not always as KafkaException
            self._note(exception)

    def flush(self, timeout: float) -> int:
        """Send, and run reports, for up to ``timeout`` seconds; returns how many records are not acknowledged yet."""
        try:
            return self._producer.flush(timeout)
        except Exception as exception:  # noqa: BLE001 - as poll
            self._note(exception)
            return len(self._producer)

    def commit(self, timeout: float) -> Verdict:
        """Commit; call it only after a complete flush without a failure."""
        began = monotonic()
        verdict = self._end(self._producer.commit_transaction, timeout)
        if verdict is Verdict.DONE:
            self._commit_duration.observe(monotonic() - began)
        return verdict

    def abort(self, timeout: float) -> Verdict:
        """Abort the transaction; queued records get a report with a purge error."""
        return self._end(self._producer.abort_transaction, timeout)

    @property
    def was_disturbed(self) -> bool:
        """Whether a connection broke in the present transaction, or just before it.

        librdkafka then repeats an unanswered request, and the first one may still arrive during a later transaction.
        So this producer's epoch must not be used for another transaction.
        """
        self.poll()
        return self._errors.broken_at > self._began_at - _REPEATED_AFTER

    def _end(self, call: Callable[[float], None], timeout: float) -> Verdict:
        try:
            call(timeout)
        except Exception as exception:  # noqa: BLE001 - after any exception the outcome of the call is unknown
            self._note(exception)
            self.trouble = self._explained(exception)
            return Verdict.FENCED if self.is_fenced else Verdict.UNKNOWN
        self.has_begun = False
        self._errors.clear()
        return Verdict.DONE

    def _explained(self, exception: Exception) -> str:
        """Why a call failed; of a time-out, the client's error says only that it was one."""
        error = error_of(exception)
        if error is None:
            return str(exception)
        if error.code() != KafkaError._TIMED_OUT:
            return in_words(error)
        self.poll()  # the client reports what happened to its connections
        return "; ".join(filter(None, (in_words(error), self._errors.cause)))

    def _on_error(self, error: KafkaError) -> None:
        self._errors.note(error)
        self._judge(error)

    def _judge(self, error: KafkaError) -> None:
        super()._judge(error)
        self.is_fenced = self.is_fenced or error.code() == KafkaError._FENCED
