"""A claim is retried after every error until Kafka acknowledges it."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import pytest
from confluent_kafka import KafkaError, Message

from bridge.core.records.claim import Claim, decode
from bridge.kafka.client import Outgoing, ProduceFailed, QueueFull, Report
from bridge.sharding.claims import ClaimWriter, is_attempt

CLAIM = Claim("host:1", "abc", 4, "f00", 0)
REFUSED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


class Stamped:
    """The message of a report, with its writer's time."""

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def offset(self) -> int:
        return 7


class Sent(NamedTuple):
    shard: int
    nonce: str
    report: Report

    def answer(self, error: KafkaError | None = None) -> None:
        self.report(error, cast("Message", Stamped()))


class Producer:
    """Keeps the records; the test answers."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka, self.fatal, self.is_abandoned = kafka, cast("str | None", None), False

    def produce(self, record: Outgoing, report: Report) -> None:
        if self.kafka.raises is not None:
            raise self.kafka.raises
        self.kafka.sent.append(Sent(record.partition, decode(record.value or b"").nonce, report))

    def poll(self, _timeout: float) -> int:
        return 0

    def abandon(self) -> None:
        self.is_abandoned = True


class Kafka:
    """Makes the producers, and is the clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent: list[Sent] = []
        self.producers: list[Producer] = []
        self.raises: Exception | None = None

    def writer(self) -> ClaimWriter:
        return ClaimWriter({}, "checkpoints", self._new_producer, lambda: self.now)

    def _new_producer(self, _settings: object, _role: object) -> Any:
        self.producers.append(Producer(self))
        return self.producers[-1]


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


def test_a_refused_claim_is_written_again_with_another_nonce(kafka: Kafka) -> None:
    """A second later, by a new producer; meanwhile the writer says why it is missing."""
    writer = kafka.writer()
    writer.write(2, CLAIM)
    assert writer.missing(2) == "its claim is not acknowledged: no answer from Kafka"
    kafka.sent[0].answer(REFUSED)
    writer.turn()
    assert "TOPIC_AUTHORIZATION_FAILED" in (writer.missing(2) or "")
    assert len(kafka.sent) == 1
    kafka.now += 1.1
    writer.turn()
    first, second = kafka.sent
    assert (second.shard, second.nonce) == (2, writer.nonce(2))
    assert first.nonce != second.nonce
    assert is_attempt(Claim("", first.nonce, 1, "", 0), CLAIM)
    first.answer(REFUSED)  # too late to matter
    second.answer()
    writer.turn()
    assert writer.missing(2) is None
    kafka.now += 100
    writer.turn()
    assert len(kafka.sent) == len(kafka.producers) == 2


def test_a_producer_is_ready_before_it_is_needed_and_replaced_when_it_was_idle_for_long(kafka: Kafka) -> None:
    """Brokers forget an idle producer; it is not replaced while a claim is on its way."""
    writer = kafka.writer()
    writer.prepare()
    writer.write(0, CLAIM)
    assert len(kafka.producers) == 1
    writer._used_at -= 5000
    writer.turn()
    assert len(kafka.producers) == 1
    kafka.sent[0].answer()
    writer.turn()
    assert len(kafka.producers) == 2


@pytest.mark.parametrize("raised", [ProduceFailed(REFUSED), QueueFull()])
def test_a_claim_that_the_client_refuses_is_retried(kafka: Kafka, raised: Exception) -> None:
    kafka.raises = raised
    writer = kafka.writer()
    writer.write(0, CLAIM)
    assert writer.missing(0) is not None
    kafka.raises = None
    kafka.now += 1.1
    writer.turn()
    assert len(kafka.sent) == 1


def test_after_a_fatal_error_only_undelivered_claims_are_written_again(kafka: Kafka) -> None:
    writer = kafka.writer()
    writer.write(0, CLAIM)
    writer.write(1, CLAIM)
    kafka.sent[0].answer()
    kafka.producers[0].fatal = "out of order"
    writer.turn()
    assert kafka.producers[0].is_abandoned
    assert "out of order" in (writer.missing(1) or "")
    kafka.now += 1.1
    writer.turn()
    assert [each.shard for each in kafka.sent] == [0, 1, 1]


def test_a_forgotten_claim_is_not_written_again(kafka: Kafka) -> None:
    """Nor is any after the end."""
    writer = kafka.writer()
    writer.write(0, CLAIM)
    writer.forget(0)
    kafka.sent[0].answer(REFUSED)
    assert writer.nonce(0) is writer.missing(0) is None
    writer.write(1, CLAIM)
    writer.close()
    writer.close()
    kafka.now += 100
    writer.turn()
    assert len(kafka.sent) == 2
    assert kafka.producers[0].is_abandoned


def test_a_claim_without_an_answer_is_written_by_another_producer(kafka: Kafka) -> None:
    """A client may be stuck although Kafka is there; one that was answered, or refused, does not count."""
    writer = kafka.writer()
    writer.write(1, CLAIM)
    kafka.sent[0].answer()
    kafka.now += 100.0
    writer.write(2, CLAIM)
    kafka.now += 59.0
    writer.turn()
    assert len(kafka.producers) == 1
    kafka.now += 2.0
    writer.turn()
    assert kafka.producers[0].is_abandoned
    assert "no answer for 60 s" in (writer.missing(2) or "")
    kafka.now += 1.1
    writer.turn()
    assert [each.shard for each in kafka.sent] == [1, 2, 2]
    assert len(kafka.producers) == 2
