"""What the brokers advertise and allow: their addresses, the limits in their settings, and transactions."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import ConfigResource, ResourceType

from bridge.clock import monotonic
from bridge.errors import BridgeError, Mistake, SettingsError, Unreachable
from bridge.kafka.config import admin_client, answer_of, client_logger, in_thread, plain, settings_judged
from bridge.kafka.errors import error_of, in_words
from bridge.settings.naming import TRANSACTION_TIMEOUT_MS

_MIN_SESSION, _MAX_SESSION = "group.min.session.timeout.ms", "group.max.session.timeout.ms"
_REPLICAS, _MIN_ISR = "transaction.state.log.replication.factor", "transaction.state.log.min.isr"
_NAMES = (_MIN_SESSION, _MAX_SESSION, _REPLICAS, _MIN_ISR)


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The number of brokers, and their settings by name; none where the bridge may not read them."""

    brokers: int
    values: Mapping[str, int]

    def session_timeout_mistake(self, seconds: float) -> Mistake | None:
        """Return the mistake when the brokers refuse a member with this session time-out."""
        timeout = round(seconds * 1000)
        least, most = self.values.get(_MIN_SESSION, 0), self.values.get(_MAX_SESSION, timeout)
        if least <= timeout <= most:
            return None
        text = f"the brokers do not allow {timeout} ms; choose {least} to {most} ms, or change"
        return Mistake("kafka.group_session_timeout", f"{text} {_MIN_SESSION} and {_MAX_SESSION} of the brokers")

    @property
    def missing_brokers(self) -> str | None:
        """Why there is no transaction coordinator: its topic needs more replicas than there are brokers."""
        for name in (_REPLICAS, _MIN_ISR):
            if self.values.get(name, 0) > self.brokers:
                return f"the brokers' {name} is {self.values[name]}, and {self.brokers} brokers run"
        return None


def read_broker_limits(config: Mapping[str, Any], timeout: float) -> BrokerLimits:
    """Ask one broker; blocks for twice ``timeout`` seconds at most. Without an answer there are no limits."""
    admin = admin_client(config)
    try:
        brokers = admin.list_topics(timeout=timeout).brokers
        resource = ConfigResource(ResourceType.BROKER, str(min(brokers)))
        answer = answer_of(admin.describe_configs([resource], request_timeout=timeout)[resource], timeout)
    except (KafkaException, ValueError):  # most users may not read them; the other checks find what matters
        return BrokerLimits(0, {})
    return BrokerLimits(len(brokers), {name: int(answer[name].value) for name in _NAMES if name in answer})


_GUARANTEE = "delivery.guarantee"
_OR_WITHOUT = "or set delivery.guarantee = at_least_once"


def try_transactions(config: Mapping[str, Any], transactional_id: str, timeout: float) -> None:
    """Return when ``init_transactions`` succeeds; blocks for ``timeout`` seconds at most. Any thread.

    The brokers remember the id for a week. Raises ``SettingsError`` for a refusal that waiting cannot solve, and
    ``Unreachable`` for everything else: the start tries again within ``start_timeout``.
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


_METADATA, _CONNECT = 2.0, 2.0
"""Seconds for the list of the brokers, and for a connection to each of them."""
_LATE = f"no answer within {_CONNECT:g} s"
_POLL = 0.05
"""Seconds between two looks at the client's statistics."""


class Advertised(NamedTuple):
    """The address that one broker advertises: ``host:port``."""

    broker: int
    address: str

    def unreachable(self, why: str) -> str:
        """Return the problem as one line."""
        return f"broker {self.broker} advertises {self.address}, which cannot be reached: advertised.listeners ({why})"


def unreachable_brokers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Connect to all brokers at the same time; return one line for each that cannot be reached.

    The addresses are those that a new client learns, from its statistics: once it knows the brokers, it may send no
    request to a bootstrap address any more. Blocks for 4 s at most.
    """
    learned: dict[int, str] = {}

    def note(statistics: str) -> None:
        brokers = json.loads(statistics)["brokers"].values()
        learned.update({each["nodeid"]: each["nodename"] for each in brokers if each["nodeid"] >= 0})

    client = admin_client({**config, "stats_cb": note, "statistics.interval.ms": 50})
    end = monotonic() + _METADATA
    while not learned and monotonic() < end:
        client.poll(_POLL)
    answers = [(each, in_thread(partial(_failure, each))) for each in starmap(Advertised, sorted(learned.items()))]
    wait([answer for _, answer in answers], _CONNECT)  # a name lookup cannot be interrupted
    failures = [(each, answer.result() if answer.done() else _LATE) for each, answer in answers]
    return tuple(each.unreachable(why) for each, why in failures if why is not None)


def _failure(broker: Advertised) -> str | None:
    host, _, port = broker.address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
    except TimeoutError:
        return _LATE
    except (OSError, ValueError) as error:  # the address may be none: ".svc.local:9092" has an empty label
        return getattr(error, "strerror", None) or str(error)
    return None
