"""What the answers of several daemons say together: who has which shards, which sessions are in trouble. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge.cli.replicas import Outcome, Replica, tables

OWNED = "owned"
"""The state of a shard whose sessions are bridged."""
_BLOCKED = "blocked"
_BAD = frozenset({"refused", "crashed"})
"""States of a session that are trouble by themselves."""


class ShardSeen(NamedTuple):
    """One shard, as its owner tells."""

    shard: int
    state: str


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
    """Its instance, else its host and process, else its URL."""
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
    topics: Mapping[str, int | None]
    """Its topics' partitions; None: not there."""


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
        topics=_topics(replica.status.get("topics")),
    )


def _name(bridge: Mapping[str, Any], url: str) -> str:
    instance, host, pid = bridge.get("instance"), bridge.get("host"), bridge.get("pid")
    if instance:
        return _text(instance)
    return f"{host}:{pid}" if host and pid else url.partition("://")[2]


def _shards(value: object) -> Iterator[ShardSeen]:
    found = [(each.get("shard"), each.get("state")) for each in tables(value)]
    return (ShardSeen(number, _text(state)) for number, state in found if isinstance(number, int))


def _topics(value: object) -> dict[str, int | None]:
    named = value if isinstance(value, dict) else {}
    return {name: _count(topic.get("partitions")) for name, topic in named.items() if isinstance(topic, dict)}


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
        yield from _about_shards(fleet)
        yield from _bridged_twice(fleet)


def _about_shards(fleet: Sequence[Member]) -> Iterator[str]:
    owners = defaultdict(list)
    for member in fleet:
        for one in member.shards or ():
            if one.state == OWNED:
                owners[one.shard].append(member.name)
            elif one.state == _BLOCKED:
                yield f"{member.name} cannot go by the checkpoints of shard {one.shard}: see its log"
    for shard, names in sorted(owners.items()):
        if len(names) > 1:
            yield f"shard {shard} has {len(names)} owners: {', '.join(names)}; all but one are about to notice"


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


def unowned(found: Sequence[Member], checkpoints: str) -> Iterator[str]:
    """Which shards of the checkpoints topic none of them has."""
    told = [member for member in found if member.shards is not None]
    if not found or len(told) < len(found):
        return
    count = max(member.topics.get(checkpoints) or 0 for member in found)
    owned = {one.shard for member in told for one in member.shards or () if one.state == OWNED}
    if missing := sorted(set(range(count)) - owned):
        which = f"shard {missing[0]}" if len(missing) == 1 else f"{len(missing)} of {count} shards"
        yield f"none of these replicas owns {which} now: is one left out of --url, or are they just being moved?"
