"""Claims on their way into the checkpoints topic, tried until Kafka has acknowledged them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import inf
from typing import Any

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.records.claim import CLAIM_KEY, Claim, encode
from bridge.kafka.errors import ProduceError, in_full
from bridge.kafka.producer import IdempotentProducer, ProduceFailed, ProducerSettings, QueueFull, Role

log = get_logger("bridge.kafka")

_AGAIN = 1.0
"""Seconds until the next attempt after Kafka refused one: a topic that is gone may be back by then."""
_STALE = 3600.0
"""Seconds without a claim after which the producer is made anew: brokers forget one that is idle for long."""
_LARGEST = 64 * 1024
"""Bytes of a request: a claim has some hundred, and any topic takes this."""


@dataclass(slots=True)
class _Written:
    claim: Claim
    """With the nonce of this attempt: two copies of one claim would make the writer's own words look late."""
    is_acknowledged: bool = False
    trouble: str | None = None
    again_at: float = inf


class ClaimWriter:
    """Thread rule: one thread.

    Its producer is made before it is needed: a new one takes half a second until it has its id, and meanwhile the
    sessions of a shard that moves stand still.
    """

    def __init__(self, config: Mapping[str, Any], topic: str) -> None:
        self._config = config
        self._topic = topic
        self._producer: IdempotentProducer | None = None
        self._written: dict[int, _Written] = {}
        self._attempts = count(1)
        self._used = monotonic()
        self._is_spent = False
        """Kafka has refused something that it sent."""

    def prepare(self) -> None:
        """Have a producer ready; one that may have been forgotten, or does not know of new partitions, is replaced."""
        if self._nothing_is_on_its_way and (self._is_spent or monotonic() - self._used > _STALE):
            self._producer = None
        if self._producer is None:
            self._is_spent = False
            self._producer = IdempotentProducer(ProducerSettings(self._config, _LARGEST), Role.SINGLE)
            self._used = monotonic()

    def write(self, shard: int, claim: Claim) -> None:
        """Write a claim into exactly this partition, instead of whatever claim of it was on its way."""
        numbered = replace(claim, nonce=f"{claim.nonce}.{next(self._attempts)}")
        written = self._written[shard] = _Written(numbered)
        report = partial(self._report, shard, written)
        self.prepare()
        assert self._producer is not None  # noqa: S101 - told to mypy
        self._used = monotonic()
        try:
            self._producer.produce(self._topic, encode(numbered), CLAIM_KEY, [], unix_ms(), report, shard)
        except ProduceFailed as failure:
            self._failed(shard, written, in_full(self._topic, failure.error))
        except QueueFull:
            self._failed(shard, written, "the producer's queue is full")

    def forget(self, shard: int) -> None:
        """Care no more for a claim; one that is on its way may still arrive."""
        self._written.pop(shard, None)

    def nonce(self, shard: int) -> str | None:
        """Of the claim that was written last."""
        written = self._written.get(shard)
        return None if written is None else written.claim.nonce

    def missing(self, shard: int) -> str | None:
        """Why the claim is not in Kafka as far as is known; None when it is."""
        written = self._written.get(shard)
        if written is None or written.is_acknowledged:
            return None
        return f"its claim is not acknowledged: {written.trouble or 'no answer from Kafka'}"

    def turn(self) -> None:
        """Hear what Kafka answers, and try again what it refused. Never waits."""
        if self._producer is not None:
            self._producer.poll(0)
            self._give_up_if_fatal(self._producer)
        self.prepare()
        now = monotonic()
        for shard, written in tuple(self._written.items()):
            if written.again_at <= now:
                self.write(shard, _without_attempt(written.claim))

    def close(self) -> None:
        """Give up what is on its way."""
        if self._producer is not None:
            self._written.clear()
            self._producer.abandon()
            self._producer = None

    @property
    def _nothing_is_on_its_way(self) -> bool:
        return all(each.is_acknowledged or each.again_at < inf for each in self._written.values())

    def _report(self, shard: int, written: _Written, error: ProduceError | None, _message: object) -> None:
        if error is None:
            written.is_acknowledged, written.trouble = True, None
        else:
            self._failed(shard, written, in_full(self._topic, error))

    def _failed(self, shard: int, written: _Written, trouble: str) -> None:
        if self._written.get(shard) is not written:
            return
        written.trouble, written.again_at = trouble, monotonic() + _AGAIN
        self._is_spent = True
        log.warning("a shard's claim was not written: trying again", shard=shard, trouble=trouble)

    def _give_up_if_fatal(self, producer: IdempotentProducer) -> None:
        if producer.fatal is None:
            return
        self._producer = None
        producer.abandon()
        for shard, written in self._written.items():
            if not written.is_acknowledged:
                self._failed(shard, written, producer.fatal)


def is_attempt(written: Claim, claim: Claim) -> bool:
    """Whether it was written for this claim, by this or an earlier attempt."""
    return _without_attempt(written).nonce == claim.nonce


def _without_attempt(claim: Claim) -> Claim:
    return replace(claim, nonce=claim.nonce.rpartition(".")[0])
