"""Writes the owner's records into the checkpoints topic: claims, until Kafka acknowledges them, and tombstones.

Ended sessions are forgotten by a tombstone each, and the highest epoch of all that a shard has forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import inf
from typing import Any

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint_log import CheckpointRecord
from bridge.core.owner_records import FORGOTTEN_KEY, encode_forgotten, tombstone_headers
from bridge.core.records.checkpoint import BadCheckpoint
from bridge.core.records.claim import CLAIM_KEY, Claim, decode, encode
from bridge.kafka.client import Outgoing, ProduceFailed, QueueFull
from bridge.kafka.errors import ProduceError, in_full, is_for_age
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role
from bridge.kafka.record_clock import RECORD_CLOCK

log = get_logger("bridge.kafka")

_RETRY = 1.0
"""Seconds until the next attempt after Kafka refused one: a missing topic may be back by then."""
_STALE = 3600.0
"""Seconds without a claim after which the producer is replaced: brokers forget one that is idle for long."""
_STUCK = 60.0
"""Seconds without an answer to a claim after which another producer writes it."""
_LARGEST = 64 * 1024
"""Bytes of a request: a claim has some hundred, and every topic accepts this."""
_IDLE_POLLS = 120
"""Polls without a record after which the producer is closed: sessions are forgotten a few times a day."""
Written = Callable[[], None]
"""Called when Kafka has acknowledged a record. Never called for one that failed."""


@dataclass(slots=True)
class _Attempt:
    claim: Claim
    """With the nonce of this attempt: with two copies of one claim the writer's own checkpoints would look stale."""
    sent_ms: int
    is_acknowledged: bool = False
    acknowledged_at: float = inf
    offset: int = -1
    error: str | None = None
    retry_at: float = inf
    written_at: float = inf

    @property
    def is_awaited(self) -> bool:
        return not self.is_acknowledged and self.retry_at == inf


class ClaimWriter:
    """Writes one claim per shard. Thread rule: one thread.

    Its producer is made before it is needed: a new one takes half a second to get its id, and meanwhile the sessions of
    a shard that moves would wait.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        new_producer: Callable[[ProducerSettings, Role], IdempotentProducer] = IdempotentProducer,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = ProducerSettings(config, _LARGEST)
        self._topic, self._new_producer, self._clock = topic, new_producer, clock
        self._producer: IdempotentProducer | None = None
        self._written: dict[int, _Attempt] = {}
        self._attempts = count(1)
        self._used_at = clock()
        self._was_refused = False
        """Kafka refused a record of this producer: it may not know of new partitions."""

    def prepare(self) -> IdempotentProducer:
        """Return a producer that is ready; it replaces one that Kafka may have forgotten, or that Kafka refused."""
        is_idle = not any(each.is_awaited for each in self._written.values())
        if is_idle and (self._was_refused or self._clock() - self._used_at > _STALE):
            self._producer = None
        if self._producer is None:
            self._was_refused, self._used_at = False, self._clock()
            self._producer = self._new_producer(self._settings, Role.SINGLE)
        return self._producer

    def write(self, shard: int, claim: Claim) -> None:
        """Write a claim into this partition; it replaces an earlier one that is on its way."""
        numbered = replace(claim, nonce=f"{claim.nonce}.{next(self._attempts)}")
        attempt = self._written[shard] = _Attempt(numbered, unix_ms())
        report = partial(self._report, shard, attempt)
        producer = self.prepare()
        self._used_at = attempt.written_at = self._clock()
        try:
            producer.produce(Outgoing(self._topic, CLAIM_KEY, encode(numbered), [], attempt.sent_ms, shard), report)
        except ProduceFailed as failure:
            self._failed(shard, attempt, in_full(self._topic, failure.error))
        except QueueFull:
            self._failed(shard, attempt, "the producer's queue is full")

    def put(self, shard: int, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Write an answer to a stale write before the next claim, by the same producer; None: a tombstone.

        Not repeated if the client refuses it: the next reading finds the stale write again.
        """
        with suppress(ProduceFailed, QueueFull):
            self.prepare().produce(Outgoing(self._topic, key, value, list(headers), unix_ms(), shard), _ignore)

    def forget(self, shard: int) -> None:
        """Stop retrying a claim; one that is on its way may still arrive."""
        self._written.pop(shard, None)

    def nonce(self, shard: int) -> str | None:
        attempt = self._written.get(shard)
        return None if attempt is None else attempt.claim.nonce

    def missing(self, shard: int) -> str | None:
        """Why the claim is not known to be in Kafka; None when it is."""
        attempt = self._written.get(shard)
        if attempt is None or attempt.is_acknowledged:
            return None
        return f"its claim is not acknowledged: {attempt.error or 'no answer from Kafka'}"

    def is_unread(self, shard: int, end: int, seconds: float) -> bool:
        """Whether a reader that knows this end of the partition knows of no claim that Kafka has had for so long."""
        attempt = self._written.get(shard)
        return attempt is not None and end <= attempt.offset and self._clock() - attempt.acknowledged_at > seconds

    def turn(self) -> None:
        """Run the delivery reports, and retry what Kafka refused. Never waits."""
        if self._producer is not None:
            self._producer.poll(0)
            self._replace_if_useless(self._producer)
        self.prepare()
        now = self._clock()
        for shard, attempt in tuple(self._written.items()):
            if attempt.retry_at <= now:
                self.write(shard, _without_attempt(attempt.claim))

    def renew(self) -> None:
        """Use a new producer as soon as nothing is on its way."""
        self._was_refused = True

    def close(self) -> None:
        """Abandon the claims that are on their way."""
        if self._producer is not None:
            self._written.clear()
            self._producer.abandon()
            self._producer = None

    def _report(self, shard: int, attempt: _Attempt, error: ProduceError | None, message: Any) -> None:  # noqa: ANN401 - of the client
        if error is None:
            attempt.is_acknowledged, attempt.error = True, None
            attempt.offset, attempt.acknowledged_at = message.offset(), self._clock()
            RECORD_CLOCK.compare(message.timestamp(), attempt.sent_ms)
        else:
            if is_for_age(error):
                RECORD_CLOCK.refused()
            self._failed(shard, attempt, in_full(self._topic, error))

    def _failed(self, shard: int, attempt: _Attempt, error: str) -> None:
        if self._written.get(shard) is not attempt:
            return
        attempt.error, attempt.retry_at = error, self._clock() + _RETRY
        self._was_refused = True
        log.warning("a shard's claim was not written: retrying", shard=shard, error=error, limited=True)

    def _replace_if_useless(self, producer: IdempotentProducer) -> None:
        """Replace a producer that failed for good, or is stuck: it may answer nothing although Kafka is there."""
        is_stuck = any(self._clock() - each.written_at > _STUCK for each in self._written.values() if each.is_awaited)
        why = producer.fatal or (f"no answer for {_STUCK:g} s" if is_stuck else None)
        if why is None:
            return
        self._producer = None
        producer.abandon()
        for shard, attempt in self._written.items():
            if not attempt.is_acknowledged:
                self._failed(shard, attempt, why)


