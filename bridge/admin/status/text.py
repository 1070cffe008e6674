"""The output of ``mix-bridge status`` for people. Text from daemons is made visible. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bridge.admin.status.fleet import OWNED, Member, Rates, SessionStatus, members, ranked, warnings
from bridge.admin.status.replicas import Outcome, Replica
from bridge.admin.text import age, counted, table
from bridge.core.terminal_text import shortened, visible

_MAX_ERROR = 300
"""Characters of an error; `--json` has all of it."""
_MAX_NAME = 60
_MAX_SESSION = 100
T = TypeVar("T")
_GOOD, _WARNING, _BAD = "green", "yellow", "red"


def parts(
    replicas: Sequence[Replica], now_ms: int, most: int | None, rates: Rates | None = None
) -> Iterator[RenderableType]:
    """Replicas with their shards, warnings, then sessions, in at most ``most`` lines; None: all sessions.

    ``rates``: since the query before; None without one, and then there is no column for them.
    """
    found = members(replicas)
    sessions = ranked(found, rates)
    by_url = {member.url: member for member in found}
    notes = []
    for replica in replicas:
        if (member := by_url.get(replica.url)) is None:
            notes.append(_line(f"{replica.url.partition('://')[2]}: {replica.error or ''}", _BAD))
        elif not member.ready:
            notes += [_line(f"{member.name}: {each}", _WARNING) for each in member.failing]
    notes += [_line(each, _WARNING, 2 * _MAX_ERROR) for each in warnings(found)]
    yield _summary(replicas, found, sessions, rates)
    yield ""
    yield _replica_table(replicas, by_url, now_ms, rates)
    yield from notes
    if sessions:
        yield ""
        used = len(replicas) + len(notes) + 5
        shown = sessions if most is None else _fitting(sessions, max(2, most - used))
        yield _session_table(shown, rates, has_replicas=len(found) > 1 or len({one.replica for one in sessions}) > 1)
        for one in shown:
            if one.last_error is not None:
                yield _line(f"{shortened(one.name, _MAX_SESSION)}: {one.last_error}", _BAD, _MAX_SESSION + _MAX_ERROR)
        if left := sessions[len(shown) :]:
            problems = sum(one.has_problem for one in left)
            which = f"{problems:,}" if problems else "none"
            more = f"and {counted(len(left), 'session')} more, {which} of them with a problem (--all, or --json)"
            yield Text(more, "bright_black")


def _line(text: str, style: str, limit: int = _MAX_ERROR) -> Text:
    return Text(shortened(visible(text), limit), style)


def _summary(
    replicas: Sequence[Replica], found: Sequence[Member], sessions: Sequence[SessionStatus], rates: Rates | None
) -> Text:
    namespaces = ", ".join(sorted({visible(member.namespace) for member in found}))
    problems = sum(one.has_problem for one in sessions)
    states = sorted(Counter(one.state for one in sessions).items(), key=lambda each: (-each[1], each[0]))
    counts = [f"{count:,} {visible(state)}" for state, count in states]
    counts += [f"{problems:,} with a problem"] if problems else []
    counts += [f"{_total(rates, sessions):,.0f} records/s"] if rates else []
    queried = counted(len(replicas), "replica")
    answered = queried if len(found) == len(replicas) else f"{len(found)} of {queried} answer"
    text = f"{answered}, {counted(len(sessions), 'session')}"
    text = f"{namespaces}: {text}" if found else text
    return Text(text + (f": {', '.join(counts)}" if counts else ""), "bold")


def _replica_table(
    replicas: Sequence[Replica], by_url: Mapping[str, Member], now_ms: int, rates: Rates | None
) -> Table:
    cells: dict[str, Callable[[Member], str]] = {
        "REPLICA": lambda one: visible(shortened(one.name, _MAX_NAME)),
        "STATE": lambda one: "ready" if one.ready else "not ready",
        "SESSIONS": lambda one: f"{len(one.sessions):,}",
        "IN FLIGHT": lambda one: f"{sum(each.in_flight for each in one.sessions):,}",
        **({} if rates is None else {"RATE": lambda one: f"{_total(rates, one.sessions):,.1f}"}),
        "UP": lambda one: "-" if one.started_at_ms is None else age(now_ms - one.started_at_ms),
        "VERSION": lambda one: visible(one.version),
        "SHARDS": _shards,
    }
    made = table(*cells, right=("SESSIONS", "IN FLIGHT", "RATE", "UP"), fold=("SHARDS",))
    for replica in replicas:
        member = by_url.get(replica.url)
        if member is None:
            state = "token" if replica.outcome is Outcome.REFUSED else "away"
            made.add_row(visible(replica.url.partition("://")[2]), state, *["-"] * (len(cells) - 2), style=_BAD)
        else:
            made.add_row(*(cell(member) for cell in cells.values()), style=_GOOD if member.ready else _WARNING)
    return made


def _shards(member: Member) -> str:
    """``0-3 6``, then those in another state: ``7 restoring``."""
    if member.shards is None:
        return "-"
    by_state = sorted(member.shards, key=lambda one: (one.state != OWNED, one.state, one.shard))
    texts = []
    for state, group in groupby(by_state, key=lambda one: one.state):
        text = spans(one.shard for one in group)
        texts.append(text if state == OWNED else f"{text} {visible(state)}")
    return ", ".join(texts) or "none"


def spans(numbers: Iterable[int]) -> str:
    """``0-3 6``."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in found)


def _fitting(sessions: Sequence[SessionStatus], budget: int) -> Sequence[SessionStatus]:
    """The sessions whose rows and errors fit; the hint that there are more needs one line."""
    used, shown = 0, 0
    for one in sessions:
        used += 1 if one.last_error is None else 2
        if used > budget - (shown + 1 < len(sessions)):
            break
        shown += 1
    return sessions[: max(1, shown)]


def _session_table(sessions: Sequence[SessionStatus], rates: Rates | None, *, has_replicas: bool) -> Table:
    # The first columns are the most important ones: a narrow terminal cuts the last ones
    cells: dict[str, Callable[[SessionStatus], str]] = {
        "STATE": lambda one: visible(one.state),
        "SESSION": lambda one: visible(shortened(one.name, _MAX_SESSION)),
        "SEQUENCE": lambda one: str(one.sequence),
        **({} if rates is None else {"RATE": lambda one: _or_dash(rates.get(one.name), "{:,.1f}".format)}),
        "IN FLIGHT": lambda one: f"{one.in_flight:,}",
        "EVENT": lambda one: _or_dash(one.last_event_age, _age),
        "BYTE": lambda one: _or_dash(one.last_byte_age, _age),
        "RECONNECTS": lambda one: f"{one.reconnects:,}",
        "EPOCH": lambda one: _or_dash(one.epoch, str),
        **({"REPLICA": lambda one: visible(shortened(one.replica, _MAX_NAME))} if has_replicas else {}),
    }
    made = table(*cells, right=cells.keys() - {"STATE", "SESSION", "REPLICA"}, fold=("SESSION",))
    for one in sessions:
        made.add_row(*(cell(one) for cell in cells.values()), style=_BAD if one.has_problem else None)
    return made


def _total(rates: Rates, sessions: Iterable[SessionStatus]) -> float:
    return sum(rates.get(one.name, 0.0) for one in sessions)


def _age(seconds: float) -> str:
    return age(round(seconds * 1000))


def _or_dash(value: T | None, text: Callable[[T], str]) -> str:
    return "-" if value is None else text(value)
