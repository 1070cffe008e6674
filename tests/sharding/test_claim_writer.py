"""A claim is tried until Kafka has acknowledged it, whatever comes of an attempt."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError

from bridge.core.records.claim import Claim, decode
from bridge.kafka.producer import ProduceFailed, QueueFull, Report
from bridge.sharding import claims
from bridge.sharding.claims import ClaimWriter, is_attempt

CLAIM = Claim("host:1", "abc", 4, "f00", 0)
REFUSED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


class Sent(NamedTuple):
    shard: int
    nonce: str
    report: Report

    def answer(self, error: KafkaError | None = None) -> None:
        self.report(error, None)  # type: ignore[arg-type]


class Kafka:
    """In place of the producer: keeps what was handed over, answers when the test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sent: list[Sent] = []
        self.producers: list[Any] = []
        self.raises: Exception | None = None

    def __call__(self, _settings: object, _role: object) -> Any:
        self.producers.append(Producer(self))
        return self.producers[-1]

    def clock(self) -> float:
        return self.now


class Producer:
    def __init__(self, kafka: Kafka) -> None:
        self.kafka, self.fatal, self.is_abandoned = kafka, None, False

    def produce(self, *record: Any) -> None:
        if self.kafka.raises is not None:
            raise self.kafka.raises
        _topic, value, _key, _headers, _timestamp, report, shard = record
        self.kafka.sent.append(Sent(shard, decode(value).nonce, report))

    def poll(self, _timeout: float) -> int:
        return 0

    def abandon(self) -> None:
        self.is_abandoned = True


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """And its clock."""
    one = Kafka()
    monkeypatch.setattr(claims, "IdempotentProducer", one)
    monkeypatch.setattr(claims, "monotonic", one.clock)
    return one


def test_a_refused_claim_is_written_again_under_another_nonce(kafka: Kafka) -> None:
    """A second later, by a new producer; meanwhile it is told why it is missing."""
    writer = ClaimWriter({}, "checkpoints")
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
    first.answer(REFUSED)  # told too late to mean anything
    second.answer()
    writer.turn()
    assert writer.missing(2) is None
    kafka.now += 100
    writer.turn()
    assert len(kafka.sent) == len(kafka.producers) == 2


def test_a_producer_is_ready_before_it_is_needed_and_made_anew_when_it_was_idle_for_long(kafka: Kafka) -> None:
    """Brokers forget those; it is not replaced while a claim is on its way."""
    writer = ClaimWriter({}, "checkpoints")
    writer.prepare()
    writer.write(0, CLAIM)
    assert len(kafka.producers) == 1
    kafka.now += 5000
    writer.turn()
    assert len(kafka.producers) == 1
    kafka.sent[0].answer()
    writer.turn()
    assert len(kafka.producers) == 2


@pytest.mark.parametrize("raised", [ProduceFailed(REFUSED), QueueFull()])
def test_a_claim_that_the_client_does_not_take_is_tried_again(kafka: Kafka, raised: Exception) -> None:
    """As one that Kafka refuses."""
    kafka.raises = raised
    writer = ClaimWriter({}, "checkpoints")
    writer.write(0, CLAIM)
    assert writer.missing(0) is not None
    kafka.raises = None
    kafka.now += 1.1
    writer.turn()
    assert len(kafka.sent) == 1


def test_a_producers_end_costs_only_what_it_had_not_delivered(kafka: Kafka) -> None:
    """The next one writes it."""
    writer = ClaimWriter({}, "checkpoints")
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


def test_a_claim_that_is_forgotten_is_not_written_again(kafka: Kafka) -> None:
    """Nor is any after the end."""
    writer = ClaimWriter({}, "checkpoints")
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
