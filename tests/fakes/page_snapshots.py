"""Snapshots for the live page: a daemon without sessions, a healthy one, one in trouble, a full one, a hostile one."""

from __future__ import annotations

from dataclasses import replace

from bridge import clock
from bridge.core.records.lifecycle import LifecycleEvent, WrittenLifecycleEvent
from bridge.core.snapshot import (
    BridgeSnapshot,
    Counters,
    Replica,
    ServerSnapshot,
    SessionSnapshot,
    ShardSnapshot,
    TopicSnapshot,
)
from tests.fakes import snapshots

HOSTILE = '<img src=x onerror="window.wasHacked=1">\u202e\u0007<script>window.wasHacked=1</script>'
"""Markup, a right-to-left override and a control character."""
SHOWN_HOSTILE = HOSTILE.replace("\u202e", "\\u202e").replace("\u0007", "\\x07")

_GAP = LifecycleEvent(
    "gap", "skipped_ids", "the server no longer has events after the last one", "118", "121", missing=2
)
_ATTACHED = LifecycleEvent("attached", "new", "the session was discovered", None, "0")
LIFECYCLE = (
    WrittenLifecycleEvent(_ATTACHED, 1_700_000_001_000, 1_700_000_001, 0),
    WrittenLifecycleEvent(_GAP, 1_700_000_300_000, 1_700_000_001, 118),
)

_TOPICS = tuple(TopicSnapshot(f"mix.{name}", 8) for name in ("events", "dead-letters", "lifecycle"))
_SHARDS = tuple(ShardSnapshot(number, "owned", 40 + number, 3) for number in range(5))
_REPLICA = Replica(
    owner="bridge-0:7", instance="bridge-0", host="host", pid=7, shard_count=8, shards=_SHARDS, others={"bridge-1:9": 3}
)

EMPTY = replace(
    snapshots.WELL,
    buffer_limit=128 * 2**20,
    loops={"supervisor": 0.1},
    servers={"local": ServerSnapshot(reachable=True, discovers=True, last_discovery_age=2.0)},
    topics=_TOPICS,
    replica=replace(_REPLICA, shards=tuple(replace(each, sessions=0) for each in _SHARDS)),
)


def session(number: int, state: str = "streaming", server: str = "local", error: str | None = None) -> SessionSnapshot:
    """One of many sessions."""
    return SessionSnapshot(
        server, f"session-{number:04}", state,
        last_event_id=str(100 + number), epoch=1_700_000_001, sequence=100 + number, acknowledged_sequence=90 + number,
        in_flight=10, last_event_age=0.5 + number, last_byte_age=0.2, last_error=error, shard=number % 5,
        counters=Counters(received=100 + number, published=90 + number, reconnects=number % 3),
        lifecycle=LIFECYCLE[:1],
    )  # fmt: skip


def healthy(sessions: int = 14) -> BridgeSnapshot:
    """A daemon whose sessions all stream."""
    titles = {f"session-{number:04}": f"Refactor module {number}" for number in range(0, sessions, 2)}
    server = ServerSnapshot(reachable=True, discovers=True, last_discovery_age=2.0, listed=sessions, titles=titles)
    shown = tuple(session(each) for each in range(sessions))
    return replace(EMPTY, sessions=shown, servers={"local": server}, replica=_REPLICA)


def troubled() -> BridgeSnapshot:
    """A daemon with every kind of trouble."""
    well = healthy()
    lost = replace(
        session(30),
        counters=Counters(received=130, gaps=1, missing_events=2, dead_letters={"schema": 3, "oversize": 1}),
        lifecycle=LIFECYCLE,
    )
    more = (
        session(20, "waiting", "far", "connection refused (127.0.0.1:8088)"),
        session(21, "connecting", "far", "the name far.example does not resolve: check servers.far.url"),
        session(22, "refused", error="the server sends events without ids"),
        session(23, "crashed", error="bug: KeyError"),
        lost,
    )
    shards = (*_SHARDS[:4], ShardSnapshot(4, "blocked", None, 0, "checkpoint of far/1 is of a newer version"))
    topics = (
        *_TOPICS[:2],
        TopicSnapshot("mix.lifecycle", None, "does not exist: create it, or set topics.create"),
        TopicSnapshot("mix.tools", 4, warnings=("retention.ms is shorter than a day",)),
    )
    servers = {
        **well.servers,
        "far": ServerSnapshot(reachable=False, discovers=True, discovery_fails=True, not_bridged=3),
    }
    return replace(
        well,
        sessions=(*well.sessions, *more),
        servers=servers,
        topics=topics,
        kafka_last_answer_age=42.0,
        buffer_bytes=100 * 2**20,
        replica=replace(_REPLICA, shards=shards, with_other_servers=("bridge-1:9",)),
    )


def full(sessions: int = 5000) -> BridgeSnapshot:
    """A daemon with the largest number of sessions of a server; each fiftieth has an error."""
    well = healthy(sessions)
    some = tuple(
        replace(each, state="waiting", last_error="HTTP status 502") if not number % 50 else each
        for number, each in enumerate(well.sessions)
    )
    return replace(well, sessions=some)


def of_worker(number: int, sessions: int = 6) -> BridgeSnapshot:
    """One of two workers that share so many sessions and the shards 0 to 3; another replica has the others."""
    well = healthy(sessions)
    replica = replace(
        _REPLICA,
        owner=f"bridge-{number}:9",
        shards=tuple(replace(each, sessions=sessions // 4) for each in _SHARDS[2 * number - 2 : 2 * number]),
        others={f"bridge-{3 - number}:9": 2, "elsewhere:9": 4},
    )
    # A worker's snapshot is of now: all processes of a machine have the same clock
    own = tuple(each for at, each in enumerate(well.sessions) if 1 + at % 2 == number)
    return replace(well, sessions=own, replica=replica, taken_at=clock.monotonic())


def hostile() -> BridgeSnapshot:
    """A daemon whose servers send markup and characters that cannot be seen, wherever text is shown."""
    event = LifecycleEvent("gap", "skipped_ids", HOSTILE, HOSTILE, HOSTILE, missing=1)
    one = replace(
        session(1, "waiting", error=HOSTILE),
        session=HOSTILE,
        last_event_id=HOSTILE,
        counters=Counters(dead_letters={HOSTILE: 1}),
        lifecycle=(WrittenLifecycleEvent(event, 1_700_000_001_000, 1, 1),),
    )
    surrogate = replace(session(2), session="lone \ud800 surrogate")
    server = ServerSnapshot(reachable=True, titles={HOSTILE: HOSTILE})
    return replace(
        EMPTY,
        namespace=HOSTILE,
        sessions=(one, surrogate),
        servers={"local": server, "__proto__": server},
        topics=(TopicSnapshot("__proto__", 1, trouble=HOSTILE),),
        replica=replace(
            _REPLICA, owner=HOSTILE, others={HOSTILE: 1}, shards=(ShardSnapshot(1, "blocked", None, 1, HOSTILE),)
        ),
    )


def after(snapshot: BridgeSnapshot, seconds: float) -> BridgeSnapshot:
    """The same daemon later: each session has received some events more."""
    return replace(
        snapshot,
        taken_at=snapshot.taken_at + seconds,
        sessions=tuple(
            replace(each, counters=replace(each.counters, received=each.counters.received + int(seconds * (at % 7))))
            for at, each in enumerate(snapshot.sessions)
        ),
    )
