"""Combines the status of several daemons: who owns which shards, which sessions have problems, and rates. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, OnErrorOmit, PlainValidator, ValidationError

from bridge.admin.status.replicas import Outcome, Replica, tables
from bridge.core.snapshot import BAD_STATES

OWNED = "owned"
"""The state of a shard whose sessions are bridged."""
_STREAMING = "streaming"
Rates = Mapping[str, float]
"""Acknowledged records per second, by the name of a session. A session of a new epoch has no rate yet."""


class _Reported(BaseModel):
    """Values of a daemon. One that is missing or of another type has its default: other versions answer too."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    @classmethod
    def of(cls, reported: Mapping[str, Any]) -> Self:
        """Validate what was reported."""
        try:
            return cls.model_validate(reported)
        except ValidationError as error:
            wrong = {each["loc"][0] for each in error.errors()}
            return cls.model_validate({name: value for name, value in reported.items() if name not in wrong})


# Not ``str``: pydantic refuses lone surrogates, and a session id may contain one.
_Text = Annotated[str, PlainValidator(lambda value: "" if value is None else str(value))]
_OptionalText = Annotated[str | None, PlainValidator(lambda value: None if value is None else str(value))]


class ShardStatus(_Reported):
    """One shard, as its owner reports it."""

    shard: int
    state: _Text = ""
    problem: Annotated[_OptionalText, Field(alias="trouble")] = None
    """Why it cannot be acquired, or waits."""


class SessionStatus(_Reported):
    """One session, as its daemon reports it. Ages in seconds; None: never, or not reported."""

    replica: str
    server: _Text = ""
    session: _Text = ""
    state: _Text = ""
    epoch: int | None = None
    sequence: int = 0
    acknowledged_sequence: int = 0
    in_flight: int = 0
    last_event_age: float | None = None
    last_byte_age: float | None = None
    reconnects: int = 0
    last_error: _OptionalText = None

    @property
    def has_problem(self) -> bool:
        """Whether it has an error or a bad state."""
        return self.last_error is not None or self.state in BAD_STATES

    @property
    def name(self) -> str:
        """``<server>/<session id>``."""
        return f"{self.server}/{self.session}"


class Member(_Reported):
    """One daemon that answered."""

    name: _Text
    """``<instance or host>:<process id>``; its URL if an older version does not report it."""
    url: str
    namespace: _Text = ""
    version: _Text = ""
    ready: bool
    started_at_ms: int | None = None
    shards: list[OnErrorOmit[ShardStatus]] | None = None
    """None: not reported."""
    sessions: list[SessionStatus]
    failing: tuple[str, ...]
    shard_count: int = 0
    """The number of all shards; 0: not reported."""
    others: dict[_Text, int] = {}
    """The other running owners that it sees, with their number of shards."""


def rates_between(before: Iterable[SessionStatus], now: Iterable[SessionStatus], seconds: float) -> Rates:
    """Return the rates of the sessions that both queries found in the same epoch; one may have moved meanwhile."""
    known = {(one.name, one.epoch): one.acknowledged_sequence for one in before}
    found = [one for one in now if (one.name, one.epoch) in known and seconds > 0]
    return {one.name: max(0, one.acknowledged_sequence - known[one.name, one.epoch]) / seconds for one in found}


def members(replicas: Iterable[Replica]) -> list[Member]:
    """Return the daemons that answered."""
    return [_member(each) for each in replicas if each.outcome is Outcome.ANSWERED]


def _member(replica: Replica) -> Member:
    status, sessions = replica.status, []
    bridge = status["bridge"] if isinstance(status.get("bridge"), dict) else {}
    name = bridge.get("owner") or bridge.get("instance") or replica.url.partition("://")[2]
    for each in tables(status.get("sessions")):
        # Behind the parent of several workers, it runs in one of them.
        process = f"{name} worker-{each['worker']}" if "worker" in each else str(name)
        sessions.append(SessionStatus.of(each | {"replica": process}))
    own = {"name": name, "url": replica.url, "ready": replica.ready, "failing": replica.failing, "sessions": sessions}
    shards = {"shards": status.get("shards"), "shard_count": status.get("shard_count")}
    return Member.of({**bridge, **own, **shards, "others": status.get("replicas")})


def ranked(found: Sequence[Member], rates: Rates | None = None) -> list[SessionStatus]:
    """Return all sessions, the worst first: a bad state, an error, records that do not move, no stream, the others."""

    def rank(one: SessionStatus) -> tuple[bool, bool, bool, bool, str, str]:
        is_stuck = one.in_flight > 0 and (rates or {}).get(one.name) == 0.0
        is_streaming, is_well = one.state == _STREAMING, one.last_error is None
        return (one.state not in BAD_STATES, is_well, not is_stuck, is_streaming, one.server, one.session)

    return sorted((session for member in found for session in member.sessions), key=rank)


def warnings(found: Sequence[Member]) -> Iterator[str]:
    """Return a line for each contradiction between daemons, and for each shard with a problem or without an owner."""
    namespaces = sorted({member.namespace for member in found})
    if len(namespaces) > 1:
        yield f"these replicas are of different namespaces: {', '.join(namespaces)}"
    for namespace in namespaces:
        fleet = [member for member in found if member.namespace == namespace]
        yield from _shard_problems(fleet)
        yield from _not_owned(fleet)
        yield from _bridged_twice(fleet)


def _shard_problems(fleet: Sequence[Member]) -> Iterator[str]:
    owners = defaultdict(list)
    for member in fleet:
        for one in member.shards or ():
            if one.problem is not None:
                yield f"{member.name}, shard {one.shard} ({one.state}): {one.problem}"
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
