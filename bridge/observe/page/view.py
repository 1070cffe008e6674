"""What the live page shows, as one JSON object without null. Pure.

A member that is missing is 0, empty, false or never happened: most sessions have no error and nothing in flight, and
5,000 of them must stay small. Moments are seconds of ``clock`` and not ages, so that a value changes only when
something happened, and the difference between two views stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from bridge.core.snapshot import BAD_STATES, BridgeSnapshot, Counters, SessionSnapshot, session_status
from bridge.observe.health import liveness, readiness
from bridge.observe.page.feed import Change, Present, Source

STOPPED, ERROR, LOST = 3, 2, 1
"""How much trouble a session has: it is not bridged; it has an error; events were lost since the start."""


_MOST_NAMES = 6
"""Failed checks that the verdict names: with many workers, one cause fails a check of each."""


def of_snapshot(snapshot: Callable[[], BridgeSnapshot]) -> Source:
    """The source of a feed for one process."""

    async def take() -> Present:
        now = snapshot()
        totals = Counters.total(now.totals().values())
        return Present(totals, partial(view, now, totals))

    return take


def view(snapshot: BridgeSnapshot, totals: Counters, hour: Change) -> dict[str, Any]:
    """The whole view; ``totals`` is the sum of all counters of the snapshot."""
    checks = (*liveness(snapshot).checks, *readiness(snapshot).checks)
    return judged({
        "clock": round(snapshot.taken_at, 3),
        "checks": {each.name: {"ok": each.ok, "detail": each.detail} for each in checks},
        "bridge": _bridge(snapshot),
        "replicas": {name: {"shards": shards} for name, shards in snapshot.replica.others.items()},
        "shards": {str(each.number): without_empty(asdict(each)) for each in snapshot.replica.shards},
        "servers": _servers(snapshot),
        "topics": {each.name: without_empty(_topic(asdict(each))) for each in snapshot.topics},
        "sessions": {f"{each.server}/{each.session}": _row(each, snapshot) for each in snapshot.sessions},
        **figures(totals, hour),
    })  # fmt: skip


def figures(totals: Counters, hour: Change) -> dict[str, Any]:
    """The members of a view that count: since the start, and in the last hour."""
    return {
        "dead_letters": {
            reason: {"total": count, "hour": hour.dead_letters.get(reason, 0)}
            for reason, count in totals.dead_letters.items()
        },
        "totals": {name: getattr(totals, name) for name in hour.counts},
        "hour": {**hour.counts, "seconds": round(hour.seconds), "per_minute": list(hour.per_minute)},
    }


def judged(shown: dict[str, Any]) -> dict[str, Any]:
    """A view with its verdict: the level (``ok``, ``attention``, ``failing``), and one line.

    The line has no numbers that change all the time.
    """
    level, text = _verdict(shown)
    return shown | {"verdict": {"level": level, "text": text}}


def _verdict(shown: Mapping[str, Any]) -> tuple[str, str]:
    failing = [name for name, check in shown["checks"].items() if not check["ok"]]
    if failing:
        more = [f"{len(failing) - _MOST_NAMES:,} more"] if len(failing) > _MOST_NAMES else []
        names = ", ".join([*failing[:_MOST_NAMES], *more])
        return "failing", f"Not ready: {_count(len(failing), 'check')} failed ({names})"
    concerns = list(_concerns(shown))
    if concerns:
        return "attention", f"Ready, but {'; '.join(concerns)}"
    return "ok", f"Ready: {_count(len(shown['sessions']), 'session')}, all checks passed"


def _concerns(shown: Mapping[str, Any]) -> Iterator[str]:
    """What a person should look at although every check passed."""
    sessions, hour = shown["sessions"].values(), shown["hour"]
    troubled = sum(row.get("trouble", 0) >= ERROR for row in sessions)
    left_out = sum(each.get("not_bridged", 0) for each in shown["servers"].values())
    warned = sum("warnings" in each for each in shown["topics"].values())
    gaps = hour["gaps"] + hour["unresumable"]
    dead_letters = sum(each["hour"] for each in shown["dead_letters"].values())
    counts = (
        (troubled, f"{troubled:,} of {_count(len(sessions), 'session')} with a problem"),
        (left_out, f"{_count(left_out, 'session')} not bridged (servers.<name>.max_sessions)"),
        (gaps, f"{_count(gaps, 'gap')} in the last hour: events may be lost"),
        (dead_letters, f"{_count(dead_letters, 'dead letter')} in the last hour"),
        (warned, f"{_count(warned, 'topic')} with a warning"),
    )
    return (text for number, text in counts if number)


def trouble(session: SessionSnapshot) -> int:
    """How much trouble the session has; 0: none."""
    if session.state in BAD_STATES:
        return STOPPED
    if session.last_error is not None:
        return ERROR
    return LOST if session.counters.gaps or session.counters.unresumable else 0


def detail(snapshot: BridgeSnapshot, server: str, session_id: str) -> dict[str, Any] | None:
    """The body of ``/api/sessions/<server>/<id>``; None if the session does not run here."""
    session = next((each for each in snapshot.sessions if (each.server, each.session) == (server, session_id)), None)
    if session is None:
        return None
    return {
        **session_status(session),
        "title": _title(session, snapshot),
        "counters": asdict(session.counters),
        "lifecycle": [
            {"type": each.event.kind, "unix_ms": each.unix_ms, "epoch": each.epoch, "sequence": each.sequence}
            | {name: value for name, value in asdict(each.event).items() if name != "kind"}
            for each in reversed(session.lifecycle)
        ],
    }


def _row(session: SessionSnapshot, snapshot: BridgeSnapshot) -> dict[str, Any]:
    counters, taken_at = session.counters, snapshot.taken_at
    row = {
        "server": session.server,
        "session": session.session,
        "title": _title(session, snapshot),
        "state": session.state,
        "trouble": trouble(session),
        "received": counters.received,
        "sequence": session.sequence,
        "event_at": _moment(session.last_event_age, taken_at),
        "byte_at": _moment(session.last_byte_age, taken_at),
        "in_flight": session.in_flight,
        "reconnects": counters.reconnects,
        "gaps": counters.gaps + counters.unresumable,
        "missing": counters.missing_events,
        "error": session.last_error,
    }
    return without_empty(row)


def _title(session: SessionSnapshot, snapshot: BridgeSnapshot) -> str:
    server = snapshot.servers.get(session.server)
    return "" if server is None else server.titles.get(session.session, "")


def _bridge(snapshot: BridgeSnapshot) -> dict[str, Any]:
    replica = snapshot.replica
    return without_empty({
        "version": snapshot.version,
        "namespace": snapshot.namespace,
        "owner": replica.owner,
        "host": replica.host,
        "pid": replica.pid,
        "shard_count": replica.shard_count,
        "started_at_ms": snapshot.started_at_ms,
        "buffer_bytes": snapshot.buffer_bytes,
        "buffer_limit": snapshot.buffer_limit,
        "checkpoints_written": snapshot.checkpoints_written,
        "kafka_answered_at": _moment(snapshot.kafka_last_answer_age, snapshot.taken_at),
    })  # fmt: skip


def _servers(snapshot: BridgeSnapshot) -> dict[str, Any]:
    states = Counter((each.server, each.state == "streaming") for each in snapshot.sessions)
    return {
        name: without_empty({
            "reachable": each.reachable,
            "listed_at": _moment(each.last_discovery_age, snapshot.taken_at),
            "listed": each.listed,
            "not_bridged": each.not_bridged,
            "streaming": states[name, True],
            "sessions": states[name, True] + states[name, False],
        })
        for name, each in snapshot.servers.items()
    }  # fmt: skip


def _topic(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"warnings": list(values["warnings"])}


def _moment(age: float | None, taken_at: float) -> float | None:
    return None if age is None else round(taken_at - age, 1)


def without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in values.items() if value}


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
