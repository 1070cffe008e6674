"""For programs that consume the bridge's topics: the rule for consumers, in any format. See docs/consuming.md.

It imports only ``confluent_kafka`` and the standard library, nothing else of mix-bridge::

    for event in Events(consumer, ["mix.events"]):
        print(event.session, event.type, event.json())
"""

from bridge.consumer.events import CONFIG, Events
from bridge.consumer.models import MixEvent, model_of
from bridge.consumer.record import Event, NotAnEvent, event_of, event_of_message
from bridge.consumer.rule import FileStore, MemoryStore, Place, Rule, Store

__all__ = [
    "CONFIG",
    "Event",
    "Events",
    "FileStore",
    "MemoryStore",
    "MixEvent",
    "NotAnEvent",
    "Place",
    "Rule",
    "Store",
    "event_of",
    "event_of_message",
    "model_of",
]
