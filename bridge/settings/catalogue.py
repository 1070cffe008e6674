"""The keys that exist, derived from the model, and the values at them. Pure.

A path is a tuple of segments; in a template, ``*`` stands for a name that the user picks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.settings.checks import header_name, property_name, server_name
from bridge.settings.describe import annotation_of, base_type, is_group, is_table
from bridge.settings.model import Settings

Path = tuple[str, ...]

PREFIX = "MIX_BRIDGE_"
ABSENT: Final = object()
"""No value: the key is in only one of two trees."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that users pick below a key: their check, and the meaning of ``_`` in a variable."""

    allowed: str
    check: Callable[[str], str]
    underscore: str = "_"
    whole: bool = True  # a name may contain separators: all that follows in a key belongs to it

    def checked(self, name: str) -> str:
        """The name in its one spelling. ValueError for an invalid one."""
        # Header names are case-insensitive (RFC 9110, 5.1): with two spellings, two sources would give two headers
        name = name.lower() if self.check is header_name else name
        try:
            return self.check(name)
        except ValueError as problem:
            raise ValueError(f"{name!r} {problem}; allowed: {self.allowed}") from None


# By path, because the key gives its names their meaning
NAMES: dict[Path, Names] = {
    ("servers",): Names("lower-case letters and digits, with single _ or - between them", server_name, whole=False),
    ("servers", "*", "headers"): Names("the name of a header that the bridge does not send itself", header_name, "-"),
    ("kafka", "properties"): Names("the name of a librdkafka property", property_name, "."),
    ("topics", "config"): Names("the name of a topic setting", property_name, "."),
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the reference."""

    path: Path
    annotation: Any
    default: Any
    required: bool
    description: str
    example: Any  # for keys without a default: a value, or a name with its value
    open: bool = False  # the last segment is a name that the user picks

    @property
    def dotted(self) -> str:
        """The key as in TOML and ``--set``, with ``<name>`` for names that the user picks."""
        return dotted(tuple("<name>" if segment == "*" else segment for segment in self.path))


class Unknown(Exception):
    """There is no such key."""


@dataclass(frozen=True, slots=True)
class Place:
    """The target of a path: a table of settings, or one setting."""

    path: Path
    template: Path
    annotation: Any

    @property
    def is_table(self) -> bool:
        return is_table(self.annotation)

    @property
    def names(self) -> Names | None:
        """The rule for names that the user picks below this place; None if its keys are fixed."""
        return NAMES.get(self.template)

    def child(self, name: str) -> Place:
        """The place one segment further. Unknown if there is none, ValueError for an invalid name."""
        if self.names is not None:
            return Place((*self.path, self.names.checked(name)), (*self.template, "*"), get_args(self.annotation)[1])
        field = fields_of(self.annotation).get(name)
        if field is None:
            raise Unknown
        return Place((*self.path, name), (*self.template, name), annotation_of(field))


ROOT = Place((), (), Settings)


def dotted(path: Sequence[str]) -> str:
    """A path as in TOML and ``--set``."""
    return ".".join(path)


def variable(path: Sequence[str]) -> str:
    """The name of the variable for a path."""
    return PREFIX + "__".join(re.sub(r"[.-]", "_", segment).upper() for segment in path)


def place_at(segments: Sequence[str]) -> Place:
    """The place at a path, or of a key split at its dots (``kafka.properties.client.id``). Errors as `Place.child`."""
    place, rest = ROOT, list(segments)
    while rest:
        if place.names is not None and place.names.whole:
            rest = [".".join(rest)]
        place = place.child(rest.pop(0))
    return place


def place_of_variable(segments: Sequence[str]) -> Place:
    """The place of a variable's name, split and in small letters. Errors as `place_at`."""
    place, rest = ROOT, list(segments)
    while rest:
        names = place.names
        if names is not None and names.whole:
            rest = ["__".join(rest)]
        name = rest.pop(0)
        if place.template == ("servers",) and "-" in name:  # the interface allows only what a variable can contain
            raise ValueError("a server name with - can come only from TOML, JSON or options")
        place = place.child(name.replace("_", names.underscore) if names else name)
    return place


def fields_of(annotation: Any) -> dict[str, FieldInfo]:  # noqa: ANN401 - a type expression
    """The fields of a group; nothing for other types."""
    return annotation.model_fields if is_group(annotation) else {}


def row_fields(annotation: Any) -> dict[str, Any]:  # noqa: ANN401 - a type expression
    """The types of the fields of a table in a list of tables."""
    row = next(iter(get_args(base_type(annotation))), None)
    return {name: annotation_of(field) for name, field in fields_of(row).items()}


@cache
def all_keys() -> tuple[Key, ...]:
    """Every key, in the order of the model."""
    return tuple(_keys(Settings, ()))


def _keys(model: Any, path: Path) -> Iterator[Key]:  # noqa: ANN401 - a type expression
    for name, field in fields_of(model).items():
        here, annotation = (*path, name), annotation_of(field)
        is_open = get_origin(annotation) is dict
        if is_open:
            here, annotation = (*here, "*"), get_args(annotation)[1]
        if is_group(annotation):
            yield from _keys(annotation, here)
        else:
            description = " ".join((field.description or "").split())
            example = field.examples[0] if field.examples else None
            yield Key(here, annotation, field.default, field.is_required(), description, example, is_open)


def values(settings: Settings) -> Iterator[tuple[Path, Any]]:
    """Every value with its path."""
    for key in all_keys():
        yield from _found(settings, key.path, ())


def _found(node: Any, template: Path, path: Path) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - a group, table or value
    if not template:
        yield path, node
    elif template[0] == "*":
        for name, item in node.items():
            yield from _found(item, template[1:], (*path, name))
    else:
        yield from _found(getattr(node, template[0]), template[1:], (*path, template[0]))


def replaced(node: Any, path: Path, value: object) -> Any:  # noqa: ANN401 - a table of the tree
    """The tree with another value at a path; `ABSENT` removes a name that a user picked."""
    head, rest = path[0], path[1:]
    if isinstance(node, BaseModel):
        return node.model_copy(update={head: replaced(getattr(node, head), rest, value) if rest else value})
    if rest:
        return {**node, head: replaced(node[head], rest, value)}
    kept = {name: each for name, each in node.items() if name != head}
    return kept if value is ABSENT else {**kept, head: value}
