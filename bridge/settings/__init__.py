"""Settings: read from all sources, checked as a whole, one frozen tree."""

from bridge.settings.addresses import Address
from bridge.settings.loading import Loaded, load, load_all
from bridge.settings.model import (
    DeliverySettings,
    EventSettings,
    HttpSettings,
    KafkaSettings,
    LogSettings,
    Route,
    Settings,
    TopicSettings,
)
from bridge.settings.server import ServerSettings

__all__ = [
    "Address",
    "DeliverySettings",
    "EventSettings",
    "HttpSettings",
    "KafkaSettings",
    "Loaded",
    "LogSettings",
    "Route",
    "ServerSettings",
    "Settings",
    "TopicSettings",
    "load",
    "load_all",
]
