"""Why Kafka refuses transactions, as errors with a setting and a fix, and brokers that cannot be reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError

from bridge.errors import EXIT_SETTINGS, EXIT_UNREACHABLE, SettingsError, Unreachable
from bridge.kafka import brokers
from bridge.kafka.brokers import transactions_refused
from bridge.settings.naming import TRANSACTION_TIMEOUT_MS


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            "grant WRITE and DESCRIBE on all transactional ids that begin",
        ),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "grant IDEMPOTENT_WRITE on the cluster"),
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, f"set it to {TRANSACTION_TIMEOUT_MS} or more on every broker"),
        (KafkaError._UNSUPPORTED_FEATURE, "have no transactions"),
        (KafkaError.UNSUPPORTED_VERSION, "have no transactions"),
    ],
)
def test_a_lasting_refusal_is_a_mistake_in_the_settings(code: int, words: str) -> None:
    """The guarantee needs transactions; the other fix is always the other guarantee."""
    error = transactions_refused(KafkaError(code), "mix.bridge.3")
    assert isinstance(error, SettingsError)
    assert error.exit_code == EXIT_SETTINGS
    (mistake,) = error.mistakes
    problem, _, fix = mistake.message.rpartition("; ")
    assert mistake.key == "delivery.guarantee"
    assert problem
    assert fix.endswith("or set delivery.guarantee = at_least_once")
    assert words in mistake.message


def test_the_prefix_to_grant_covers_all_shards() -> None:
    """One ACL for all of them, whichever was refused."""
    error = transactions_refused(KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED), "a.b.bridge.12")
    assert "the transactional id a.b.bridge.12;" in str(error)
    assert "that begin with a.b.bridge. (a prefixed ACL)" in str(error)


@pytest.mark.parametrize(
    "code",
    [KafkaError._TIMED_OUT, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT],
)
def test_a_temporary_refusal_is_tried_again(code: int) -> None:
    """The error names the most frequent reason in a small cluster."""
    error = transactions_refused(KafkaError(code), "mix.bridge.0")
    assert isinstance(error, Unreachable)
    assert error.exit_code == EXIT_UNREACHABLE
    assert "transaction.state.log.replication.factor" in str(error)


@pytest.mark.parametrize("address", [".svc.local:9092", f"{'a' * 64}.example.org:9092"])
def test_an_advertised_address_that_is_no_host_name_is_reported(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start must not end with the traceback of a check that only warns."""

    class Client:
        def __init__(self, config: Mapping[str, Any]) -> None:
            self.config = config

        def poll(self, _seconds: float) -> None:
            self.config["stats_cb"](json.dumps({"brokers": {"1": {"nodeid": 1, "nodename": address}}}))

    monkeypatch.setattr(brokers, "admin_client", Client)
    (line,) = brokers.unreachable_brokers({})
    assert line.startswith(f"broker 1 advertises {address}, which cannot be reached: advertised.listeners (")
    assert "label" in line
