"""What the answers of several daemons say together: who has which shards, which sessions are in trouble. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge.admin.status.replicas import Outcome, Replica, tables

OWNED = "owned"
"""The state of a shard whose sessions are bridged."""
_BAD = frozenset({"refused", "crashed"})
"""States of a session that are trouble by themselves."""


class ShardSeen(NamedTuple):
    """One shard, as its owner tells."""

    shard: int
    state: str
    trouble: str | None
    """What keeps it from being taken, or holds it up."""


@dataclass(frozen=True, slots=True)
class SessionSeen:
    """One session, as the daemon that bridges it tells. Ages in seconds; None: never, or not told."""

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
    def is_in_trouble(self) -> bool:
        """Whether somebody should look at it."""
        return self.error is not None or self.state in _BAD

    @property
    def name(self) -> str:
        """As everywhere: ``<server>/<session id>``."""
        return f"{self.server}/{self.session}"


@dataclass(frozen=True, slots=True)
class Member:
    """One daemon that answered."""

    name: str
    """As its claims have it; of an older version its URL."""
    url: str
    namespace: str
    version: str
    ready: bool
    started_ms: int | None
    shards: tuple[ShardSeen, ...] | None
    """None: it does not tell."""
    sessions: tuple[SessionSeen, ...]
    complaints: tuple[str, ...]
    """Why it is not ready."""
    shard_count: int
    """Of all replicas together; 0: not told."""
    others: Mapping[str, int]
    """Living owners of other shards, as it sees them, and how many they have."""


def members(replicas: Iterable[Replica]) -> list[Member]:
    """Those that answered."""
    return [_member(each) for each in replicas if each.outcome is Outcome.ANSWERED]


def _member(replica: Replica) -> Member:
    bridge = replica.status.get("bridge")
    told: Mapping[str, Any] = bridge if isinstance(bridge, dict) else {}
    name = _name(told, replica.url)
    started, shards = told.get("started_at_ms"), replica.status.get("shards")
    return Member(
        name=name,
        url=replica.url,
        namespace=_text(told.get("namespace")),
        version=_text(told.get("version")),
        ready=replica.ready,
        started_ms=started if isinstance(started, int) else None,
        shards=tuple(_shards(shards)) if isinstance(shards, list) else None,
        sessions=tuple(_session(name, each) for each in tables(replica.status.get("sessions"))),
        complaints=replica.failing,
        shard_count=_count(replica.status.get("shard_count")) or 0,
        others=_others(replica.status.get("replicas")),
    )


def _name(bridge: Mapping[str, Any], url: str) -> str:
    return _text(bridge.get("owner") or bridge.get("instance")) or url.partition("://")[2]


def _shards(value: object) -> Iterator[ShardSeen]:
    for each in tables(value):
        number, trouble = _count(each.get("shard")), each.get("trouble")
        if number is not None:
            yield ShardSeen(number, _text(each.get("state")), None if trouble is None else _text(trouble))


def _others(value: object) -> dict[str, int]:
    named = value if isinstance(value, dict) else {}
    return {owner: _count(count) or 0 for owner, count in named.items()}


def _session(replica: str, told: Mapping[str, Any]) -> SessionSeen:
    error = told.get("last_error")
    return SessionSeen(
        replica=replica,
        server=_text(told.get("server")),
        session=_text(told.get("session")),
        state=_text(told.get("state")),
        epoch=_count(told.get("epoch")),
        sequence=_count(told.get("sequence")) or 0,
        in_flight=_count(told.get("in_flight")) or 0,
        event_age=_number(told.get("last_event_age")),
        byte_age=_number(told.get("last_byte_age")),
        reconnects=_count(told.get("reconnects")) or 0,
        error=None if error is None else _text(error),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# What only all of them together tell


def ranked(found: Sequence[Member]) -> list[SessionSeen]:
    """All sessions: those in trouble first, and of those the worst."""
    sessions = [session for member in found for session in member.sessions]
    return sorted(sessions, key=lambda one: (not one.is_in_trouble, one.state not in _BAD, one.server, one.session))


def states(sessions: Iterable[SessionSeen]) -> list[tuple[str, int]]:
    """How many are in each state, the most frequent first."""
    return sorted(Counter(one.state for one in sessions).items(), key=lambda each: (-each[1], each[0]))


def quarrels(found: Sequence[Member]) -> Iterator[str]:
    """What cannot be right, or is not yet: a line for each."""
    namespaces = sorted({member.namespace for member in found})
    if len(namespaces) > 1:
        yield f"these replicas are of different namespaces: {', '.join(namespaces)}"
    for namespace in namespaces:
        fleet = [member for member in found if member.namespace == namespace]
        yield from _troubled_shards(fleet)
        yield from _owned_twice(fleet)
        yield from _owned_redirect_target(fleet)
        yield from _bridged_twice(fleet)


def _troubled_shards(fleet: Sequence[Member]) -> Iterator[str]:
    for member in fleet:
        for one in member.shards or ():
            if one.trouble is not None:
                yield f"{member.name}, shard {one.shard} ({one.state}): {one.trouble}"


def _owned_twice(fleet: Sequence[Member]) -> Iterator[str]:
    owners = defaultdict(list)
    for member in fleet:
        for one in member.shards or ():
            if one.state == OWNED:
                owners[one.shard].append(member.name)
    for shard, names in sorted(owners.items()):
        if len(names) > 1:
            yield f"shard {shard} has {len(names)} owners: {', '.join(names)}; all but one are about to notice"


def _owned_redirect_target(fleet: Sequence[Member]) -> Iterator[str]:
    """Shards that none of them has: somebody's who was not asked, or nobody's."""
    count = max((member.shard_count for member in fleet), default=0)
    theirs = {one.shard for member in fleet for one in member.shards or ()}
    missing = len(set(range(count)) - theirs)
    asked = {member.name for member in fleet}
    others = {name: shards for member in fleet for name, shards in member.others.items() if name not in asked}
    if others:
        told = ", ".join(f"{name} ({shards} of {count} shards)" for name, shards in sorted(others.items()))
        yield f"lives too, and was not asked (--url): {told}"
    elif missing:
        which = "1 shard has" if missing == 1 else f"{missing} of {count} shards have"
        yield f"{which} no owner here: just being moved, or left to nobody"


def _bridged_twice(fleet: Sequence[Member]) -> Iterator[str]:
    where = defaultdict(list)
    for member in fleet:
        for session in member.sessions:
            where[session.name].append(member.name)
    twice = {name: names for name, names in where.items() if len(names) > 1}
    if twice:
        name, names = min(twice.items())
        many = f"{len(twice)} sessions are" if len(twice) > 1 else "a session is"
        yield f"{many} bridged twice, {name} by {' and '.join(names)}: ask again, a shard may just have moved"
