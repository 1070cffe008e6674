"""What a command sends while nobody takes it: waits that end, and say what is not known."""

from __future__ import annotations

import pytest

from bridge.errors import FatalFault, Unreachable
from bridge.kafka import record_sender as sending
from bridge.kafka.record_sender import Outgoing, RecordSender

NOBODY = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0}
RECORD = Outgoing("t", b"k", b"x", [], 0)


def test_kafka_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time, with the number of records that may be there all the same; no outcome is told for them."""
    monkeypatch.setattr(sending, "_PATIENCE", 0.3)
    told: list[str | None] = []
    sender = RecordSender(NOBODY, 1_000_000)
    sender.send(RECORD, told.append)
    with pytest.raises(Unreachable, match="1 records are not acknowledged, and may be in Kafka"):
        sender.settle()
    assert told == []


def test_room_is_waited_for_no_longer_than_answers_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in flight is bounded, by records and by bytes."""
    monkeypatch.setattr(sending, "_PATIENCE", 0.3)
    for limit in ("_MOST_IN_FLIGHT", "_MOST_BYTES"):
        with monkeypatch.context() as narrow:
            narrow.setattr(sending, limit, 0 if limit == "_MOST_BYTES" else 1)
            sender = RecordSender(NOBODY, 1_000_000)
            sender.send(RECORD, lambda _: None)
            with pytest.raises(Unreachable):
                sender.send(RECORD, lambda _: None)


def test_a_record_that_the_client_does_not_take_is_told_at_once() -> None:
    """Too large for any topic of ours."""
    told: list[str | None] = []
    sender = RecordSender(NOBODY, 2000)
    sender.send(RECORD._replace(value=b"x" * 5000), told.append)
    sender.settle()
    assert ["MSG_SIZE_TOO_LARGE" in (each or "") for each in told] == [True]


def test_a_producer_that_is_finished_ends_the_run() -> None:
    """A new start has a new one."""
    sender = RecordSender(NOBODY, 1_000_000)
    sender.send(RECORD, lambda _: None)
    sender._producer.fatal = "fenced"
    with pytest.raises(FatalFault, match="fenced; 1 records"):
        sender.settle()
