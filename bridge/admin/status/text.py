"""The output of ``mix-bridge status`` for people. Text from daemons is made visible. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

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
"""Characters of a session's name."""
_GOOD, _WARNING, _BAD = "green", "yellow", "red"


def parts(
    replicas: Sequence[Replica], now_ms: int, most: int | None, rates: Rates | None = None
) -> Iterator[RenderableType]:
    """Replicas with their shards, warnings, then sessions, in at most ``most`` lines; None: all sessions.

    ``rates``: since the query before; None without one, and then there is no column for them.
    """
    found = members(replicas)
    sessions = ranked(found, rates)
    notes = [*_failures(replicas, found), *(_line(each, _WARNING, 2 * _MAX_ERROR) for each in warnings(found))]
    yield _summary(replicas, found, sessions, rates)
    yield ""
    yield _replica_table(replicas, found, now_ms, rates)
    yield from notes
    if sessions:
        yield ""
        used = len(replicas) + len(notes) + 5
        several = len(found) > 1 or len({one.replica for one in sessions}) > 1
        yield from _session_parts(sessions, several, None if most is None else max(2, most - used), rates)


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
    counts += [f"{rates.total(sessions):,.0f} records/s"] if rates is not None and rates.by_session else []
    queried = counted(len(replicas), "replica")
    answered = queried if len(found) == len(replicas) else f"{len(found)} of {queried} answer"
    text = f"{answered}, {counted(len(sessions), 'session')}"
    text = f"{namespaces}: {text}" if found else text
    return Text(text + (f": {', '.join(counts)}" if counts else ""), "bold")


def _replica_table(replicas: Sequence[Replica], found: Sequence[Member], now_ms: int, rates: Rates | None) -> Table:
    by_url = {member.url: member for member in found}
    numbers = ("SESSIONS", "IN FLIGHT", *(() if rates is None else ("RATE",)), "UP")
    made = table("REPLICA", "STATE", *numbers, "VERSION", "SHARDS", right=numbers, fold=("SHARDS",))
    for replica in replicas:
        member = by_url.get(replica.url)
        if member is None:
            state = "token" if replica.outcome is Outcome.REFUSED else "away"
            rest = ("-",) * (len(numbers) + 2)
            made.add_row(visible(replica.url.partition("://")[2]), state, *rest, style=_BAD)
        else:
            made.add_row(*_replica_row(member, now_ms, rates), style=_GOOD if member.ready else _WARNING)
    return made


def _replica_row(member: Member, now_ms: int, rates: Rates | None) -> tuple[str, ...]:
    return (
        visible(shortened(member.name, _MAX_NAME)),
        "ready" if member.ready else "not ready",
        f"{len(member.sessions):,}",
        f"{sum(one.in_flight for one in member.sessions):,}",
        *(() if rates is None else (_rate(rates.total(member.sessions)),)),
        "-" if member.started_at_ms is None else age(now_ms - member.started_at_ms),
        visible(member.version),
        _shards(member),
    )


def _failures(replicas: Sequence[Replica], found: Sequence[Member]) -> Iterator[Text]:
    """Why replicas do not answer or are not ready."""
    by_url = {member.url: member for member in found}
    for replica in replicas:
        member = by_url.get(replica.url)
        if member is None:
            yield _line(f"{replica.url.partition('://')[2]}: {replica.error or ''}", _BAD)
        elif not member.ready:
            yield from (_line(f"{member.name}: {each}", _WARNING) for each in member.failing)


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


def _session_parts(
    sessions: Sequence[SessionStatus],
    several: bool,  # noqa: FBT001 - whether there is a column for the replica
    budget: int | None,
    rates: Rates | None,
) -> Iterator[RenderableType]:
    shown = _fitting(sessions, budget)
    yield _session_table(shown, several, rates)
    for one in shown:
        if one.last_error is not None:
            yield _line(f"{shortened(one.name, _MAX_SESSION)}: {one.last_error}", _BAD, _MAX_SESSION + _MAX_ERROR)
    if left := len(sessions) - len(shown):
        problems = sum(one.has_problem for one in sessions[len(shown) :])
        which = f"{problems:,} of them with a problem" if problems else "none of them with a problem"
        yield Text(f"and {counted(left, 'session')} more, {which} (--all, or --json)", "bright_black")


def _fitting(sessions: Sequence[SessionStatus], budget: int | None) -> Sequence[SessionStatus]:
    """The sessions whose rows and errors fit; the hint that there are more needs one line."""
    if budget is None:
        return sessions
    used, shown = 0, 0
    for one in sessions:
        used += 1 if one.last_error is None else 2
        if used > budget - (shown + 1 < len(sessions)):
            break
        shown += 1
    return sessions[: max(1, shown)]


def _session_table(
    sessions: Sequence[SessionStatus],
    several: bool,  # noqa: FBT001 - as above
    rates: Rates | None,
) -> Table:
    rate = () if rates is None else ("RATE",)
    numbers = ("SEQUENCE", *rate, "IN FLIGHT", "EVENT", "BYTE", "RECONNECTS", "EPOCH")
    # The first columns are the most important ones: a narrow terminal cuts the last ones
    names = ("STATE", "SESSION", *numbers, *(("REPLICA",) if several else ()))
    made = table(*names, right=numbers, fold=("SESSION",))
    for one in sessions:
        row = _session_row(one, rates)
        made.add_row(*(row if several else row[:-1]), style=_BAD if one.has_problem else None)
    return made


def _session_row(one: SessionStatus, rates: Rates | None) -> tuple[str, ...]:
    return (
        visible(one.state),
        visible(shortened(one.name, _MAX_SESSION)),
        str(one.sequence),
        *(() if rates is None else (_rate(rates.of(one)),)),
        f"{one.in_flight:,}",
        _age(one.last_event_age),
        _age(one.last_byte_age),
        f"{one.reconnects:,}",
        "-" if one.epoch is None else str(one.epoch),
        visible(shortened(one.replica, _MAX_NAME)),
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else age(round(seconds * 1000))
