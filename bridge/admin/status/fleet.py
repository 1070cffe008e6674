"""Combines the status of several daemons: who owns which shards, which sessions have problems. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge.admin.status.replicas import Outcome, Replica, tables

OWNED = "owned"
"""The state of a shard whose sessions are bridged."""
_BAD = frozenset({"refused", "crashed"})
"""States of a session that are a problem even without an error."""


class ShardStatus(NamedTuple):
    """One shard, as its owner reports it."""

    shard: int
    state: str
    problem: str | None
    """Why it cannot be acquired, or waits."""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """One session, as its daemon reports it. Ages in seconds; None: never, or not reported."""

    replica: str
    server: str
    session: str
    state: str
    epoch: int | None
    sequence: int
    in_flight: int
    event_age: float | None
    byte_age: float | None
    reconnects: int
    error: str | None

    @property
    def has_problem(self) -> bool:
        """Whether it has an error or a bad state."""
        return self.error is not None or self.state in _BAD

    @property
    def name(self) -> str:
        """``<server>/<session id>``."""
        return f"{self.server}/{self.session}"


@dataclass(frozen=True, slots=True)
class Member:
    """One daemon that answered."""

    name: str
    """``<instance or host>:<process id>``; its URL if an older version does not report it."""
    url: str
    namespace: str
    version: str
    ready: bool
    started_ms: int | None
    shards: tuple[ShardStatus, ...] | None
    """None: not reported."""
    sessions: tuple[SessionStatus, ...]
    failing: tuple[str, ...]
    """Why it is not ready."""
    shard_count: int
    """The number of all shards; 0: not reported."""
    others: Mapping[str, int]
    """The other running owners that it sees, with their number of shards."""


def members(replicas: Iterable[Replica]) -> list[Member]:
    """Return the daemons that answered."""
    return [_member(each) for each in replicas if each.outcome is Outcome.ANSWERED]


def _member(replica: Replica) -> Member:
    bridge = replica.status.get("bridge")
    reported: Mapping[str, Any] = bridge if isinstance(bridge, dict) else {}
    name = _name(reported, replica.url)
    started, shards = reported.get("started_at_ms"), replica.status.get("shards")
    return Member(
        name=name,
        url=replica.url,
        namespace=_text(reported.get("namespace")),
        version=_text(reported.get("version")),
        ready=replica.ready,
        started_ms=started if isinstance(started, int) else None,
        shards=tuple(_shards(shards)) if isinstance(shards, list) else None,
        sessions=tuple(_session(name, each) for each in tables(replica.status.get("sessions"))),
        failing=replica.failing,
        shard_count=_count(replica.status.get("shard_count")) or 0,
        others=_others(replica.status.get("replicas")),
    )


def _name(bridge: Mapping[str, Any], url: str) -> str:
    return _text(bridge.get("owner") or bridge.get("instance")) or url.partition("://")[2]


def _shards(value: object) -> Iterator[ShardStatus]:
    for each in tables(value):
        number, problem = _count(each.get("shard")), each.get("trouble")
        if number is not None:
            yield ShardStatus(number, _text(each.get("state")), None if problem is None else _text(problem))


def _others(value: object) -> dict[str, int]:
    named = value if isinstance(value, dict) else {}
    return {owner: _count(count) or 0 for owner, count in named.items()}


def _session(replica: str, reported: Mapping[str, Any]) -> SessionStatus:
    error = reported.get("last_error")
    return SessionStatus(
        replica=replica,
        server=_text(reported.get("server")),
        session=_text(reported.get("session")),
        state=_text(reported.get("state")),
        epoch=_count(reported.get("epoch")),
        sequence=_count(reported.get("sequence")) or 0,
        in_flight=_count(reported.get("in_flight")) or 0,
        event_age=_number(reported.get("last_event_age")),
        byte_age=_number(reported.get("last_byte_age")),
        reconnects=_count(reported.get("reconnects")) or 0,
        error=None if error is None else _text(error),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def ranked(found: Sequence[Member]) -> list[SessionStatus]:
    """Return all sessions: those with a bad state first, then those with an error, then the others."""
    sessions = [session for member in found for session in member.sessions]
    return sorted(sessions, key=lambda one: (not one.has_problem, one.state not in _BAD, one.server, one.session))


def states(sessions: Iterable[SessionStatus]) -> list[tuple[str, int]]:
    """Return the number of sessions in each state, the most frequent state first."""
    return sorted(Counter(one.state for one in sessions).items(), key=lambda each: (-each[1], each[0]))


def warnings(found: Sequence[Member]) -> Iterator[str]:
    """Return a line for each contradiction between daemons, and for each shard with a problem or without an owner."""
    namespaces = sorted({member.namespace for member in found})
    if len(namespaces) > 1:
        yield f"these replicas are of different namespaces: {', '.join(namespaces)}"
    for namespace in namespaces:
        fleet = [member for member in found if member.namespace == namespace]
        yield from _shard_problems(fleet)
        yield from _owned_twice(fleet)
        yield from _not_owned(fleet)
        yield from _bridged_twice(fleet)


def _shard_problems(fleet: Sequence[Member]) -> Iterator[str]:
    for member in fleet:
        for one in member.shards or ():
            if one.problem is not None:
                yield f"{member.name}, shard {one.shard} ({one.state}): {one.problem}"


def _owned_twice(fleet: Sequence[Member]) -> Iterator[str]:
    owners = defaultdict(list)
    for member in fleet:
        for one in member.shards or ():
            if one.state == OWNED:
                owners[one.shard].append(member.name)
    for shard, names in sorted(owners.items()):
        if len(names) > 1:
            yield f"shard {shard} has {len(names)} owners: {', '.join(names)}; all but one will notice and release it"


def _not_owned(fleet: Sequence[Member]) -> Iterator[str]:
    """Shards that no queried daemon has: another one owns them, or none."""
    count = max((member.shard_count for member in fleet), default=0)
    known = {one.shard for member in fleet for one in member.shards or ()}
    missing = len(set(range(count)) - known)
    queried = {member.name for member in fleet}
    others = {name: shards for member in fleet for name, shards in member.others.items() if name not in queried}
    if others:
        names = ", ".join(f"{name} ({shards} of {count} shards)" for name, shards in sorted(others.items()))
        yield f"also running, not queried (--url): {names}"
    elif missing:
        which = "1 shard has" if missing == 1 else f"{missing} of {count} shards have"
        yield f"{which} no owner here: just being moved, or not owned"


def _bridged_twice(fleet: Sequence[Member]) -> Iterator[str]:
    where = defaultdict(list)
    for member in fleet:
        for session in member.sessions:
            where[session.name].append(member.name)
    twice = {name: names for name, names in where.items() if len(names) > 1}
    if twice:
        name, names = min(twice.items())
        many = f"{len(twice)} sessions are" if len(twice) > 1 else "a session is"
        yield f"{many} bridged twice, {name} by {' and '.join(names)}: query again, a shard may just have moved"
