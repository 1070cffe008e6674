"""Tests whether Kafka allows transactions, with a transactional id that no shard has and without a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, Producer

from bridge.kafka.config import client_logger, settings_judged
from bridge.kafka.errors import error_of
from bridge.kafka.transaction_refusals import transactions_refused
from bridge.settings.bounds import TRANSACTION_TIMEOUT_MS


def try_transactions(config: Mapping[str, Any], transactional_id: str, timeout: float) -> None:
    """Return when ``init_transactions`` succeeds; blocks for ``timeout`` seconds at most. Any thread.

    The brokers remember the id for a week. Raises ``SettingsError`` for a lasting refusal, ``Unreachable`` for a
    temporary one.
    """
    own = {"transactional.id": transactional_id, "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS}
    with settings_judged():
        producer = Producer(dict(config) | own, logger=client_logger())
    try:
        producer.init_transactions(timeout)
    except KafkaException as exception:
        error = error_of(exception)
        if error is None:
            raise
        raise transactions_refused(error, transactional_id) from exception
