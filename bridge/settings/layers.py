"""One source, already read: which key got which value from where, and what was wrong with it.

Values of secret keys are wrapped at once, so that no dump of a layer can show them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from bridge.errors import Mistake
from bridge.settings.catalogue import Path, Place, Unknown, dotted, nearest, variable
from bridge.settings.kinds import Web
from bridge.settings.lists import json_value
from bridge.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Given:
    """A value and where it came from, as a person would look for it."""

    value: Any
    origin: str


@dataclass(slots=True)
class Layer:
    """What one source gives. Filled by one thread while settings are loaded."""

    given: dict[Path, Given] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    unread: bool = False
    """Nobody knows what the source would have given: nothing that is missing can be held against anybody."""

    def put(self, place: Place, value: object, origin: str) -> None:
        """Take a value for a place: a setting, or a table of settings below it."""
        if place.kind is None:
            self._put_table(place, value, origin)
        elif value is not None:
            hide = place.kind.secret or isinstance(place.kind, Web)
            self.given[place.path] = Given(_hidden(value) if hide else value, origin)

    def put_text(self, place: Place, text: str, origin: str) -> None:
        """As `put`, from a source of texts: a whole table is JSON."""
        if place.kind is not None:
            self.put(place, text, origin)
            return
        try:
            self.put(place, json_value(text), origin)
        except ValueError as problem:
            self.mistake(dotted(place.path), f"{problem}; allowed: a JSON object", origin)

    def mistake(self, key: str, message: str, origin: str) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(_one_line(key), _one_line(f"{message} (from {origin})")))

    def cannot_read(self, named_by: str, message: str) -> None:
        """Note that there is nothing to be had from the source."""
        self.unread = True
        self.mistake(named_by, message, named_by)

    def unknown(self, name: str, path: Path, origin: str) -> None:
        """Note a key that does not exist."""
        self.mistake(name, f"unknown key; {hint(nearest(path))}", origin)

    def without(self, paths: set[Path]) -> Layer:
        """The layer less some settings and what is below them."""
        kept = {
            path: given for path, given in self.given.items() if not any(path[: len(gone)] == gone for gone in paths)
        }
        return replace(self, given=kept, mistakes=list(self.mistakes))

    def tree(self) -> dict[str, Any]:
        """The values as nested tables."""
        root: dict[str, Any] = {}
        for path, given in self.given.items():
            table = root
            for segment in path[:-1]:
                table = table.setdefault(segment, {})
            if given.value == {}:
                table.setdefault(path[-1], {})
            else:
                table[path[-1]] = given.value
        return root

    def _put_table(self, place: Place, value: object, origin: str) -> None:
        if not isinstance(value, Mapping):
            self.mistake(dotted(place.path), "is not a table of settings", origin)
            return
        if place.names is not None and place.names.whole:
            value = _flat(value)
        if not value and place.path:
            self.given.setdefault(place.path, Given({}, origin))
        for name, item in value.items():
            self._put_child(place, str(name), item, origin)

    def _put_child(self, place: Place, name: str, value: object, origin: str) -> None:
        path = (*place.path, name)
        try:
            child = place.child(name)
        except Unknown:
            self.unknown(dotted(path), path, origin)
        except ValueError as problem:
            self.mistake(dotted(path), str(problem), origin)
        else:
            self.put(child, value, origin)


def hint(path: Path) -> str:
    """Names a known key in both spellings."""
    return (
        f"nearest known key: {dotted(path)} ({variable(path)})"
        if "<name>" not in path
        else (f"nearest known key: {dotted(path)}")
    )


class LayerSource(PydanticBaseSettingsSource):
    """A layer as a source of pydantic-settings, which puts the sources one above the other."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(Settings)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the signature is the library's
        """The value of one field."""
        return self._layer.tree().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All values."""
        return self._layer.tree()


def _hidden(value: object) -> object:
    if isinstance(value, bool):
        return SecretStr(str(value).lower())
    return SecretStr(str(value)) if isinstance(value, str | int | float) else value


def _one_line(text: str) -> str:
    """Control characters escaped: a quoted key of TOML may hold a newline, a mistake is one line."""
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: repr(match[0])[1:-1], text)


def _flat(table: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of nested tables: TOML reads ``retention.ms = 1`` as a table ``retention`` with ``ms``."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
