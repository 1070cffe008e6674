"""pydantic's errors as one line each: the key, the value unless it is secret, the allowed values, the origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from bridge.errors import Mistake
from bridge.settings.addresses import mask_credentials
from bridge.settings.catalogue import Path, dotted, place_at, row_fields
from bridge.settings.describe import allowed, is_secret, is_table
from bridge.settings.hints import most_alike
from bridge.settings.origins import Given
from bridge.settings.values import as_text

_ROUTES = ("topics", "routes")
_SHOWN = 100  # characters of a wrong value: enough to find it, and one line stays one line
_OUT_OF_RANGE = {"greater_than_equal", "less_than_equal"}


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
