"""Settings: read from all sources, checked as a whole, one frozen tree.

To read it, begin with `loading`, which does it step by step. What there is to set stands in `model` and `server`, one
field per key; `kind`, `kinds` and `lists` say what a value may be, with the `checks` of texts; `catalogue` finds keys.
`sources` fill `layers`, one each; `files`, `rules` and `properties` judge the tree, `mistakes` words what is wrong;
`reference` and `show` write it all out. `naming` says what follows from them in Kafka, `bounds` what they are held to.
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
