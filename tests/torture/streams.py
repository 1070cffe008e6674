"""Evaluate the server's list of streams: readers of a session, times without a reader, overlaps. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import inf
from typing import Any, NamedTuple

OWNER = "x-replica"
"""A request header with the name of the replica's process."""

Span = tuple[float, float]


class Stream(NamedTuple):
    """One connection to a session's stream; seconds by :func:`bridge.clock.monotonic`."""

    number: int
    session: str
    owner: str
    opened: float
    closed: float
    """Infinity while it is open."""


class Together(NamedTuple):
    """Two streams of one session that overlapped."""

    seconds: float
    session: str
    owners: tuple[str, str]
    since: float


def stream_of(noted: Mapping[str, Any]) -> Stream:
    """Parse an entry of the server's list."""
    owner = noted["headers"].get(OWNER, "nobody")
    return Stream(
        noted["number"], noted["session"], owner, noted["opened"], inf if noted["closed"] is None else noted["closed"]
    )


def open_at(streams: Iterable[Stream], moment: float) -> dict[str, set[str]]:
    """Return, per session, the owners of the streams open at this moment."""
    found: dict[str, set[str]] = defaultdict(set)
    for each in streams:
        if each.opened <= moment < each.closed:
            found[each.session].add(each.owner)
    return found


def moved_after(streams: Sequence[Stream], owner: str, since: float) -> float | None:
    """Return the seconds until all sessions that ``owner`` read at that moment had another reader; None: not yet.

    0.0 when it read none.
    """
    took = [0.0]
    for session, owners in open_at(streams, since).items():
        if owner in owners:
            others = [each.opened for each in streams if each.session == session and each.owner != owner]
            took.append(min((opened for opened in others if opened >= since), default=inf) - since)
    return None if inf in took else max(took)


def longest_unread(streams: Iterable[Stream], since: float, until: float) -> float:
    """Return the longest time between two moments in which a session had no open stream."""
    by_session: dict[str, list[Stream]] = defaultdict(list)
    for each in streams:
        by_session[each.session].append(each)
    return max((_unread(each, since, until) for each in by_session.values()), default=0.0)


def _unread(streams: Sequence[Stream], since: float, until: float) -> float:
    read_to, longest = since, 0.0
    for each in sorted(streams, key=lambda one: one.opened):
        if each.opened < until:
            longest = max(longest, each.opened - read_to)
            read_to = max(read_to, each.closed)
    return max(longest, until - read_to)


def together(streams: Iterable[Stream], excused: Mapping[str, Sequence[Span]], until: float) -> list[Together]:
    """Return all overlaps of two streams of one session, the longest first.

    ``excused``: per owner the spans in which it was paused and could not close streams.
    """
    by_session: dict[str, list[Stream]] = defaultdict(list)
    for each in streams:
        by_session[each.session].append(each)
    found = [
        Together(seconds, one.session, (one.owner, other.owner), max(one.opened, other.opened))
        for mine in by_session.values()
        for one, other in combinations(mine, 2)
        if (seconds := _both(one, other, excused, until)) > 0
    ]
    return sorted(found, reverse=True)


def _both(one: Stream, other: Stream, excused: Mapping[str, Sequence[Span]], until: float) -> float:
    spans = [(max(one.opened, other.opened), min(one.closed, other.closed, until))]
    for owner in (one.owner, other.owner):
        for excuse in excused.get(owner, ()):
            spans = [rest for span in spans for rest in _without(span, excuse)]
    return max((end - start for start, end in spans), default=0.0)


def _without(span: Span, excuse: Span) -> list[Span]:
    rests = [(span[0], min(span[1], excuse[0])), (max(span[0], excuse[1]), span[1])]
    return [(start, end) for start, end in rests if start < end]
