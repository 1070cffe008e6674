"""The values of one source: each setting with its origin, and the mistakes in keys.

Values of secret settings are wrapped immediately, so that no dump can show them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from bridge.errors import Mistake
from bridge.settings.addresses import Address
from bridge.settings.catalogue import ROOT, Path, Place, Unknown, dotted
from bridge.settings.describe import base_type, is_secret
from bridge.settings.mistakes import Given, hint


@dataclass(slots=True)
class SourceValues:
    """The settings of one source by path. Filled by one thread while settings are loaded."""

    origins: dict[Path, str] = field(default_factory=dict)
    """Origins of settings and of whole tables; a setting without its own has the origin of its table."""
    given: dict[Path, Given] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    """Variables that are set but empty: they count as not set."""
    unread: bool = False
    """The source could not be read, so a missing setting may be there."""

    def add(self, value: object, place: Place = ROOT) -> None:
        """Add the value of a setting, or all settings of a table."""
        origin = self.origin(place.path)
        if value is None:  # null in JSON
            return
        if not place.is_table:
            self.given[place.path] = Given(_hidden(place, value), origin)
        elif isinstance(value, Mapping):
            self._add_table(place, value, origin)
        else:
            self.not_a_table(place.path)

    def mistake(self, key: str, message: str, origin: str) -> None:
        self.mistakes.append(Mistake(_one_line(key), _one_line(f"{message} (from {origin})")))

    def cannot_read(self, named_by: str, message: str) -> None:
        self.unread = True
        self.mistake(named_by, message, named_by)

    def origin(self, path: Path) -> str:
        known = (path[:length] for length in range(len(path), -1, -1))
        return next((self.origins[each] for each in known if each in self.origins), "")

    def not_a_table(self, path: Path) -> None:
        self.mistake(dotted(path), "is not a table of settings", self.origin(path))

    def unknown(self, name: str, path: Path, origin: str) -> None:
        self.mistake(name, f"unknown key; {hint(path)}", origin)

    def without(self, paths: set[Path]) -> SourceValues:
        """The same without some settings, and without all settings below them."""
        kept = {
            path: given for path, given in self.given.items() if not any(path[: len(gone)] == gone for gone in paths)
        }
        return replace(self, given=kept)

    def values(self) -> dict[Path, Any]:
        # Copies: pydantic-settings writes the values below a table into it
        return {path: copy(given.value) for path, given in self.given.items()}

    def _add_table(self, place: Place, table: Mapping[str, Any], origin: str) -> None:
        if place.names is not None and place.names.whole:
            table = _flat(table)
        if not table and place.path:
            self.given.setdefault(place.path, Given({}, origin))
        for name, value in table.items():
            path = (*place.path, name)
            try:
                child = place.child(name)
            except Unknown:
                self.unknown(dotted(path), path, origin)
            except ValueError as problem:
                self.mistake(dotted(path), str(problem), origin)
            else:
                self.add(value, child)


def _hidden(place: Place, value: object) -> object:
    if not (is_secret(place.annotation) or base_type(place.annotation) is Address):
        return value
    if isinstance(value, bool):
        return SecretStr(str(value).lower())
    return SecretStr(str(value)) if isinstance(value, str | int | float) else value


def _one_line(text: str) -> str:
    """Escape control characters: a quoted key of TOML may contain a newline, but a mistake is one line."""
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: repr(match[0])[1:-1], text)


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of nested tables: TOML reads ``retention.ms = 1`` as a table ``retention`` with ``ms``."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
