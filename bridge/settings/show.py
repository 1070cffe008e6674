"""The effective settings for people and programs, with every secret masked. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bridge.settings.catalogue import Key, Path, all_keys, dotted
from bridge.settings.describe import shown
from bridge.settings.loading import Loaded
from bridge.settings.model import Settings
from bridge.settings.quotes import quoted_secrets


def as_lines(loaded: Loaded) -> Iterator[str]:
    """One line per setting: key, value, and its origin if it is not a default."""
    for path, key, value in values(loaded.settings):
        origin = loaded.origins.get(path)
        source = f"  (from {origin})" if origin else ""
        text = shown(key.annotation, value) or '""'
        yield f"{dotted(path)} = {text}{source}"
    for name in loaded.empty:
        yield f"{name} is empty: it counts as not set"
    for warning in quoted_secrets(loaded.settings):
        yield f"warning: {warning}"


def as_document(settings: Settings) -> dict[str, Any]:
    """The tree for JSON: durations in seconds, sizes in bytes."""
    return settings.model_dump(mode="json")


def values(settings: Settings) -> Iterator[tuple[Path, Key, Any]]:
    """Every value with its path and its key."""
    for key in all_keys():
        for path, value in _found(settings, key.path, ()):
            yield path, key, value


def _found(node: Any, template: Path, path: Path) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - a group, table or value
    if not template:
        yield path, node
    elif template[0] == "*":
        for name, item in node.items():
            yield from _found(item, template[1:], (*path, name))
    else:
        yield from _found(getattr(node, template[0]), template[1:], (*path, template[0]))