def _ignore(_error: ProduceError | None, _message: object) -> None:
    """The next reading shows it."""


def is_attempt(written: Claim, claim: Claim) -> bool:
    """Whether ``written`` is this claim, by this or an earlier attempt."""
    return _without_attempt(written).nonce == claim.nonce


def _without_attempt(claim: Claim) -> Claim:
    return replace(claim, nonce=claim.nonce.rpartition(".")[0])


def claim_in(record: CheckpointRecord) -> Claim | None:
    """The claim in a record, if it is a readable one."""
    if record.key != CLAIM_KEY:
        return None
    try:
        return decode(record.value)
    except BadCheckpoint:
        return None


class ForgetWriter:
    """Writes into the checkpoints topic. Thread rule: one thread; reports run in ``poll``. Nothing waits."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        new_producer: Callable[[ProducerSettings, Role], IdempotentProducer] = IdempotentProducer,
    ) -> None:
        self._settings = ProducerSettings(config, _LARGEST)
        self._topic, self._new_producer = topic, new_producer
        self._producer: IdempotentProducer | None = None
        self._idle_polls = 0

    def write_floor(self, shard: int, epoch: int, fencing_token: int, written: Written) -> None:
        """Write the highest epoch of all sessions of the shard that are forgotten."""
        self._write(shard, FORGOTTEN_KEY, encode_forgotten(epoch, fencing_token), [], written)

    def remove(self, shard: int, record_key: bytes, fencing_token: int, written: Written) -> None:
        self._write(shard, record_key, None, tombstone_headers(fencing_token), written)

    def poll(self) -> None:
        producer = self._producer
        if producer is None:
            return
        self._idle_polls += 1
        producer.poll(0)
        if producer.fatal is not None or self._idle_polls > _IDLE_POLLS:
            self.close()

    def close(self) -> None:
        """Abandon what is on its way. Can be called twice."""
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None

    def _write(
        self, shard: int, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]], written: Written
    ) -> None:
        if self._producer is None:
            self._producer = self._new_producer(self._settings, Role.CHECKPOINTS)
        self._idle_polls = 0
        try:
            record = Outgoing(self._topic, key, value, headers, unix_ms(), shard)
            self._producer.produce(record, partial(self._report, written))
        except QueueFull:
            return
        except ProduceFailed as failure:
            self._failed(failure.error)

    def _report(self, written: Written, error: ProduceError | None, _message: object) -> None:
        if error is None:
            written()
        else:
            self._failed(error)

    def _failed(self, error: ProduceError) -> None:
        log.debug("a session cannot be forgotten at present", error=in_full(self._topic, error))
