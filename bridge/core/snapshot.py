"""The state of the daemon at one moment: values that health, metrics and status read.

The daemon gives the HTTP endpoint a ``Callable[[], BridgeSnapshot]``, which is called on the HTTP thread. It only
copies values: it never waits for Kafka, a server, or a lock that is held across a call.
Ages are seconds since something happened; ``None`` means that it never did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from bridge.core.durations import NO_RECONNECTS, Distribution, DurationsSnapshot
from bridge.core.records.lifecycle import WrittenLifecycleEvent

BAD_STATES = frozenset({"refused", "crashed"})
"""States of a session that are a problem even without an error."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts since the daemon started. No number ever decreases."""

    received: int = 0  # events that came off the stream, except ``connected`` and ``heartbeat``
    published: int = 0  # records of the events topics that Kafka acknowledged
    skipped: int = 0
    dead_letters: Mapping[str, int] = field(default_factory=dict)  # by ``bridge.reason``
    refused: int = 0  # records that Kafka refused
    rewinds: int = 0  # times the session was set back to a refused record
    epochs_begun: int = 0
    reconnects: int = 0
    resumed: int = 0  # connections that provably continued where the last one stopped
    gaps: int = 0  # times the server no longer had, or never sent, events that the bridge lacks: they are lost
    missing_events: int = 0  # the events of those gaps, as far as the server's ids show how many
    backfilled: int = 0  # times one more connection brought events that the server had skipped
    resets: int = 0  # times the server's ids started over
    unresumable: int = 0  # times a stream could not be resumed where it stopped: events may be missing or repeated
    other_readers: int = 0  # errors that show that another reader of the session runs its messages
    bytes_read: int = 0
    replaced_utf8: int = 0  # events in which bytes that are not UTF-8 were replaced
    discarded_tails: int = 0  # connections that ended inside a block
    discarded_bytes: int = 0  # the bytes of those blocks

    @classmethod
    def total(cls, parts: Iterable[Counters]) -> Counters:
        """The sum of the parts, field by field."""
        all_parts = tuple(parts)
        reasons: Counter[str] = Counter()
        for part in all_parts:
            reasons.update(part.dead_letters)
        sums = {name: sum(getattr(part, name) for part in all_parts) for name in _NUMBERS}
        return cls(dead_letters=dict(reasons), **sums)


_NUMBERS = tuple(each.name for each in fields(Counters) if each.name != "dead_letters")


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """One running session."""

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
    last_error: str | None = None  # ``None`` again once a connection has brought a block
    counters: Counters = field(default_factory=Counters)
    shard: int | None = None
    oldest_unacknowledged_ms: int | None = None  # Unix time at which the oldest event that Kafka lacks was read
    lifecycle: tuple[WrittenLifecycleEvent, ...] = ()  # the last ones, the newest at the end


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """One Mix server of the settings.

    ``ended`` is the sum of the counters of the sessions that are no longer in ``BridgeSnapshot.sessions``. The daemon
    removes a session and adds its counters here in one step, under the lock of its snapshots, so that no total
    decreases.
    """

    reachable: bool  # whether the last request to it got any answer
    discovers: bool = False  # whether it is polled for its sessions
    discovery_fails: bool = False  # whether the last poll returned no list
    last_discovery_age: float | None = None
    lists_none: bool = False  # whether the last poll was answered with something else than a list
    listed: int = 0
    entries_skipped: int = 0  # of the last list: invalid ones, and repeats of an id
    not_bridged: int = 0
    titles: Mapping[str, str] = field(default_factory=dict)  # of the listed sessions that have one
    without_thread: int = 0  # those of them that this process has no thread or descriptor for
    ended: Counters = field(default_factory=Counters)
    reconnects: Distribution = NO_RECONNECTS  # from the loss of a stream to the next answer


@dataclass(frozen=True, slots=True)
class TopicSnapshot:
    """One topic of the settings at the last check."""

    name: str
    partitions: int | None  # None: it does not exist
    trouble: str | None = None  # why records do not get into it, or are lost there, and the fix
    warnings: tuple[str, ...] = ()
    changes: Mapping[str, int] = field(default_factory=dict)  # since the start, by kind


@dataclass(frozen=True, slots=True)
class ShardSnapshot:
    """One shard that the group has assigned to this process."""

    number: int
    stage: str
    token: int | None  # the fencing token: the offset of this process's claim
    sessions: int  # sessions that run here
    trouble: str | None = None  # why it is not owned yet, and the fix
    open_trouble: str | None = None  # the same without the name of a session: `/readyz` needs no token


@dataclass(frozen=True, slots=True)
class BrokerSnapshot:
    """One broker, as a client's statistics describe it; round trips in seconds, over the last ten seconds."""

    name: str  # ``host:port``
    is_connected: bool
    round_trip: float
    round_trip_p99: float


@dataclass(frozen=True, slots=True)
class KafkaClientSnapshot:
    """The producers of one role, as their last statistics describe them."""

    role: str
    queued_records: int = 0  # handed to the client and not acknowledged
    queued_bytes: int = 0
    brokers: tuple[BrokerSnapshot, ...] = ()


