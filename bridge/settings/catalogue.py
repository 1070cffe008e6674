"""The keys that exist, derived from the model: find one, list all, name the nearest to a misspelt one.

Pure. A path is a tuple of segments; in the list of all keys ``*`` stands for a name that the user picks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.settings.checks import header_name, property_name, server_name
from bridge.settings.kind import Check, Kind
from bridge.settings.lists import Rows
from bridge.settings.model import Settings

Path = tuple[str, ...]

PREFIX = "MIX_BRIDGE_"
_ALIKE = 0.6  # of 1, as difflib counts: one wrong or swapped letter in a short name is above


@dataclass(frozen=True, slots=True)
class Names:
    """How the user's own names below a key are written: what ``_`` of a variable means, how they are checked."""

    what: str
    check: Check
    underscore: str = "_"
    whole: bool = True  # a name may hold separators: all of a key that is left belongs to it

    def of_variable(self, text: str) -> str:
        """The name a (lower-case) piece of a variable name stands for."""
        return text.replace("_", self.underscore)

    def checked(self, name: str) -> str:
        """The name as it is kept. ValueError for one that cannot be."""
        # Header names are the same in any case (RFC 9110, 5.1): one spelling, or two sources would give two headers
        name = name.lower() if self.check is header_name else name
        try:
            self.check(name)
        except ValueError as problem:
            raise ValueError(f"{name!r} {problem}; allowed: {self.what}") from None
        return name


