"""What a sender does when Kafka acknowledges nothing: every wait ends, and the error names what is unknown."""

from __future__ import annotations

import pytest

from bridge.errors import FatalFault, Unreachable
from bridge.kafka.client import Outgoing
from bridge.kafka.record_sender import RecordSender

NO_BROKER = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0}
RECORD = Outgoing("t", b"k", b"x", [], 0)


def test_an_unreachable_kafka_ends_the_wait() -> None:
    """The error has the number of records whose outcome is unknown; their outcomes are not called."""
    outcomes: list[str | None] = []
    sender = RecordSender(NO_BROKER, 1_000_000, timeout=0.3)
    sender.send(RECORD, outcomes.append)
    with pytest.raises(Unreachable, match="1 records are not acknowledged, and may be in Kafka"):
        sender.settle()
    assert outcomes == []


@pytest.mark.parametrize("limits", [{"most_records": 1}, {"most_bytes": 0}])
def test_records_in_flight_are_limited(limits: dict[str, int]) -> None:
    """By number and by bytes; the wait for room ends too."""
    sender = RecordSender(NO_BROKER, 1_000_000, **limits, timeout=0.3)
    sender.send(RECORD, lambda _: None)
    with pytest.raises(Unreachable):
        sender.send(RECORD, lambda _: None)


def test_a_record_that_the_client_refuses_has_its_outcome_immediately() -> None:
    """It is too large for the topics."""
    outcomes: list[str | None] = []
    sender = RecordSender(NO_BROKER, 2000)
    sender.send(RECORD._replace(value=b"x" * 5000), outcomes.append)
    sender.settle()
    assert ["MSG_SIZE_TOO_LARGE" in (each or "") for each in outcomes] == [True]


def test_a_fatal_error_of_the_producer_ends_the_command() -> None:
    """The next run has a new producer."""
    sender = RecordSender(NO_BROKER, 1_000_000)
    sender.send(RECORD, lambda _: None)
    sender._producer.fatal = "fenced"
    with pytest.raises(FatalFault, match="fenced; 1 records"):
        sender.settle()
