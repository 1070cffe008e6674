"""Why Kafka lets the bridge into no transaction. Pure.

What waiting cannot mend is a `SettingsError`, whose message says what is wrong and after a semicolon the way out;
everything else is `Unreachable`: it is tried again for as long as the start may take. For what keeps a replica from the
group see `group_faults`.
"""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError

from bridge.errors import BridgeError, SettingsError, Unreachable
from bridge.kafka.errors import in_words
from bridge.settings.bounds import TRANSACTION_TIMEOUT_MS

_GUARANTEE = "delivery.guarantee"
_OR_WITHOUT = "or set delivery.guarantee = at_least_once"


def transactions_refused(error: KafkaError, transactional_id: str) -> BridgeError:
    """Why a producer could not begin under this transactional id (``init_transactions``)."""
    ids = transactional_id.rpartition(".")[0]
    said = _OF_TRANSACTIONS.get(error.code())
    if said is not None:
        return SettingsError.of(_GUARANTEE, said.format(id=transactional_id, ids=ids))
    if error.code() in _NO_TRANSACTIONS:
        text = f"these brokers have no transactions ({in_words(error)}); use brokers that have them, {_OR_WITHOUT}"
        return SettingsError.of(_GUARANTEE, text)
    return Unreachable(
        f"Kafka: no coordinator for transactions ({in_words(error)}); see that all brokers run, and that"
        " transaction.state.log.replication.factor and transaction.state.log.min.isr, settings of the brokers, are no"
        " more than there are of them"
    )


_OF_TRANSACTIONS: Mapping[int, str] = {
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the bridge's user may not use the transactional id {id}; grant"
    " WRITE and DESCRIBE on all transactional ids that begin with {ids}. (a prefixed ACL), " + _OR_WITHOUT,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the bridge's user may not write idempotently; grant IDEMPOTENT_WRITE on"
    " the cluster, which brokers older than 2.8 want, " + _OR_WITHOUT,
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "the brokers' transaction.max.timeout.ms is less than a transaction of the"
    f" bridge may take; set it to {TRANSACTION_TIMEOUT_MS} or more on every broker, " + _OR_WITHOUT,
}
_NO_TRANSACTIONS = frozenset(
    {KafkaError._UNSUPPORTED_FEATURE, KafkaError._NOT_IMPLEMENTED}
    | {KafkaError.UNSUPPORTED_VERSION, KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT}
)
