"""The limits that the brokers' own settings put on a replica, where the bridge may read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from bridge.errors import Mistake
from bridge.kafka.config import admin_client, answer_of

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
