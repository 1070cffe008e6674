"""The transactional producer of one shard: records in, all of them committed or none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from bridge.clock import monotonic
from bridge.kafka.config import below, client_logger, settings_judged
from bridge.kafka.errors import Fault, error_of, fault_of, in_words
from bridge.kafka.producer import DELIVERY, ProduceFailed, ProducerSettings, QueueFull, Report
from bridge.settings.bounds import TRANSACTION_TIMEOUT


class Verdict(Enum):
    """What came of a call that ends a transaction, or takes the transactional id."""

    DONE = auto()
    FENCED = auto()
    """A newer producer has the transactional id, or the brokers ended the transaction when its time was up: they say
    the same of both. Whether a commit that got this answer had been applied before is not known."""
    UNKNOWN = auto()
    """It may have been done, may be done yet, or never. librdkafka does not speak transactions version 2 (KIP-890), so
    a request that is under way may even be applied to the next transaction of the same producer: only a new producer,
    whose epoch fences that request, may go on."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for the calls that end a transaction.

    The brokers abort a transaction at ``transaction``. All of ours that a transaction lives through (its interval,
    ``flush``, and ``end`` twice) is less than that, so a time-out of theirs means that this process stood still.
    ``end`` is also less than a request may take (librdkafka's socket time-out is that of the transaction), so a
    request that is not answered is never sent again behind our back.
    """

    transaction: float = TRANSACTION_TIMEOUT
    flush: float = 20.0
    """For all records of a transaction to be taken, while some are."""
    stuck: float = 4.0
    """While none is: a broker's restart takes less, and whatever takes longer is not worth holding all others up."""
    end: float = 8.0
    """For a commit, an abort, or taking the transactional id."""


_LINGER = 25
"""Milliseconds: each shard has a producer of its own, so batches come slower than where all sessions share one. Nobody
waits for it, since the end of a transaction sends what is left at once."""
_LEVEL = 6
"""Information, by syslog's numbers: librdkafka's own default."""
_AS_IN_PYTHON = (50, 50, 50, 40, 30, 20, 20, 10)
"""What the client calls each of syslog's levels when it speaks to Python."""
_STAND = 30.0
"""Seconds in which librdkafka tells the same trouble of a connection only once."""
_STATE_OF_USE = "in state UP"
"""So librdkafka's word about a broken connection ends when requests may have been under way on it."""
_LAST_POLLS = 10
"""A poll that raises runs no report: so many fatal errors may be told before one that runs them all."""


def transactional_config(settings: ProducerSettings, transactional_id: str, patience: Patience) -> dict[str, Any]:
    """What a transactional producer is made with: as other producers, and what makes its transactions end."""
    own = {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": round(patience.transaction * 1000),
        "message.max.bytes": settings.max_request_bytes,
        "batch.size": min(settings.max_request_bytes, 1_000_000),
        # The commit acknowledges all: only failures are told, and Python is not asked about each record.
        "delivery.report.only.error": True,
        # Only the log tells of a connection that ended in an orderly way: see Ear.
        "log_level": _LEVEL,
        "log.connection.close": True,
    }
    return below({"linger.ms": _LINGER}, settings.config) | dict(DELIVERY) | own


class DisconnectLogFilter:
    """Stands where librdkafka's log goes: listens for connections that broke, and passes the rest on.

    Its callback for errors is not told of a connection that the other side closed in good order, though a request that
    was under way is then sent again as well. Thread rule: the thread that polls.
    """

    def __init__(self, logger: logging.Logger, level: int) -> None:
        """``level``: what the settings want to hear of, by syslog's numbers."""
        self.broken_at = float("-inf")
        """When a connection last broke that may have carried requests, by :func:`bridge.clock.monotonic`."""
        self._logger = logger
        self._level = max(0, min(level, len(_AS_IN_PYTHON) - 1))

    def log(self, level: int, line: str, *parts: object) -> None:
        """As :meth:`logging.Logger.log`, with ``level`` by Python's numbers."""
        if any(_STATE_OF_USE in str(part) for part in parts):
            self.broken_at = monotonic()
        if level >= _AS_IN_PYTHON[self._level]:
            self._logger.log(level, line, *parts)


class TransactionalProducer:
    """One shard's producer.

    Thread rule: any thread produces; everything else is the shard's thread. No call but ``init``, ``flush``, ``commit``
    and ``abort`` waits, and those for no longer than they are told.
    """

    def __init__(self, settings: ProducerSettings, transactional_id: str, patience: Patience) -> None:
        config = transactional_config(settings, transactional_id, patience) | {"error_cb": self._on_error}
        self._ear = DisconnectLogFilter(client_logger(), int(settings.config.get("log_level", _LEVEL)))
        self.fatal: str | None = None
        """Why this producer is finished; None while it lives."""
        self.is_fenced = False
        self.has_begun = False
        self.trouble: str | None = None
        """What the last call that failed said."""
        self._began_at = 0.0
        with settings_judged():
            self._producer = Producer(config, logger=self._ear)
        self._produce: Callable[..., None] = self._producer.produce

    def init(self, timeout: float) -> Verdict:
        """Take the transactional id: whoever had it is fenced, and what it left open is aborted."""
        return self._end(self._producer.init_transactions, timeout)

    def begin(self) -> None:
        """Begin a transaction, or go on with one in which nothing is yet: nothing is sent before its first record."""
        self._began_at = monotonic()
        if self.has_begun:
            return
        self.has_begun = True
        try:
            self._producer.begin_transaction()
        except KafkaException as exception:
            self._note(exception)
            self.fatal = self.fatal or str(exception)  # of no use, whatever it is

    def produce(  # noqa: PLR0913, PLR0917 - the fields of a record; one more tuple for each would cost time
        self,
        topic: str,
        value: bytes | None,
        key: bytes,
        headers: list[tuple[str, bytes]],
        timestamp_ms: int,
        report: Report,
        partition: int = -1,
        /,
    ) -> None:
        """Hand a record over; ``report`` runs when it fails. Raises :class:`QueueFull` or :class:`ProduceFailed`."""
        try:
            self._produce(topic, value, key, partition, report, None, timestamp_ms, headers)
        except BufferError as error:
            raise QueueFull from error
        except KafkaException as exception:
            failure = error_of(exception)
            if failure is None:
                raise
            self._note(exception)
            if failure.code() == KafkaError._STATE:  # the transaction has failed already: this one was not at fault
                raise QueueFull from exception
            raise ProduceFailed(failure) from exception

    def poll(self) -> None:
        """Run the reports of failures that are due."""
        try:
            self._producer.poll(0)
        except Exception as exception:  # noqa: BLE001 - a fatal error comes out here, and not always as KafkaException
            self._note(exception)

    def flush(self, timeout: float) -> int:
        """Send, and run reports, for up to ``timeout`` seconds; returns how many records are still not taken."""
        try:
            return self._producer.flush(timeout)
        except Exception as exception:  # noqa: BLE001 - as poll
            self._note(exception)
            return len(self._producer)

    def commit(self, timeout: float) -> Verdict:
        """Commit; to be called when everything was flushed, and nothing failed."""
        return self._end(self._producer.commit_transaction, timeout)

    def abort(self, timeout: float) -> Verdict:
        """Give up the transaction; what was still queued is told as purged."""
        return self._end(self._producer.abort_transaction, timeout)

    def abandon(self) -> None:
        """Give up everything: reports that are already known run, the others never will."""
        self._producer.purge()
        for _ in range(_LAST_POLLS):
            try:
                self._producer.poll(0)
            except Exception as exception:  # noqa: BLE001 - one more fatal error is told before the reports
                self._note(exception)
            else:
                return

    @property
    def was_disturbed(self) -> bool:
        """Whether a connection broke in the present transaction, or just before it.

        librdkafka then sends an unanswered request again, and the first one may still arrive, in the middle of a later
        transaction: its epoch must not be used for one.
        """
        self.poll()
        return self._ear.broken_at > self._began_at - _STAND

    def _end(self, call: Callable[[float], None], timeout: float) -> Verdict:
        try:
            call(timeout)
        except Exception as exception:  # noqa: BLE001 - whatever it is: it is not known what came of the call
            self._note(exception)
            self.trouble = str(exception)
            return Verdict.FENCED if self.is_fenced else Verdict.UNKNOWN
        self.has_begun = False
        return Verdict.DONE

    def _on_error(self, error: KafkaError) -> None:
        self._judge(error)

    def _note(self, exception: Exception) -> None:
        error = error_of(exception)
        if error is None:
            self.fatal = self.fatal or repr(exception)
        else:
            self._judge(error)

    def _judge(self, error: KafkaError) -> None:
        if fault_of(error) is Fault.FATAL:
            self.fatal = self.fatal or in_words(error)
            self.is_fenced = self.is_fenced or error.code() == KafkaError._FENCED
