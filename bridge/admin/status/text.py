"""What `status` says to people: lines with a colour each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from bridge.admin.status.fleet import OWNED, Member, SessionSeen, members, quarrels, ranked, states
from bridge.admin.status.replicas import Outcome, Replica
from bridge.cli.kafka_access import age, counted
from bridge.core.terminal_text import columns, shortened, visible

_ERROR = 300
"""Characters of an error; `--json` has all of it."""
_NAME = 60
_SESSION = 100
"""Characters of a session's name: one that is longer must not push the rest of all lines off the screen."""
_GOOD, _WARNED, _BAD, _DIM, _HEAD = "green", "yellow", "red", "bright_black", "bold"


class Line(NamedTuple):
    """One line of text that is safe for a terminal, and its colour."""

    text: str
    style: str = ""


def lines(replicas: Sequence[Replica], now_ms: int, most: int | None) -> Iterator[Line]:
    """All there is to say, and of sessions as much as fits into so many lines."""
    found = members(replicas)
    sessions = ranked(found)
    head = [_summary(replicas, found, sessions), Line(""), *_replica_lines(replicas, found, now_ms)]
    head += [Line(shortened(visible(said), 2 * _ERROR), _WARNED) for said in quarrels(found)]
    yield from head
    if sessions:
        yield Line("")
        budget = None if most is None else max(2, most - len(head) - 2)
        yield from _session_lines(sessions, len(found) > 1, budget)


def _summary(replicas: Sequence[Replica], found: Sequence[Member], sessions: Sequence[SessionSeen]) -> Line:
    namespaces = ", ".join(sorted({visible(member.namespace) for member in found}))
    troubled = sum(one.is_in_trouble for one in sessions)
    parts = [f"{count:,} {visible(state)}" for state, count in states(sessions)]
    parts += [f"{troubled:,} in trouble"] if troubled else []
    asked = counted(len(replicas), "replica")
    answered = asked if len(found) == len(replicas) else f"{len(found)} of {asked} answer"
    told = f"{answered}, {counted(len(sessions), 'session')}"
    told = f"{namespaces}: {told}" if found else told
    return Line(told + (f": {', '.join(parts)}" if parts else ""), _HEAD)


# Replicas


def _replica_lines(replicas: Sequence[Replica], found: Sequence[Member], now_ms: int) -> Iterator[Line]:
    by_url = {member.url: member for member in found}
    told = [by_url.get(replica.url) for replica in replicas]
    rows: list[tuple[str, ...]] = [("REPLICA", "STATE", "SESSIONS", "IN FLIGHT", "UP", "VERSION", "SHARDS")]
    rows += [_away(replica) if member is None else _row(member, now_ms) for replica, member in zip(replicas, told)]  # noqa: B905 - one comes of the other
    head, *texts = columns(rows, right=frozenset({2, 3, 4}))
    yield Line(head, _DIM)
    for text, replica, member in zip(texts, replicas, told, strict=True):
        yield Line(text, _BAD if member is None else _GOOD if member.ready else _WARNED)
        if member is None:
            yield Line(f"  {shortened(visible(replica.error or ''), _ERROR)}", _BAD)
        elif not member.ready:
            yield from (Line(f"  {shortened(visible(said), _ERROR)}", _WARNED) for said in member.complaints)


def _away(replica: Replica) -> tuple[str, ...]:
    state = "token" if replica.outcome is Outcome.REFUSED else "away"
    return visible(replica.url.partition("://")[2]), state, "-", "-", "-", "-", "-"


def _row(member: Member, now_ms: int) -> tuple[str, ...]:
    return (
        visible(shortened(member.name, _NAME)),
        "ready" if member.ready else "not ready",
        f"{len(member.sessions):,}",
        f"{sum(one.in_flight for one in member.sessions):,}",
        "-" if member.started_ms is None else age(now_ms - member.started_ms),
        visible(member.version),
        _shards(member),
    )


def _shards(member: Member) -> str:
    """``0-3 6``, then those that are under way: ``7 restoring``."""
    if member.shards is None:
        return "-"
    by_state = sorted(member.shards, key=lambda one: (one.state != OWNED, one.state, one.shard))
    told = []
    for state, group in groupby(by_state, key=lambda one: one.state):
        text = spans(one.shard for one in group)
        told.append(text if state == OWNED else f"{text} {visible(state)}")
    return ", ".join(told) or "none"


def spans(numbers: Iterable[int]) -> str:
    """``0-3 6``."""
    told: list[list[int]] = []
    for number in sorted(set(numbers)):
        if told and number == told[-1][1] + 1:
            told[-1][1] = number
        else:
            told.append([number, number])
    return " ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in told)


# Sessions


# What people look for first stands first: a narrow screen cuts the end
_SESSION_HEAD = ("STATE", "SESSION", "SEQUENCE", "IN FLIGHT", "EVENT", "BYTE", "RECONNECTS", "EPOCH", "REPLICA")


def _session_lines(sessions: Sequence[SessionSeen], several: bool, budget: int | None) -> Iterator[Line]:  # noqa: FBT001 - whether there is a column for it
    shown = _fitting(sessions, budget)
    rows: list[tuple[str, ...]] = [_SESSION_HEAD]
    rows += [_session_row(one) for one in shown]
    head, *texts = columns(rows if several else [row[:-1] for row in rows], right=frozenset(range(2, 8)))
    yield Line(head, _DIM)
    for text, one in zip(texts, shown, strict=True):
        yield Line(text, _BAD if one.is_in_trouble else "")
        if one.error is not None:
            yield Line(f"  {shortened(visible(one.error), _ERROR)}", _BAD)
    if left := len(sessions) - len(shown):
        troubled = sum(one.is_in_trouble for one in sessions[len(shown) :])
        which = f"{troubled:,} of them in trouble" if troubled else "none of them in trouble"
        yield Line(f"and {counted(left, 'session')} more, {which} (--all, or --json)", _DIM)


def _fitting(sessions: Sequence[SessionSeen], budget: int | None) -> Sequence[SessionSeen]:
    """As many as have their lines in the room; the hint that there are more takes one."""
    if budget is None:
        return sessions
    used, shown = 0, 0
    for one in sessions:
        used += 1 if one.error is None else 2
        if used > budget - (shown + 1 < len(sessions)):
            break
        shown += 1
    return sessions[: max(1, shown)]


def _session_row(one: SessionSeen) -> tuple[str, ...]:
    return (
        visible(one.state),
        visible(shortened(one.name, _SESSION)),
        str(one.sequence),
        f"{one.in_flight:,}",
        _age(one.event_age),
        _age(one.byte_age),
        f"{one.reconnects:,}",
        "-" if one.epoch is None else str(one.epoch),
        visible(shortened(one.replica, _NAME)),
    )


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else age(round(seconds * 1000))
