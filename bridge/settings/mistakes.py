"""pydantic's findings as lines for people: key, value unless it is secret, what is allowed, where it came from."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import ErrorDetails

from bridge.errors import Mistake
from bridge.settings.addresses import mask_credentials
from bridge.settings.catalogue import Path, Unknown, dotted, most_alike, place_at, row_fields
from bridge.settings.kind import Kind, as_text
from bridge.settings.layers import Given

_ROUTES = ("topics", "routes")
_SHOWN = 100  # characters of a wrong value: enough to find it, and one line stays one line


def path_of(detail: ErrorDetails) -> Path:
    """Where a finding is."""
    return tuple(str(segment) for segment in detail["loc"])


def mistake_of(detail: ErrorDetails, origins: Mapping[Path, Given]) -> Mistake:
    """One line for one finding."""
    path = path_of(detail)
    given = origins.get(path[:2] if path[:2] == _ROUTES else path)
    source = f" (from {given.origin})" if given else ""
    return Mistake(_key(path), _message(detail, _kind(path), path) + source)


def _message(detail: ErrorDetails, kind: Kind | None, path: Path) -> str:
    problem = detail.get("ctx", {}).get("error", "is not allowed")
    allowed = kind.allowed if kind else "a table of settings"
    if detail["type"] == "missing":
        return f"is missing; allowed: {allowed}"
    if detail["type"] == "extra_forbidden":
        known = most_alike(path[-1], row_fields(place_at(_ROUTES)))
        return f"unknown key; nearest known key: {_key((*path[:-1], known))}"
    return f"{_value(detail, kind)} {problem}; allowed: {allowed}"


def _key(path: Path) -> str:
    """The key as text; a row of a list as ``topics.routes[0].topic``."""
    if path[:2] != _ROUTES or len(path) == len(_ROUTES):
        return dotted(path)
    return dotted((_ROUTES[0], f"{_ROUTES[1]}[{path[2]}]", *path[3:]))


def _kind(path: Path) -> Kind | None:
    if path[:2] == _ROUTES and len(path) > 3:  # noqa: PLR2004 - topics.routes, the row, its field
        return row_fields(place_at(_ROUTES)).get(path[3])
    try:
        return place_at(path).kind
    except (Unknown, ValueError):
        return None


def _value(detail: ErrorDetails, kind: Kind | None) -> str:
    if kind is None or kind.secret:
        return "the value (not shown)"
    try:
        return quoted(mask_credentials(as_text(detail["input"])))
    except ValueError:
        return "the value"


def quoted(text: str) -> str:
    """A wrong value as a mistake shows it: in quotes, printable, not too long."""
    shown = repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
