"""The rules of the settings for the events of one server."""

from __future__ import annotations

from types import MappingProxyType

from bridge.core.records.rules import Route, Rules, SchemaIds
from bridge.mix.events import SCHEMA_VERSION, VALIDATORS
from bridge.settings import Settings


def rules_of(server: str, settings: Settings, schema_ids: SchemaIds = MappingProxyType({})) -> Rules:
    """Return the rules that decide which record an event of this server becomes.

    ``schema_ids``: those that a schema registry gave to the schemas, as values of the header.
    """
    events, topics = settings.events, settings.topics
    return Rules(
        format=events.format,
        type_prefix=events.type_prefix,
        skip=frozenset(events.skip),
        unknown=events.unknown,
        invalid=events.invalid,
        max_bytes=events.max_bytes,
        events_topic=topics.events,
        dead_letters_topic=topics.dead_letters,
        routes=tuple(Route(route.match, route.topic, route.server) for route in topics.routes),
        schema=VALIDATORS if settings.servers[server].event_schema == "mix" else None,
        schema_version=SCHEMA_VERSION,
        traceparent=settings.telemetry.traceparent == "on",
        dataschema=settings.schemas.dataschema or "",
        schema_ids=schema_ids,
    )
