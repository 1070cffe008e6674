"""The contract with consumers as documents: JSON Schemas, as files and in a schema registry, and AsyncAPI 3.1.

It has every attribute, header and member of the records, with its meaning; docs/records.md describes the same names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from bridge import __version__
from bridge.core.records.lifecycle import TYPE_PREFIX
from bridge.core.records.record import Reason
from bridge.core.records.rules import CONNECTION_EVENTS
from bridge.errors import SettingsError
from bridge.kafka.schema_registry import RegistryRefusal, SchemaRegistry
from bridge.mix.events import Schema, event_schemas, identified, schema_text
from bridge.settings import Settings

_EPOCH = "^[0-9]{10}$"
_SEQUENCE = "^[0-9]{10}:[0-9]{12}$"
_TRACEPARENT = "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$"


def _text(description: str, **more: Any) -> Schema:  # noqa: ANN401 - keywords of JSON Schema
    return {"type": "string", "description": description, **more}


ATTRIBUTES: Mapping[str, Schema] = {
    "specversion": _text("Version of CloudEvents", const="1.0"),
    "id": _text("<epoch>:<number>", pattern=_SEQUENCE),
    "source": _text("/mix/<server>/sessions/<session id>, percent-encoded where needed", format="uri-reference"),
    "type": _text("events.type_prefix and the SSE event name"),
    "subject": _text("Session id"),
    "time": _text("When the bridge received the event, in UTC; a repeat has its own", format="date-time"),
    "datacontenttype": _text("text/plain when the data is not JSON", enum=["application/json", "text/plain"]),
    "sequence": _text("Orders all events of a session by string comparison; equal to id", pattern=_SEQUENCE),
    "epoch": _text("Numbering epoch of the session", pattern=_EPOCH),
    "sseid": _text("The event's own SSE id; absent if it has none"),
    "replayed": {"description": "Sent by `dead-letters replay`; otherwise absent", "enum": [True, "true"]},
    "traceparent": _text("W3C trace context; with telemetry.traceparent=on", pattern=_TRACEPARENT),
    "dataschema": _text("URI of the schema of the data; with schemas.dataschema", format="uri"),
}
"""CloudEvents attributes: members of a structured record, ``ce_`` headers of a binary one."""
OPTIONAL_ATTRIBUTES = frozenset({"sseid", "replayed", "traceparent", "dataschema"})

HEADERS: Mapping[str, Schema] = {
    "bridge.server": _text("Server of the session"),
    "bridge.session": _text("Session id"),
    "bridge.event": _text("SSE event name, at most 8 KiB"),
    "bridge.last_event_id": _text("The stream's last event id after the event, at most 8 KiB"),
    "bridge.epoch": _text("As the attribute epoch", pattern=_EPOCH),
    "bridge.sequence": _text("As the attribute sequence", pattern=_SEQUENCE),
    "bridge.received_at": _text("As the attribute time", format="date-time"),
    "bridge.bytes": _text("Size of the whole data", pattern="^[0-9]+$"),
    "bridge.sha256": _text("SHA-256 of the whole data", pattern="^[0-9a-f]{64}$"),
    "bridge.replayed": _text("Sent by `dead-letters replay`; otherwise absent", const="true"),
    "bridge.reason": _text("Why it is a dead letter", enum=[*get_args(Reason)]),
    "bridge.error": _text("What was wrong, on one line, without the data"),
}
"""Headers of raw records and dead letters."""
DEAD_LETTER_ONLY = frozenset({"bridge.reason", "bridge.error"})

LIFECYCLE_DATA: Mapping[str, Schema] = {
    "reason": _text("A code, for programs; others may be added"),
    "detail": _text("A sentence, for people"),
    "from_last_event_id": {"type": ["string", "null"], "description": "Last id before; a long one is cut"},
    "to_last_event_id": {"type": ["string", "null"], "description": "First id after; a long one is cut"},
    "missing": {"type": ["integer", "null"], "minimum": 0, "description": "Missing events; null if unknown"},
    "new_epoch": _text(
        "The epoch that begins with the next event; absent if the present one continues", pattern=_EPOCH
    ),
}
LIFECYCLE_KINDS = ("attached", "resumed", "gap", "reset", "unresumable", "ended")


LIFECYCLE = "lifecycle"


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject of the registry, and what came of it."""

    name: str
    id: str = ""
    """The header's value in hex."""
    error: str = ""


def lifecycle_schema() -> Schema:
    """The schema of the data of lifecycle records."""
    required = [name for name in LIFECYCLE_DATA if name != "new_epoch"]
    schema = {"title": "Lifecycle", "type": "object", "properties": dict(LIFECYCLE_DATA), "required": required}
    return identified(LIFECYCLE, schema | {"additionalProperties": True})


