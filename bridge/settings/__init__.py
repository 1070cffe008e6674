"""Settings: read from all sources, checked as a whole, one frozen tree.

`loading` shows all steps. `model` and `server` define one field per setting, with the types of `values` and the
`checks` of texts; `describe` derives texts from the types, `catalogue` finds keys, `hints` suggests them.
`sources` read into `origins`; `mistakes` words pydantic's errors; `files` and `rules` check the tree;
`reference` and `show` print it.
"""

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
