"""The JSON Schemas, as files and in a schema registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bridge.admin.contract.fields import LIFECYCLE_DATA
from bridge.errors import SettingsError
from bridge.kafka.schema_registry import RegistryRefusal, SchemaRegistry
from bridge.mix.schemas import Schema, event_schemas, identified, schema_text
from bridge.settings import Settings

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