def export(folder: Path) -> list[Path]:
    """Write one file for each event type, and one for lifecycle records. Raises ``SettingsError``."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, schema in {**event_schemas(), LIFECYCLE: lifecycle_schema()}.items():
            path = folder / f"{name}.json"
            path.write_text(json.dumps(schema, indent=2) + "\n")
            written.append(path)
    except OSError as error:
        raise SettingsError.of("DIR", f"cannot write to {folder}: {error.strerror}") from error
    return written


def register(settings: Settings) -> list[Subject]:
    """Register all schemas. Raises ``SettingsError``, ``Unreachable``."""
    return _subjects(settings, SchemaRegistry.register)


def check(settings: Settings) -> list[Subject]:
    """Look all schemas up. Raises ``SettingsError``, ``Unreachable``."""
    return _subjects(settings, SchemaRegistry.header)


def _subjects(settings: Settings, ask: Callable[[SchemaRegistry, str, str], bytes | None]) -> list[Subject]:
    if settings.schemas.registry_url is None:
        raise SettingsError.of("schemas.registry_url", "is missing; allowed: the URL of a schema registry")
    registry, found = SchemaRegistry(settings.schemas.registry_url), []
    for event, schema in event_schemas().items():
        name = f"{settings.events.type_prefix}{event}"
        try:
            header = ask(registry, name, schema_text(schema))
            found.append(Subject(name, error="not registered") if header is None else Subject(name, header.hex()))
        except RegistryRefusal as refusal:
            found.append(Subject(name, error=str(refusal)))
    return found


_KEY = {"type": "string", "description": "<server>/<session id>"}
_KAFKA = {"kafka": {"key": _KEY, "bindingVersion": "0.5.0"}}
_STRUCTURED = "application/cloudevents+json; charset=UTF-8"
_UNKNOWN = "unknown"
_DEAD_LETTER, _CHECKPOINT = "dead_letter", "checkpoint"


def document(settings: Settings) -> Schema:
    """Return the document: a channel for each topic, a message for each event type."""
    channels, brokers = dict(_channels(settings)), settings.kafka.bootstrap_servers
    protocol = "kafka-secure" if "SSL" in str(settings.kafka.security_protocol or "").upper() else "kafka"
    servers = {
        f"kafka{number}": {"host": str(broker).strip(), "protocol": protocol}
        for number, broker in enumerate(brokers.split(",") if brokers else (), 1)
    }
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
        **({"servers": servers} if servers else {}),
        "channels": channels,
        "operations": {
            f"publish_{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}} for name in channels
        },
        "components": {"messages": dict(_messages(settings)), "schemas": own},
    }


def _channels(settings: Settings) -> Iterable[tuple[str, Schema]]:
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


def _channel(topic: str, messages: Iterable[str], description: str) -> Schema:
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _published() -> list[str]:
    return [name for name in event_schemas() if name not in CONNECTION_EVENTS]


def _messages(settings: Settings) -> Iterable[tuple[str, Schema]]:
    for name in _published():
        yield name, _event(settings, name)
    yield _UNKNOWN, _event(settings, None)
    headers = {name: schema for name, schema in HEADERS.items() if name != "bridge.replayed"}
    data = {"description": "The server's data, or its beginning"}
    yield _DEAD_LETTER, _message(_DEAD_LETTER, data, _object(headers, headers), "application/octet-stream")
    kinds = {"enum": [f"{TYPE_PREFIX}{kind}" for kind in LIFECYCLE_KINDS]}
    attributes = _attributes(kinds) | {"id": {"type": "string", "description": "<epoch>:<number>:<kind>:<time in ms>"}}
    yield LIFECYCLE, _envelope(LIFECYCLE, attributes, {"$ref": f"#/components/schemas/{LIFECYCLE}"})
    position = {"type": ["object", "null"], "description": "May change in any version; null forgets the session"}
    yield _CHECKPOINT, _message(_CHECKPOINT, position)


def _event(settings: Settings, name: str | None) -> Schema:
    """The message of an event type in the format of the settings; None: types without a schema."""
    data: Schema = {"description": "The server's data"} if name is None else {"$ref": f"#/components/schemas/{name}"}
    full = f"{settings.events.type_prefix}{name}"
    attributes = _attributes({} if name is None else {"const": full})
    title = _UNKNOWN if name is None else full
    if settings.events.format == "structured":
        return _envelope(title, attributes, data)
    if settings.events.format == "binary":
        headers = {f"ce_{key}": schema for key, schema in attributes.items() if key != "datacontenttype"}
        required = [key for key in headers if key.removeprefix("ce_") not in OPTIONAL_ATTRIBUTES]
    else:
        headers = {key: schema for key, schema in HEADERS.items() if key not in DEAD_LETTER_ONLY}
        required = [key for key in headers if key != "bridge.replayed"]
    return _message(title, data, _object(headers, required))


def _attributes(kind: Schema) -> Schema:
    return {**ATTRIBUTES, "type": ATTRIBUTES["type"] | kind}


def _envelope(name: str, attributes: Schema, data: Schema) -> Schema:
    required = [key for key in attributes if key not in OPTIONAL_ATTRIBUTES]
    headers = _object({"content-type": {"const": _STRUCTURED}}, ["content-type"])
    return _message(name, _object({**attributes, "data": data}, [*required, "data"]), headers, _STRUCTURED)


def _message(
    name: str, payload: Schema, headers: Schema | None = None, content_type: str = "application/json"
) -> Schema:
    with_headers = {} if headers is None else {"headers": headers}
    return {"name": name, "contentType": content_type, **with_headers, "payload": payload, "bindings": _KAFKA}


def _object(properties: Mapping[str, Any], required: Iterable[str]) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required)}
