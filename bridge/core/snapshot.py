"""What the daemon tells about itself at one moment: values that health, metrics and status read, and nothing else.

The daemon hands a ``Callable[[], BridgeSnapshot]`` to the HTTP endpoint. It is called on the HTTP thread, so it must
only copy numbers: it never waits for Kafka, a server, or a lock that somebody holds across a call.
Ages are seconds since the thing happened; ``None``: it never did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True)
class Counters:
    """What was counted since the daemon started; every number only ever rises."""

    received: int = 0  # events that came off the stream, ``connected`` and ``heartbeat`` aside
    published: int = 0  # records of the events topic that Kafka acknowledged
    skipped: int = 0
    dead_letters: Mapping[str, int] = field(default_factory=dict)  # by ``bridge.reason``
    refused: int = 0  # records that Kafka refused
    rewinds: int = 0  # times the session was wound back to a refused record
    epochs_begun: int = 0
    reconnects: int = 0
    resumed: int = 0  # times a connection went on, proven, where the last one stopped
    gaps: int = 0  # times the server no longer had, or never sent, what the bridge lacks: events are missing for good
    missing_events: int = 0  # of those gaps, as far as the server's ids tell how many
    backfilled: int = 0  # times one more connection brought events that the server had skipped
    resets: int = 0  # times the server's ids started over
    unresumable: int = 0  # times a stream could not be resumed where it was left: events may be missing or repeated
    bytes_read: int = 0
    replaced_utf8: int = 0  # events in which bytes that are not UTF-8 were replaced
    discarded_tails: int = 0  # connections that ended inside a block
    discarded_bytes: int = 0  # the bytes of those blocks

    @classmethod
    def total(cls, parts: Iterable[Counters]) -> Counters:
        """The sum of the parts, field by field."""
        everything = tuple(parts)
        reasons: Counter[str] = Counter()
        for part in everything:
            reasons.update(part.dead_letters)
        sums = {name: sum(getattr(part, name) for part in everything) for name in _NUMBERS}
        return cls(dead_letters=dict(reasons), **sums)


_NUMBERS = tuple(each.name for each in fields(Counters) if each.name != "dead_letters")


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """One session that the daemon works on now."""

    server: str
    session: str
    state: str
    last_event_id: str = ""
    epoch: int | None = None
    sequence: int = 0
    acknowledged_sequence: int = 0
    in_flight: int = 0
    last_event_age: float | None = None
    last_byte_age: float | None = None
    last_error: str | None = None  # of the trouble it is in: ``None`` again once a connection has brought a block
    counters: Counters = field(default_factory=Counters)
    shard: int | None = None


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """One Mix server of the settings.

    ``ended`` is the sum of the counters of the sessions that are no longer in ``BridgeSnapshot.sessions``. The daemon
    keeps one such value per server and, in one step under the lock that also guards its snapshot, takes a session out
    and sets ``ended = Counters.total((ended, session's last counters))``: then no total ever goes backwards.
    """

    reachable: bool  # whether the last request to it was answered, whatever the answer
    discovers: bool = False  # it is asked for its sessions
    discovery_fails: bool = False  # the last time it was asked, no list came
    last_discovery_age: float | None = None
    listed: int = 0
    not_bridged: int = 0
    ended: Counters = field(default_factory=Counters)


@dataclass(frozen=True, slots=True)
class TopicSnapshot:
    """One topic of the settings, as it was at the last look."""

    name: str
    partitions: int | None  # None: it does not exist
    trouble: str | None = None  # what keeps records out of it, or loses them there, and the way out
    warnings: tuple[str, ...] = ()
    changes: Mapping[str, int] = field(default_factory=dict)  # since the start, by kind


@dataclass(frozen=True, slots=True)
class ShardSnapshot:
    """One shard that the group has assigned to this process."""

    number: int
    stage: str
    term: int | None  # the offset of this process's claim
    sessions: int  # that run here
    trouble: str | None = None  # what keeps it from being taken, and the way out


@dataclass(frozen=True, slots=True)
class Replica:
    """One process among those that share the sessions, and what it sees of the others."""

    owner: str = ""  # for people: ``<instance or host>:<process id>``
    instance: str | None = None
    host: str = ""
    pid: int = 0
    shard_count: int = 0  # of all replicas together
    has_joined: bool = True  # whether the group has said which shards are this process's
    shards: tuple[ShardSnapshot, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)  # living owners of other shards, and how many they have
    with_other_servers: tuple[str, ...] = ()  # of those: the ones whose settings name other servers


@dataclass(frozen=True, slots=True)
class BridgeSnapshot:
    """The daemon at one moment."""

    version: str
    namespace: str
    started_at_ms: int
    restored: bool  # all checkpoints have been read back
    buffer_bytes: int
    buffer_limit: int
    checkpoints_written: int
    kafka_last_answer_age: float | None  # an acknowledgement, or the answer to a question asked when there is none
    delivers: bool = True  # False: a bug ended the delivery thread, and the process is about to end with it
    sessions: tuple[SessionSnapshot, ...] = ()
    servers: Mapping[str, ServerSnapshot] = field(default_factory=dict)
    loops: Mapping[str, float] = field(default_factory=dict)  # ``Beats.ages()``
    topics: tuple[TopicSnapshot, ...] = ()
    replica: Replica = field(default_factory=Replica)

    def totals(self) -> dict[str, Counters]:
        """Per server, the counters of all its sessions, those that ended included."""
        parts = {name: [server.ended] for name, server in self.servers.items()}
        for session in self.sessions:
            parts.setdefault(session.server, []).append(session.counters)
        return {name: Counters.total(each) for name, each in parts.items()}


def status(snapshot: BridgeSnapshot) -> dict[str, object]:
    """The body of ``/api/status``: the names of the sessions' keys are those of the public interface."""
    return {
        "bridge": {
            "version": snapshot.version,
            "namespace": snapshot.namespace,
            "owner": snapshot.replica.owner,
            "instance": snapshot.replica.instance,
            "host": snapshot.replica.host,
            "pid": snapshot.replica.pid,
            "started_at_ms": snapshot.started_at_ms,
            "restored": snapshot.restored,
            "buffer_bytes": snapshot.buffer_bytes,
            "buffer_limit": snapshot.buffer_limit,
            "checkpoints_written": snapshot.checkpoints_written,
            "kafka_last_answer_age": _rounded(snapshot.kafka_last_answer_age),
            "loops": {name: _rounded(age) for name, age in snapshot.loops.items()},
        },
        "shard_count": snapshot.replica.shard_count,
        "shards": [_shard_status(shard) for shard in snapshot.replica.shards],
        "replicas": dict(snapshot.replica.others),
        "topics": {topic.name: _topic_status(topic) for topic in snapshot.topics},
        "servers": {name: _server_status(server) for name, server in snapshot.servers.items()},
        "sessions": [_session_status(session) for session in snapshot.sessions],
    }


def _shard_status(shard: ShardSnapshot) -> dict[str, object]:
    return {
        "shard": shard.number,
        "state": shard.stage,
        "term": shard.term,
        "sessions": shard.sessions,
        "trouble": shard.trouble,
    }


def _topic_status(topic: TopicSnapshot) -> dict[str, object]:
    return {
        "partitions": topic.partitions,
        "trouble": topic.trouble,
        "warnings": list(topic.warnings),
        "changes": dict(topic.changes),
    }


def _server_status(server: ServerSnapshot) -> dict[str, object]:
    return {
        "reachable": server.reachable,
        "last_discovery_age": _rounded(server.last_discovery_age),
        "listed": server.listed,
        "not_bridged": server.not_bridged,
    }


def _session_status(session: SessionSnapshot) -> dict[str, object]:
    return {
        "server": session.server,
        "session": session.session,
        "state": session.state,
        "last_event_id": session.last_event_id,
        "epoch": session.epoch,
        "sequence": session.sequence,
        "acknowledged_sequence": session.acknowledged_sequence,
        "in_flight": session.in_flight,
        "last_event_age": _rounded(session.last_event_age),
        "last_byte_age": _rounded(session.last_byte_age),
        "reconnects": session.counters.reconnects,
        "last_error": session.last_error,
        "shard": session.shard,
    }


def _rounded(age: float | None) -> float | None:
    return None if age is None else round(age, 3)
