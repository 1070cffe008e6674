"""What a server's list of sessions says. Pure: one bad entry costs that entry, never the list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, NamedTuple

from bridge.clock import parse_rfc3339

_LONGEST_ID = 1024  # an id becomes part of a URL, a record key and a header, all of which have limits of a few KiB
_UNITS = ((1e17, 1e6), (1e14, 1e3), (1e11, 1.0))  # from this size on: nanoseconds, microseconds, milliseconds
_LATEST_MS = 253_402_300_800_000  # the year 10000: past every date format


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session as the server lists it. ``created_at_ms`` is Unix milliseconds, None when it says nothing we know."""

    id: str
    session_type: str
    created_at_ms: int | None
    parent_id: str | None


class Listing(NamedTuple):
    """The sessions, and one line without payload for each entry that is not one."""

    sessions: list[SessionSummary]
    skipped: list[str]


def read_listing(body: bytes) -> Listing:
    """The sessions in the body of ``GET /api/sessions``; ValueError when it is no list at all."""
    try:
        # A lone surrogate or a huge number in one title must not cost the list, as it does with stricter parsers.
        entries = json.loads(body.decode("utf-8", "replace"), parse_int=float)
    except RecursionError as error:
        raise ValueError("the list of sessions is nested too deeply") from error
    except ValueError as error:
        raise ValueError("the list of sessions is not JSON") from error
    if entries is None:  # what a Go server makes of an empty list
        entries = []
    if not isinstance(entries, list):
        raise ValueError("the list of sessions is no JSON array")  # noqa: TRY004 - bad input, not a bug of the caller
    skipped: list[str] = []
    return Listing(list(_sessions(entries, skipped)), skipped)


def _sessions(entries: list[Any], skipped: list[str]) -> Iterator[SessionSummary]:
    seen = set()
    for index, entry in enumerate(entries):
        flaw = _flaw(entry)
        if flaw is not None:
            skipped.append(f"entry {index}: {flaw}")
        elif entry["id"] not in seen:
            seen.add(entry["id"])
            yield _summary(entry)


def _flaw(entry: object) -> str | None:
    if not isinstance(entry, dict):
        return "not an object"
    session_id = entry.get("id")
    if not isinstance(session_id, str) or not session_id:
        return "id is not a non-empty string"
    if session_id in {".", ".."}:
        return "id is '.' or '..', which an address cannot carry (RFC 3986, section 5.2.4)"
    if len(session_id) > _LONGEST_ID:
        return f"id is longer than {_LONGEST_ID} characters"
    if any("\ud800" <= character <= "\udfff" for character in session_id):
        return "id holds a lone surrogate, which has no UTF-8"
    return None


def _summary(entry: Mapping[str, Any]) -> SessionSummary:
    kind, parent = entry.get("sessionType"), entry.get("parentSessionId")
    return SessionSummary(
        id=entry["id"],
        session_type=kind
        if isinstance(kind, str)
        else "main",  # only "subagent" is ever left out: do not lose a session
        created_at_ms=unix_ms_of(entry.get("createdAt")),
        parent_id=parent if isinstance(parent, str) and parent else None,
    )


def unix_ms_of(moment: object) -> int | None:
    """Unix milliseconds of a time in any usual form (Unix seconds to nanoseconds, RFC 3339), or None."""
    if isinstance(moment, str):
        return _of_text(moment.strip())
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        return None
    return _of_number(moment)


def _of_text(text: str) -> int | None:
    try:
        return _of_number(float(text))
    except ValueError:
        return _of_date(text)


def _of_date(text: str) -> int | None:
    try:
        return _if_sensible(parse_rfc3339(text, default_zone=UTC))
    except ValueError:
        return None


def _of_number(number: float) -> int | None:
    divisor = next((divisor for least, divisor in _UNITS if number >= least), 1e-3)
    return _if_sensible(number / divisor)


def _if_sensible(milliseconds: float) -> int | None:
    """Zero and the year 1 are Go's ways to say "never"; not-a-number is in no range."""
    return round(milliseconds) if 0 < milliseconds < _LATEST_MS else None
