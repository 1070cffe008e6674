"""The effective settings for people and programs, with every secret masked. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr

from bridge.settings.addresses import mask_credentials
from bridge.settings.catalogue import Path, dotted, place_at, values
from bridge.settings.describe import shown
from bridge.settings.loading import Loaded
from bridge.settings.model import Settings
from bridge.settings.properties import is_public
from bridge.settings.quotes import quoted_secrets


def as_lines(loaded: Loaded) -> Iterator[str]:
    """One line per setting: key, value, and its origin if it is not a default."""
    for path, value in values(loaded.settings):
        origin = loaded.origins.get(path)
        source = f"  (from {origin})" if origin else ""
        text = _public_property(path, value) or shown(place_at(path).annotation, value) or '""'
        yield f"{dotted(path)} = {text}{source}"
    for name in loaded.empty:
        yield f"{name} is empty: it counts as not set"
    for warning in quoted_secrets(loaded.settings):
        yield f"warning: {warning}"


def as_document(settings: Settings) -> dict[str, Any]:
    """The tree for JSON: durations in seconds, sizes in bytes."""
    document = settings.model_dump(mode="json")
    properties = document["kafka"]["properties"]
    for name, value in settings.kafka.properties.items():
        properties[name] = _public_property(("kafka", "properties", name), value) or properties[name]
    return document


def _public_property(path: Path, value: Any) -> str | None:  # noqa: ANN401 - the value of any setting
    """The value of a Kafka property that is no secret; without the credentials of a URL."""
    is_property = path[:2] == ("kafka", "properties") and isinstance(value, SecretStr)
    return mask_credentials(value.get_secret_value()) if is_property and is_public(path[-1]) else None
