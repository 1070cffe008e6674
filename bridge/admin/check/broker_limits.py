"""What the brokers' own settings allow a replica, where the bridge may see them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from bridge.errors import Mistake
from bridge.kafka.config import admin_client

_LEAST_SESSION, _MOST_SESSION = "group.min.session.timeout.ms", "group.max.session.timeout.ms"
_COPIES, _LEAST_COPIES = "transaction.state.log.replication.factor", "transaction.state.log.min.isr"
_NAMES = (_LEAST_SESSION, _MOST_SESSION, _COPIES, _LEAST_COPIES)


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """One cluster: numbers by the names of the brokers' settings, none where the bridge may not look."""

    brokers: int
    values: Mapping[str, int]

    def against_session_timeout(self, seconds: float) -> Mistake | None:
        """Whether a member with this session time-out would be sent away."""
        wanted = round(seconds * 1000)
        least, most = self.values.get(_LEAST_SESSION, 0), self.values.get(_MOST_SESSION, wanted)
        if least <= wanted <= most:
            return None
        text = f"{wanted} ms is not what the brokers allow; choose {least} to {most} ms, or have"
        return Mistake("kafka.group_session_timeout", f"{text} {_LEAST_SESSION} and {_MOST_SESSION} changed")

    @property
    def shortage(self) -> str | None:
        """Why there can be no coordinator of transactions: more copies of its topic are wanted than brokers are."""
        for name in (_COPIES, _LEAST_COPIES):
            if self.values.get(name, 0) > self.brokers:
                return f"the brokers' {name} is {self.values[name]}, and the brokers that run are {self.brokers}"
        return None


def ask_for_limits(config: Mapping[str, Any], patience: float) -> BrokerLimits:
    """Ask one broker; blocks for twice ``patience`` seconds at most. Without an answer there are no limits."""
    admin: AdminClient = admin_client(config)
    try:
        brokers = admin.list_topics(timeout=patience).brokers
        resource = ConfigResource(ResourceType.BROKER, str(min(brokers)))
        answer = admin.describe_configs([resource], request_timeout=patience)[resource].result(patience)
    except (KafkaException, NoAnswer, ValueError):  # not allowed, for most users: the trials tell what matters
        return BrokerLimits(0, {})
    return BrokerLimits(len(brokers), {name: int(answer[name].value) for name in _NAMES if name in answer})
