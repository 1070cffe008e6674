"""Registers the schemas in a schema registry, or checks that they are there."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import SettingsError
from bridge.kafka.schema_registry import RegistryRefusal, SchemaRegistry
from bridge.mix.schemas import event_schemas, schema_text
from bridge.settings import Settings


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject of the registry, and what came of it."""

    name: str
    id: str = ""
    """The header's value in hex."""
    error: str = ""


def register(settings: Settings) -> list[Subject]:
    """Register all schemas. Raises ``SettingsError``, ``Unreachable``."""
    registry = _registry(settings)
    found = []
    for name, text in _texts(settings):
        try:
            found.append(Subject(name, registry.register(name, text).hex()))
        except RegistryRefusal as refusal:
            found.append(Subject(name, error=str(refusal)))
    return found


def check(settings: Settings) -> list[Subject]:
    """Look all schemas up. Raises ``SettingsError``, ``Unreachable``."""
    registry = _registry(settings)
    found = []
    for name, text in _texts(settings):
        try:
            header = registry.header(name, text)
            found.append(Subject(name, error="not registered") if header is None else Subject(name, header.hex()))
        except RegistryRefusal as refusal:
            found.append(Subject(name, error=str(refusal)))
    return found


def _registry(settings: Settings) -> SchemaRegistry:
    if settings.schemas.registry_url is None:
        raise SettingsError.of("schemas.registry_url", "is missing; allowed: the URL of a schema registry")
    return SchemaRegistry(settings.schemas.registry_url)


def _texts(settings: Settings) -> list[tuple[str, str]]:
    return [(f"{settings.events.type_prefix}{name}", schema_text(each)) for name, each in event_schemas().items()]