@dataclass(frozen=True, slots=True)
class Replica:
    """One process among those that share the sessions, and what it knows about the others."""

    owner: str = ""  # for people: ``<instance or host>:<process id>``
    instance: str | None = None
    host: str = ""
    pid: int = 0
    shard_count: int = 0  # of all replicas together
    has_joined: bool = True  # whether the group has assigned shards to this process, possibly none
    shards: tuple[ShardSnapshot, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)  # live owners of other shards: how many shards each has
    with_other_servers: tuple[str, ...] = ()  # those of them whose settings name other servers
    assignments: int = 0  # shards that the group has assigned to this process since the start
    with_other_guarantee: tuple[str, ...] = ()  # those of them with another ``delivery.guarantee``


_WAITS = 30.0
"""Seconds without any acknowledgement, while records wait, after which the bridge is not ready."""


@dataclass(frozen=True, slots=True)
class BridgeSnapshot:
    """The daemon at one moment."""

    version: str
    namespace: str
    started_at_ms: int
    restored: bool  # all checkpoints have been read
    buffer_bytes: int
    buffer_limit: int
    checkpoints_written: int
    kafka_last_answer_age: float | None  # an acknowledgement or an answer to a probe
    waits_for: float = 0.0  # seconds for which something waited and Kafka acknowledged nothing; 0: nothing waits
    is_throttled: bool = False  # a client quota of Kafka delays delivery
    kafka_failure: str | None = None  # the last known reason why Kafka does not answer, and the fix
    delivers: bool = True  # False: a bug ended the delivery thread, and the process is about to end
    sessions: tuple[SessionSnapshot, ...] = ()
    servers: Mapping[str, ServerSnapshot] = field(default_factory=dict)
    loops: Mapping[str, float] = field(default_factory=dict)  # ``Heartbeats.ages()``
    topics: tuple[TopicSnapshot, ...] = ()
    replica: Replica = field(default_factory=Replica)
    taken_at_ms: int = 0  # Unix time of this snapshot
    last_checkpoint_ms: int | None = None  # Unix time at which Kafka last acknowledged a checkpoint
    durations: DurationsSnapshot = field(default_factory=DurationsSnapshot)
    kafka_clients: tuple[KafkaClientSnapshot, ...] = ()
    build: Mapping[str, str] = field(default_factory=dict)  # versions, by what they are the version of
    settings_sha256: str = ""  # of the settings in which all replicas must agree
    log_lines: Mapping[str, int] = field(default_factory=dict)  # written since the start, by level
    certificates: Mapping[str, float] = field(default_factory=dict)  # Unix times of their expiry, by key
    taken_at: float = 0.0  # by ``clock.monotonic``: the moment to which all ages refer
    session_capacity: int | None = None  # how many sessions fit; ``None``: no limit of threads is known
    log_lines_dropped: int = 0  # the reader of stderr was too slow, or there was none

    @property
    def is_stuck(self) -> bool:
        """Whether records have waited for so long that the bridge is not ready."""
        return self.waits_for > _WAITS

    @property
    def delivery_trouble(self) -> str | None:
        """Why records wait; None when they do not wait for long."""
        waits = f"nothing was acknowledged for {self.waits_for:.0f} s although records wait"
        reasons = [waits] * self.is_stuck + ["throttled by a quota"] * self.is_throttled
        return ", ".join(reasons) or None

    def totals(self) -> dict[str, Counters]:
        """The counters of all sessions by server, including those that ended."""
        parts = {name: [server.ended] for name, server in self.servers.items()}
        for session in self.sessions:
            parts.setdefault(session.server, []).append(session.counters)
        return {name: Counters.total(each) for name, each in parts.items()}


def status(snapshot: BridgeSnapshot) -> dict[str, object]:
    """The body of ``/api/status``; its names and their order are part of the public interface."""
    replica = snapshot.replica
    return {
        "bridge": {
            "version": snapshot.version,
            "namespace": snapshot.namespace,
            **_values(replica, "owner", "instance", "host", "pid"),
            **_values(snapshot, "started_at_ms", "restored", "buffer_bytes", "buffer_limit", "checkpoints_written"),
            "kafka_last_answer_age": _rounded(snapshot.kafka_last_answer_age),
            "loops": {name: _rounded(age) for name, age in snapshot.loops.items()},
            "delivery_trouble": snapshot.delivery_trouble,
        },
        "shard_count": replica.shard_count,
        "shards": [
            {"shard": each.number, "state": each.stage, "term": each.token, **_values(each, "sessions", "trouble")}
            for each in replica.shards
        ],
        "replicas": dict(replica.others),
        "topics": {
            each.name: {
                **_values(each, "partitions", "trouble"),
                "warnings": list(each.warnings),
                "changes": dict(each.changes),
            }
            for each in snapshot.topics
        },
        "servers": {
            name: {
                "reachable": each.reachable,
                "last_discovery_age": _rounded(each.last_discovery_age),
                **_values(each, "listed", "entries_skipped", "not_bridged"),
            }
            for name, each in snapshot.servers.items()
        },
        "sessions": [session_status(each) for each in snapshot.sessions],
    }


def session_status(session: SessionSnapshot) -> dict[str, object]:
    """One session in ``/api/status``."""
    return {
        **_values(session, "server", "session", "state", "last_event_id"),
        **_values(session, "epoch", "sequence", "acknowledged_sequence", "in_flight"),
        "last_event_age": _rounded(session.last_event_age),
        "last_byte_age": _rounded(session.last_byte_age),
        "reconnects": session.counters.reconnects,
        **_values(session, "last_error", "shard"),
    }


def _values(of: object, *names: str) -> dict[str, object]:
    return {name: getattr(of, name) for name in names}


def _rounded(age: float | None) -> float | None:
    return None if age is None else round(age, 3)
