"""Whether Kafka allows transactions, and why not.

A refusal that waiting cannot solve is a `SettingsError`, whose message gives the fix after a semicolon. Everything else
is `Unreachable`: the start tries again within ``start_timeout``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from bridge.errors import BridgeError, SettingsError, Unreachable
from bridge.kafka.config import client_logger, settings_judged
from bridge.kafka.errors import error_of, in_words
from bridge.kafka.live_config import plain
from bridge.settings.bounds import TRANSACTION_TIMEOUT_MS

_GUARANTEE = "delivery.guarantee"
_OR_WITHOUT = "or set delivery.guarantee = at_least_once"


def try_transactions(config: Mapping[str, Any], transactional_id: str, timeout: float) -> None:
    """Return when ``init_transactions`` succeeds; blocks for ``timeout`` seconds at most. Any thread.

    The brokers remember the id for a week. Raises ``SettingsError`` for a lasting refusal, ``Unreachable`` for a
    temporary one.
    """
    own = {"transactional.id": transactional_id, "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS}
    with settings_judged():
        producer = Producer(plain(config) | own, logger=client_logger("transaction check"))
    try:
        producer.init_transactions(timeout)
    except KafkaException as exception:
        error = error_of(exception)
        if error is None:
            raise
        raise transactions_refused(error, transactional_id) from exception


def transactions_refused(error: KafkaError, transactional_id: str) -> BridgeError:
    """Return why ``init_transactions`` failed for this transactional id."""
    ids = transactional_id.rpartition(".")[0]
    text = _REFUSALS.get(error.code())
    if text is not None:
        return SettingsError.of(_GUARANTEE, text.format(id=transactional_id, ids=ids))
    if error.code() in _NO_TRANSACTIONS:
        text = f"these brokers have no transactions ({in_words(error)}); use brokers that have them, {_OR_WITHOUT}"
        return SettingsError.of(_GUARANTEE, text)
    return Unreachable(
        f"Kafka: no transaction coordinator ({in_words(error)}); check that all brokers run, and that"
        " transaction.state.log.replication.factor and transaction.state.log.min.isr, settings of the brokers, do not"
        " exceed the number of brokers"
    )


_REFUSALS: Mapping[int, str] = {
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the bridge's user may not use the transactional id {id}; grant"
    " WRITE and DESCRIBE on all transactional ids that begin with {ids}. (a prefixed ACL), " + _OR_WITHOUT,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the bridge's user may not write idempotently; grant IDEMPOTENT_WRITE on"
    " the cluster, which brokers before 2.8 require, " + _OR_WITHOUT,
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "the brokers' transaction.max.timeout.ms is less than a transaction of the"
    f" bridge may take; set it to {TRANSACTION_TIMEOUT_MS} or more on every broker, " + _OR_WITHOUT,
}
_NO_TRANSACTIONS = frozenset(
    {KafkaError._UNSUPPORTED_FEATURE, KafkaError._NOT_IMPLEMENTED}
    | {KafkaError.UNSUPPORTED_VERSION, KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT}
)
