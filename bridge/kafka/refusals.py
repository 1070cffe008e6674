"""Why Kafka lets the bridge into no transaction, and who is in its group who should not be. Pure.

What waiting cannot mend is a `SettingsError`, whose message says what is wrong and after a semicolon the way out;
everything else is `Unreachable`: it is tried again for as long as the start may take. For what keeps a replica from the
group see `group_faults`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError

from bridge.errors import BridgeError, SettingsError, Unreachable
from bridge.kafka.faults import in_words
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


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One live member of the consumer group, as the brokers tell of it."""

    member_id: str
    client_id: str
    host: str
    instance: str | None
    """Its ``group.instance.id``."""
    partitions: frozenset[tuple[str, int]]
    """What it owns: topics and partitions."""

    def __str__(self) -> str:
        """For people."""
        return f"{self.instance or self.client_id} at {self.host.lstrip('/')}"


def group_of_others(group: str, topic: str, members: Iterable[GroupMember]) -> SettingsError | None:
    """Whether somebody lives in the group who is no replica of ours: it reads another topic than the checkpoints.

    Two bridges that share a group share the transactional ids too, and would shut each other out for ever.
    """
    for member in members:
        others = sorted({name for name, _ in member.partitions} - {topic})
        if others:
            return SettingsError.of(
                "namespace",
                f"the consumer group {group} belongs to another program or bridge: its member {member} reads"
                f" {', '.join(others)}, and not {topic}; choose a namespace of its own for every bridge, or the same"
                " topics.checkpoints for all replicas of one",
            )
    return None
