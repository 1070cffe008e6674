"""The settings of a command that reads Kafka, with the client configuration made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bridge.errors import SettingsError
from bridge.kafka.config import client_config
from bridge.settings import Settings


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """The settings and the client configuration."""

    settings: Settings
    config: dict[str, Any]

    @classmethod
    def of(cls, settings: Settings, client_id: str = "mix-bridge") -> KafkaAccess:
        """Raises `SettingsError` without ``kafka.bootstrap_servers``; servers are not needed."""
        if not settings.kafka.bootstrap_servers:
            raise SettingsError.of("kafka.bootstrap_servers", "is missing; allowed: a list of host:port")
        config = client_config(settings.kafka, client_id) | {"compression.type": settings.kafka.compression}
        return cls(settings, config)
