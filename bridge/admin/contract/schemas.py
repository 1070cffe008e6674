"""Every attribute, header and member of the records, with its meaning; the JSON Schemas as files and in a registry.

docs/records.md describes the same names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from bridge.core.records.headers import Reason
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
