"""Mistakes as one line each: the key, the value unless it is secret, the allowed values, the origin. Pure.

For an unknown key, the key that was probably meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from bridge.errors import Mistake
from bridge.settings.addresses import mask_credentials
from bridge.settings.catalogue import ROOT, Path, Unknown, all_keys, dotted, fields_of, place_at, row_fields, variable
from bridge.settings.describe import allowed, is_secret, is_table
from bridge.settings.values import as_text

_ROUTES = ("topics", "routes")
_SHOWN = 100  # characters of a wrong value: enough to find it, and one line stays one line
_OUT_OF_RANGE = {"greater_than_equal", "less_than_equal"}
_ALIKE = 0.6  # of 1, as difflib counts: a short name with one wrong letter or two swapped ones is above


@dataclass(frozen=True, slots=True)
class Given:
    """A value and its origin: the variable, file or option to look at."""

    value: Any
    origin: str


def path_of(detail: ErrorDetails) -> Path:
    """The path of an error."""
    return tuple(str(segment) for segment in detail["loc"])


def mistake_of(detail: ErrorDetails, origins: Mapping[Path, Given]) -> Mistake:
    """One line for one error."""
    path = path_of(detail)
    given = origins.get(path[:2] if _is_in_a_row(path) else path)
    source = f" (from {given.origin})" if given else ""
    # pydantic's input may be parsed already: a duration in seconds, a word in small letters
    value = detail["input"] if given is None or _is_in_a_row(path) else given.value
    return Mistake(_key(path), _message(detail, path, value) + source)


def quoted(text: str) -> str:
    """A value as a mistake shows it: in quotes, printable, not too long."""
    shown = repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _message(detail: ErrorDetails, path: Path, value: object) -> str:
    if detail["type"] == "extra_forbidden":
        known = most_alike(path[-1], row_fields(place_at(_ROUTES).annotation))
        return f"unknown key; nearest known key: {_key((*path[:-1], known))}"
    annotation = _annotation(path)
    if detail["type"] == "missing":
        return f"is missing; allowed: {allowed(annotation)}"
    problem = "is out of range" if detail["type"] in _OUT_OF_RANGE else "is not allowed"
    problem = str(detail.get("ctx", {}).get("error", problem))
    return f"{_value(annotation, value)} {problem}; allowed: {allowed(annotation)}"


def _is_in_a_row(path: Path) -> bool:
    return path[:2] == _ROUTES and len(path) > len(_ROUTES)


def _key(path: Path) -> str:
    """The key as text; a row of a list as ``topics.routes[0].topic``."""
    if not _is_in_a_row(path):
        return dotted(path)
    return dotted((_ROUTES[0], f"{_ROUTES[1]}[{path[2]}]", *path[3:]))


def _annotation(path: Path) -> Any:  # noqa: ANN401 - a type expression; None for a row
    if not _is_in_a_row(path):
        return place_at(path).annotation
    return row_fields(place_at(_ROUTES).annotation).get(path[-1])


def _value(annotation: Any, value: object) -> str:  # noqa: ANN401 - a type expression
    if annotation is None or is_table(annotation) or is_secret(annotation):
        return "the value (not shown)"
    try:
        return quoted(mask_credentials(as_text(value)))
    except ValueError:
        return "the value"


def hint(path: Path) -> str:
    """Name the nearest key, as in TOML and as a variable."""
    found = nearest(path)
    name = "" if "<name>" in found else f" ({variable(found)})"
    return f"nearest known key: {dotted(found)}{name}"


def nearest(path: Path) -> Path:
    """The known key that was probably meant: the most alike on the level of each unknown name.

    If no name on that level is alike, the key may belong elsewhere (`port` for `http.port`): then all keys compete.
    They also do if one of them is more alike: `MIX_BRIDGE_HTTP_PORT` is more like `http.port` than like `http`.
    """
    place, rest = ROOT, list(path)
    while rest and place.is_table:
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
    return max(place.path, _nearest_of_all(path), key=lambda found: _likeness(dotted(found), dotted(path)))


def most_alike(wanted: str, known: Iterable[str]) -> str:
    """The known name most like the wanted one, with any separators and capitals."""
    return max(known, key=lambda name: _likeness(name, wanted))


def _nearest_of_all(path: Path) -> Path:
    known = (_with_names(key.path, path) for key in all_keys())
    return max(known, key=lambda candidate: _likeness(dotted(candidate), dotted(path)))


def _with_names(template: Path, path: Path) -> Path:
    """The template with the names that the path has at its places, or between the words of the template."""
    names = [path[at] if at < len(path) else "<name>" for at, segment in enumerate(template) if segment == "*"]
    words = "_".join("(.+)" if segment == "*" else segment for segment in template)
    if names and (found := re.fullmatch(words, _comparable(dotted(path)))) and len(template) != len(path):
        names = [*found.groups()]
    return tuple(names.pop(0) if segment == "*" else segment for segment in template)


def _likeness(known: str, wanted: str) -> float:
    known, wanted = _comparable(known), _comparable(wanted)
    # The end counts a little more: `port` alone is more like http.port than like topics.create
    return difflib.SequenceMatcher(None, known, wanted).ratio() + (0.3 if known.endswith("_" + wanted) else 0.0)


def _comparable(name: str) -> str:
    # Separators do not count: kafka.bootstrap-servers and KAFKA_BOOTSTRAP_SERVERS mean the same to a person
    return re.sub(r"[._-]+", "_", name.lower()).strip("_")