# Keyed by path, since it is the key that gives a name its meaning
NAMES: dict[Path, Names] = {
    ("servers",): Names("a-z and 0-9, with single _ or - between, in small letters", server_name, whole=False),
    ("servers", "*", "headers"): Names("a header's name that the bridge does not send itself", header_name, "-"),
    ("kafka", "properties"): Names("the name of a librdkafka property", property_name, "."),
    ("topics", "config"): Names("the name of a topic setting", property_name, "."),
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the reference."""

    path: Path
    kind: Kind
    default: Any
    required: bool
    description: str
    example: Any  # for keys without a default: a value, or a name with its value
    open: bool = False  # the last segment is a name that the user picks

    @property
    def dotted(self) -> str:
        """As TOML and ``--set`` write it, ``<name>`` for the user's names."""
        return dotted(tuple("<name>" if segment == "*" else segment for segment in self.path))


class Unknown(Exception):
    """There is no such key."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: a group of keys, a table of the user's names (`names`), or one setting (`kind`)."""

    path: Path
    template: Path
    annotation: Any
    kind: Kind | None = None

    @property
    def names(self) -> Names | None:
        """How the user's names below this place are written; None when its keys are fixed."""
        return NAMES.get(self.template)

    def child(self, name: str) -> Place:
        """The place one segment further. Unknown when there is none, ValueError for a name that cannot be."""
        if self.names is not None:
            name = self.names.checked(name)
            annotation = get_args(self.annotation)[1]
            return Place((*self.path, name), (*self.template, "*"), annotation, kind_of(annotation))
        fields = {} if self.kind else fields_of(self.annotation)
        if name not in fields:
            raise Unknown
        field = fields[name]
        return Place((*self.path, name), (*self.template, name), field.annotation, kind_of_field(field))


ROOT = Place((), (), Settings)


def dotted(path: Sequence[str]) -> str:
    """A path as TOML and ``--set`` write it."""
    return ".".join(path)


def variable(path: Sequence[str]) -> str:
    """The name of the variable for a path."""
    return PREFIX + "__".join(re.sub(r"[.-]", "_", segment).upper() for segment in path)


def place_at(path: Sequence[str]) -> Place:
    """Where a path leads. Unknown when nowhere."""
    place = ROOT
    for segment in path:
        place = place.child(segment)
    return place


@cache
def all_keys() -> tuple[Key, ...]:
    """Every key, in the order of the model."""
    return tuple(_keys(Settings, ()))


def nearest(path: Path) -> Path:
    """The known key that was probably meant: the most alike on the level of each unknown name.

    If no name on that level is alike, the key may belong elsewhere (`port` for `http.port`): then all keys compete.
    """
    place, rest = ROOT, list(path)
    while rest and place.kind is None:
        if place.names is not None and place.names.whole:
            rest = [".".join(rest)]
        name = rest.pop(0)
        if place.names is None:
            known = difflib.get_close_matches(_comparable(name), fields_of(place.annotation), n=1, cutoff=_ALIKE)
            name = known[0] if known else name
        try:
            place = place.child(name)
        except (Unknown, ValueError):
            return _nearest_of_all(path)
    return place.path


def most_alike(wanted: str, known: Iterable[str]) -> str:
    """The known name most like the wanted one, whatever separators and capitals they use."""
    return max(known, key=lambda name: _likeness(name, wanted))


def kind_of_field(field: FieldInfo) -> Kind | None:
    """The kind of a model's field; None for groups and tables."""
    return next((item for item in field.metadata if isinstance(item, Kind)), None)


def kind_of(annotation: Any) -> Kind | None:  # noqa: ANN401 - a type expression
    """The kind inside an ``Annotated``; None for groups and tables."""
    return next((item for item in get_args(annotation)[1:] if isinstance(item, Kind)), None)


def fields_of(annotation: Any) -> dict[str, FieldInfo]:  # noqa: ANN401 - a type expression
    """The fields of a model; nothing for other types."""
    return annotation.model_fields if is_group(annotation) else {}


def is_group(annotation: Any) -> bool:  # noqa: ANN401 - a type expression
    """Whether a type is a group of settings."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def row_fields(place: Place) -> dict[str, Kind | None]:
    """The kinds of the fields of the tables in a list of tables."""
    row = get_args(place.annotation)[0] if isinstance(place.kind, Rows) else None
    return {name: kind_of_field(field) for name, field in fields_of(row).items()}


def _keys(model: Any, path: Path) -> Iterator[Key]:  # noqa: ANN401 - a type expression
    for name, field in fields_of(model).items():
        here, kind = (*path, name), kind_of_field(field)
        if kind is not None:
            yield Key(here, kind, field.default, field.is_required(), field.description or "", _example(field))
        elif get_origin(field.annotation) is dict:
            yield from _named_keys(field, (*here, "*"))
        else:
            yield from _keys(field.annotation, here)


def _named_keys(field: FieldInfo, path: Path) -> Iterator[Key]:
    annotation = get_args(field.annotation)[1]
    kind = kind_of(annotation)
    if kind is None:
        yield from _keys(annotation, path)
    else:
        yield Key(path, kind, None, False, field.description or "", _example(field), open=True)  # noqa: FBT003 - required


def _example(field: FieldInfo) -> Any:  # noqa: ANN401 - as the key has it
    return field.examples[0] if field.examples else None


def _instance(template: Path, path: Path) -> Path:
    filled = [path[at] if segment == "*" and at < len(path) else segment for at, segment in enumerate(template)]
    return tuple("<name>" if segment == "*" else segment for segment in filled)


def _nearest_of_all(path: Path) -> Path:
    known = (_instance(key.path, path) for key in all_keys())
    return max(known, key=lambda candidate: _likeness(dotted(candidate), dotted(path)))


def _likeness(known: str, wanted: str) -> float:
    """How alike two names are: more is more."""
    known, wanted = _comparable(known), _comparable(wanted)
    # The whole, and a little the end: `port` alone is more like http.port than like topics.create
    return difflib.SequenceMatcher(None, known, wanted).ratio() + (0.3 if known.endswith("_" + wanted) else 0.0)


def _comparable(name: str) -> str:
    # Separators do not count: kafka.bootstrap-servers and KAFKA_BOOTSTRAP_SERVERS mean the same to a person
    return re.sub(r"[._-]+", "_", name.lower()).strip("_")
