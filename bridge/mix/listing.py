"""Parses a server's list of sessions, and selects some. Pure.

An invalid entry is skipped; it does not make the list invalid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final, NamedTuple

from bridge.clock import parse_rfc3339
from bridge.core.terminal_text import shortened

_LONGEST_ID: Final = 1024
"""Characters. An id becomes part of a URL, a record key and a header, which are all limited to a few KiB."""
_UNITS: Final = ((1e17, 1e6), (1e14, 1e3), (1e11, 1.0))
"""Numbers of at least this size are nanoseconds, microseconds, milliseconds; smaller ones are seconds."""
_LONGEST_TITLE: Final = 200
"""Characters that are kept: a title is for people, and a list may hold thousands."""
MOST_ENTRIES: Final = 100_000
"""Entries that are read: as many sessions as ``max_sessions`` allows at most."""
_MOST_OBJECTS: Final = 1_000_000
"""Objects and arrays of a list. Each takes 64 bytes of memory at least."""
_MOST_REPORTED: Final = 10
_DECODER: Final = json.JSONDecoder(parse_int=float)
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_LATEST_MS: Final = 253_402_300_800_000
"""The year 10000, which no date format can hold."""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session in the server's list. ``created_at_ms`` is Unix milliseconds, None if it is missing or unknown."""

    id: str
    session_type: str
    created_at_ms: int | None
    title: str = ""
    mark: int = field(default=0, compare=False)
    """What tells this version of the entry from another one: it has counts that rise with each message."""


class ListTooLarge(ValueError):
    """The list would need too much memory."""


class Listing(NamedTuple):
    """The sessions of a list, each once."""

    sessions: list[SessionSummary]
    skipped: list[str]
    """One line without payload for each of the first ten entries that were skipped."""
    skipped_count: int = 0
    """All entries that were skipped: invalid ones, and repeats of an id."""
    is_cut: bool = False
    """The list has more entries than are read."""


def read_listing(body: bytes) -> Listing:
    """The sessions in the body of ``GET /api/sessions``. Raises ValueError if the body is not a list.

    The entries are parsed one by one: all together would need up to sixty times the memory of the body.
    """
    if body.count(b"{") + body.count(b"[") > _MOST_OBJECTS:
        raise ListTooLarge(f"the list of sessions has more than {_MOST_OBJECTS:,} objects and arrays")
    # Stricter parsers reject the whole list because of a lone surrogate or a huge number in one title.
    text = body.decode("utf-8", "replace")
    sessions: dict[str, SessionSummary] = {}
    skipped: list[str] = []
    count = 0
    for index, entry in enumerate(_entries(text)):
        if index >= MOST_ENTRIES:
            return Listing(list(sessions.values()), skipped, count, is_cut=True)
        violation = _violation(entry, sessions)
        if violation is None:
            sessions[entry["id"]] = _summary(entry)
            continue
        count += 1
        if len(skipped) < _MOST_REPORTED:
            skipped.append(f"entry {index}: {violation}")
    return Listing(list(sessions.values()), skipped, count)


def _entries(text: str) -> Iterator[Any]:
    """The entries of a JSON array, each parsed when it is its turn. Raises ValueError for anything else."""
    at = _after_blank(text, 0)
    if not text.startswith("[", at):
        if _parsed(text, at)[0] is None:  # a Go server encodes an empty list so
            return
        raise ValueError("the list of sessions is not a JSON array")
    at = _after_blank(text, at + 1)
    while not text.startswith("]", at):
        entry, end = _parsed(text, at)
        yield entry
        at = _after_blank(text, end)
        if text.startswith(",", at):
            at = _after_blank(text, at + 1)
            if text.startswith("]", at):
                raise ValueError("the list of sessions is not JSON")
        elif not text.startswith("]", at):
            raise ValueError("the list of sessions is not JSON")
    if _after_blank(text, at + 1) != len(text):
        raise ValueError("the list of sessions is not JSON")


def _parsed(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins here, and where it ends."""
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError as error:
        raise ValueError("the list of sessions is nested too deeply") from error
    except ValueError as error:
        raise ValueError("the list of sessions is not JSON") from error


def _after_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return at if match is None else match.end()


def _violation(entry: object, sessions: Mapping[str, SessionSummary]) -> str | None:
    if not isinstance(entry, dict):
        return "not an object"
    session_id = entry.get("id")
    if not isinstance(session_id, str) or not session_id:
        return "id is not a non-empty string"
    if session_id in {".", ".."}:
        return "id is '.' or '..', which a URL cannot hold (RFC 3986, section 5.2.4)"
    if len(session_id) > _LONGEST_ID:
        return f"id is longer than {_LONGEST_ID} characters"
    if any("\ud800" <= character <= "\udfff" for character in session_id):
        return "id holds a lone surrogate, which UTF-8 cannot encode"
    return "the same id as an entry before" if session_id in sessions else None


def _summary(entry: Mapping[str, Any]) -> SessionSummary:
    kind, title = entry.get("sessionType"), entry.get("title")
    return SessionSummary(
        id=entry["id"],
        session_type=kind if isinstance(kind, str) else "main",  # only "subagent" is filtered: do not lose a session
        created_at_ms=unix_ms_of(entry.get("createdAt")),
        title=shortened(title, _LONGEST_TITLE) if isinstance(title, str) else "",
        mark=hash(repr(entry)),
    )


def unix_ms_of(time: object) -> int | None:
    """Unix milliseconds of a time in any usual format (Unix seconds to nanoseconds, RFC 3339), or None."""
    if isinstance(time, bool) or not isinstance(time, int | float | str):
        return None
    try:
        return _of_number(float(time))
    except ValueError:
        pass
    try:
        return _if_valid(parse_rfc3339(str(time).strip(), default_zone=UTC))
    except ValueError:
        return None


def _of_number(number: float) -> int | None:
    divisor = next((divisor for least, divisor in _UNITS if number >= least), 1e-3)
    return _if_valid(number / divisor)


def _if_valid(milliseconds: float) -> int | None:
    """Go writes "never" as zero or as the year 1. Not-a-number is outside every range."""
    return round(milliseconds) if 0 < milliseconds < _LATEST_MS else None


@dataclass(frozen=True, slots=True)
class DiscoveryRules:
    """The filters of discovery; ``created_within`` in seconds."""

    include_subagents: bool
    created_within: float | None


def discovered(listing: Iterable[SessionSummary], rules: DiscoveryRules, now_ms: int) -> tuple[str, ...]:
    """Return the ids of the sessions that pass the filters. A session of unknown age passes: too many lose nothing."""

    def passes(session: SessionSummary) -> bool:
        if session.session_type == "subagent" and not rules.include_subagents:
            return False
        if rules.created_within is None or session.created_at_ms is None:
            return True
        return now_ms - session.created_at_ms <= rules.created_within * 1000

    return tuple(session.id for session in listing if passes(session))
