"""The AsyncAPI 3.1 document of the topics, for one bridge's settings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bridge import __version__
from bridge.admin.contract import schemas as fields
from bridge.admin.contract.schemas import LIFECYCLE, lifecycle_schema
from bridge.core.records.lifecycle import TYPE_PREFIX
from bridge.core.records.rules import CONNECTION_EVENTS
from bridge.mix.events import event_schemas
from bridge.settings import Settings

Document = dict[str, Any]

_KEY = {"type": "string", "description": "<server>/<session id>"}
_KAFKA = {"kafka": {"key": _KEY, "bindingVersion": "0.5.0"}}
_STRUCTURED = "application/cloudevents+json; charset=UTF-8"
_UNKNOWN = "unknown"
_DEAD_LETTER, _CHECKPOINT = "dead_letter", "checkpoint"


def document(settings: Settings) -> Document:
    """Return the document: a channel for each topic, a message for each event type."""
    channels = dict(_channels(settings))
    schemas = {**event_schemas(), LIFECYCLE: lifecycle_schema()}
    # Without ``$schema`` and ``$id``: references within the document are to its own components.
    own = {
        name: {key: each for key, each in schemas[name].items() if not key.startswith("$")}
        for name in [*_published(), LIFECYCLE]
    }
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": f"mix-bridge, namespace {settings.namespace}",
            "version": __version__,
            "description": "Topics that mix-bridge writes: docs/records.md describes their records. Consumers keep the"
            " highest sequence per key and topic-partition and drop a record that is not above it.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        **_servers(settings),
        "channels": channels,
        "operations": {
            f"publish_{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}} for name in channels
        },
        "components": {"messages": dict(_messages(settings)), "schemas": own},
    }


def _servers(settings: Settings) -> Document:
    protocol = "kafka-secure" if "SSL" in str(settings.kafka.security_protocol or "").upper() else "kafka"
    brokers = enumerate(settings.kafka.bootstrap_servers.split(",") if settings.kafka.bootstrap_servers else (), 1)
    found = {f"kafka{number}": {"host": str(broker).strip(), "protocol": protocol} for number, broker in brokers}
    return {"servers": found} if found else {}


def _channels(settings: Settings) -> Iterable[tuple[str, Document]]:
    topics = settings.topics
    events = [*_published(), _UNKNOWN]
    yield "events", _channel(topics.events, events, "Events, in the order of the stream for each key")
    routed = dict.fromkeys(route.topic for route in topics.routes if route.topic != topics.events)
    for number, topic in enumerate(routed, 1):
        yield f"route_{number}", _channel(topic, events, "Events that topics.routes sends here")
    letters = _channel(topics.dead_letters, [_DEAD_LETTER], "Events that could not be published unchanged")
    yield "dead_letters", letters
    yield "lifecycle", _channel(topics.lifecycle, [LIFECYCLE], "What happened to each session's stream, and why")
    yield "checkpoints", _channel(topics.checkpoints, [_CHECKPOINT], "Internal: positions of the sessions")


def _channel(topic: str, messages: Iterable[str], description: str) -> Document:
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _published() -> list[str]:
    return [name for name in event_schemas() if name not in CONNECTION_EVENTS]


def _messages(settings: Settings) -> Iterable[tuple[str, Document]]:
    for name in _published():
        yield name, _event(settings, name)
    yield _UNKNOWN, _event(settings, None)
    headers = {name: schema for name, schema in fields.HEADERS.items() if name != "bridge.replayed"}
    data = {"description": "The server's data, or its beginning"}
    yield _DEAD_LETTER, _message(_DEAD_LETTER, data, _object(headers, headers), "application/octet-stream")
    kinds = {"enum": [f"{TYPE_PREFIX}{kind}" for kind in fields.LIFECYCLE_KINDS]}
    attributes = _attributes(kinds) | {"id": {"type": "string", "description": "<epoch>:<number>:<kind>:<time in ms>"}}
    yield LIFECYCLE, _envelope(LIFECYCLE, attributes, {"$ref": f"#/components/schemas/{LIFECYCLE}"})
    position = {"type": ["object", "null"], "description": "May change in any version; null forgets the session"}
    yield _CHECKPOINT, _message(_CHECKPOINT, position)


def _event(settings: Settings, name: str | None) -> Document:
    """The message of an event type in the format of the settings; None: types without a schema."""
    data: Document = {"description": "The server's data"} if name is None else {"$ref": f"#/components/schemas/{name}"}
    full = f"{settings.events.type_prefix}{name}"
    attributes = _attributes({} if name is None else {"const": full})
    title = _UNKNOWN if name is None else full
    if settings.events.format == "structured":
        return _envelope(title, attributes, data)
    if settings.events.format == "binary":
        headers = {f"ce_{key}": schema for key, schema in attributes.items() if key != "datacontenttype"}
        required = [key for key in headers if key.removeprefix("ce_") not in fields.OPTIONAL_ATTRIBUTES]
    else:
        headers = {key: schema for key, schema in fields.HEADERS.items() if key not in fields.DEAD_LETTER_ONLY}
        required = [key for key in headers if key != "bridge.replayed"]
    return _message(title, data, _object(headers, required))


def _attributes(kind: Document) -> Document:
    return {**fields.ATTRIBUTES, "type": fields.ATTRIBUTES["type"] | kind}


def _envelope(name: str, attributes: Document, data: Document) -> Document:
    required = [key for key in attributes if key not in fields.OPTIONAL_ATTRIBUTES]
    headers = _object({"content-type": {"const": _STRUCTURED}}, ["content-type"])
    return _message(name, _object({**attributes, "data": data}, [*required, "data"]), headers, _STRUCTURED)


def _message(
    name: str, payload: Document, headers: Document | None = None, content_type: str = "application/json"
) -> Document:
    with_headers = {} if headers is None else {"headers": headers}
    return {"name": name, "contentType": content_type, **with_headers, "payload": payload, "bindings": _KAFKA}


def _object(properties: Mapping[str, Any], required: Iterable[str]) -> Document:
    return {"type": "object", "properties": dict(properties), "required": list(required)}
