"""Opens Kafka for a command: reads the settings and sends the logs to stderr."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.admin.kafka_access import KafkaAccess
    from bridge.cli.options import SettingsOptions
    from bridge.settings import Settings


def open_kafka(options: SettingsOptions, client_id: str = "mix-bridge") -> KafkaAccess:
    """Raises `SettingsError`, also when the brokers are missing."""
    from bridge.admin.kafka_access import KafkaAccess

    access = KafkaAccess.of(options.load().settings, client_id)
    start_command_logging(access.settings)
    return access


def start_command_logging(settings: Settings) -> None:
    """Start logging without the lines of Kafka's client: the command itself reports what they say."""
    from bridge.cli.logs import start_logging

    start_logging(settings)
    if settings.log.level != "debug":
        logging.getLogger("bridge.kafka.librdkafka").setLevel(logging.CRITICAL)
