"""The only module of the golden tests that imports ``bridge``.

Its functions take and return plain values. When code moves or is renamed, change only this file: the expected files
stay as they are. The counters of the snapshot have the values 1, 2, 3 in the order of their fields: keep that order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import typer.main

from bridge import errors
from bridge.admin.check import line as check_line
from bridge.admin.check import lines as checks
from bridge.admin.checkpoints import text as checkpoint_texts
from bridge.admin.checkpoints import transfer as checkpoint_export
from bridge.admin.checkpoints.edit import Edit, moved, removed
from bridge.admin.checkpoints.transfer import Import
from bridge.admin.dead_letters import text as dead_letter_texts
from bridge.admin.dead_letters.replay import Report, Unsendable, as_record
from bridge.cli.app import app
from bridge.cli.check import _document as check_document_of
from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointLog, StoredCheckpoint
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.in_flight import SENT_AGAIN
from bridge.core.records import checkpoint, claim, member_metadata
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.dead_letter import DeadLetter, Place, dead_letter_of
from bridge.core.records.encoder import Encoder
from bridge.core.records.lifecycle import LifecycleEvent, LifecycleWriter
from bridge.core.records.record import Record
from bridge.core.records.rules import Rules
from bridge.core.snapshot import (
    BridgeSnapshot,
    Counters,
    Replica,
    ServerSnapshot,
    SessionSnapshot,
    ShardSnapshot,
    TopicSnapshot,
)
from bridge.core.stream.actions import Action, Announce, StartEpoch
from bridge.core.stream.continuity import Continuity
from bridge.core.stream.event import Event, Oversize
from bridge.core.stream.facts import Policy
from bridge.core.stream.ids import FirstId, StartId
from bridge.core.stream.overlap import OverlapWindow, digest
from bridge.daemon.session_states import State as SessionState
from bridge.daemon.source import Source
from bridge.kafka.topics import TopicPlan, plan
from bridge.observe.api import HttpEndpoint
from bridge.settings import Settings, load, naming
from bridge.sharding.states import ShardState

NOW = 1_764_000_000_123
"""Unix milliseconds of everything that is recorded: 2025-11-24T16:00:00.123Z."""
EPOCH = 1_764_000_000
NUMBER = 7


class Bytes(NamedTuple):
    """A record as it lies in Kafka. No value: a tombstone. No topic: that of the checkpoints."""

    key: bytes
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = "mix.checkpoints"
    timestamp_ms: int = NOW


def _settings(chosen: Mapping[str, str]) -> Settings:
    base = {"servers.local.url": "http://localhost:8088", "kafka.bootstrap_servers": "localhost:9092"}
    return load(base | dict(chosen), {})


def _rules(chosen: Mapping[str, str], server: str = "local") -> Rules:
    return Source(server, _settings(chosen)).rules


def _bytes(record: Record) -> Bytes:
    return Bytes(record.key, record.value, record.headers, record.topic, record.timestamp_ms)


# Events and dead letters


class Given(NamedTuple):
    """An event as it came off a stream, and what is done with it."""

    data: str
    name: str = "content"
    own_id: str | None = "41"
    last_event_id: str = "41"
    session: str = "5e55-10n"
    server: str = "local"
    rejected: str | None = None
    """The error of a broker that refused the record."""
    kept: str | None = None
    """The beginning of data that was too large to be kept."""


def event_record(given: Given, **settings: str) -> Bytes | None:
    """The record of an event, number 7 of its epoch, under these settings (``__`` for a dot); None: it is skipped."""
    event = Event(given.name, given.data, given.own_id, given.last_event_id, NOW)
    if given.kept is not None:
        event = event._replace(data=given.kept, oversize=Oversize(len(given.data), "ab" * 32))
    chosen = {name.replace("__", "."): value for name, value in settings.items()}
    if given.server != "local":
        chosen[f"servers.{given.server}.url"] = "http://localhost:8089"
    encoder = Encoder(_rules(chosen, given.server), SessionKey(given.server, given.session))
    if given.rejected is not None:
        return _bytes(encoder.rejected(event, EPOCH, NUMBER, given.rejected))
    record = encoder.encode(event, EPOCH, NUMBER)
    return None if record is None else _bytes(record)


def _letters(records: Sequence[Bytes]) -> list[DeadLetter]:
    return [
        dead_letter_of(Place(0, at), NOW, each.key, each.value, list(each.headers)) for at, each in enumerate(records)
    ]


def replayed_record(letter: Bytes, **settings: str) -> Bytes:
    """What ``dead-letters replay`` sends for a dead letter."""
    rules = _rules({name.replace("__", "."): value for name, value in settings.items()})
    record = as_record(_letters([letter])[0], {"local": rules})
    assert isinstance(record, Record)
    return _bytes(record)


def replay_document(letters: Sequence[Bytes]) -> dict[str, Any]:
    """``dead-letters replay --json`` under the default settings."""
    report = Report(before=2, repeats=1)
    for letter in _letters(letters):
        became = as_record(letter, {"local": _rules({})})
        if isinstance(became, Unsendable):
            report.refuse(letter, became)
        else:
            report.sent[became.topic] += 1
    source: Any = SimpleNamespace(topic="mix.dead-letters", foreign={})
    return dead_letter_texts.replayed_document(source, report, [], dry_run=False)


# Lifecycle


def lifecycle_record(kind: Any, reason: str, new_epoch: int | None = None, **data: Any) -> Bytes:
    """The lifecycle record that follows number 7."""
    writer = LifecycleWriter(SessionKey("local", "5e55-10n"), "mix.lifecycle")
    return _bytes(writer.record(LifecycleEvent(kind, reason, **data), EPOCH, NUMBER, NOW, new_epoch))


def kafka_refused() -> tuple[str, str, int | None]:
    """Kind, reason and number of missing events of what is announced after Kafka refused a record."""
    return SENT_AGAIN.kind, SENT_AGAIN.reason, SENT_AGAIN.missing


class Known(NamedTuple):
    """What a session remembers: the id before the last events, those events' ids, the session's settings."""

    after: str = "4"
    ids: tuple[str | None, ...] = ("5",)
    certain: bool = True
    overlap: bool = True
    without_ids: bool = False
    has_ids: bool = True
    is_new: bool = False
    is_used: bool = True


def announced(known: Known, connections: Sequence[Sequence[str | None]], *, stalls: bool = False) -> list[list[Any]]:
    """What is announced (kind, reason, from, to, missing) while a stream brings events with these ids."""
    policy = Policy("0", known.overlap, known.without_ids, start_id=StartId(FirstId.IS_ONE))
    one = Continuity(policy, has_ids=known.has_ids, is_new=known.is_new)
    window = [_event(each) for each in known.ids]
    cursor = (known.ids[-1] or "") if known.ids else known.after
    overlap_window = OverlapWindow(known.after, cursor, b"".join(map(digest, window)), known.certain)
    actions: list[Action] = []
    for ids in connections:
        actions += [*one.begin(overlap_window, is_used=known.is_used)[1], *one.opened()]
        events = [_event(each) for each in ids]
        if stalls:
            actions += one.stalled(events, 5, 0)
        else:
            actions += one.take(events, 0) if events else one.closed(0, timed_out=True)
    found = [each.lifecycle_event for each in actions if isinstance(each, Announce | StartEpoch)]
    return [[it.kind, it.reason, it.from_last_event_id, it.to_last_event_id, it.missing] for it in found]


def _event(own_id: str | None) -> Event:
    return Event("content", f"data of {own_id}", own_id, own_id or "", NOW)


# Checkpoints, claims, committed metadata


def _checkpoint(session: str, state: Any = "active", term: int | None = 12, *, overlap: bool = True) -> Checkpoint:
    overlap_window = OverlapWindow.starting("41")
    if overlap:
        overlap_window = OverlapWindow("40", "41", b"".join(map(digest, [_event("41")] * 2)))
    position = Position(EPOCH, NUMBER, "41")
    return Checkpoint(SessionKey("local", session), position, state, NOW, "0123456789abcdef", overlap_window, term)


def checkpoint_record(session: str, **more: Any) -> Bytes:
    """A checkpoint."""
    one = _checkpoint(session, **more)
    return Bytes(one.key.record_key, checkpoint.encode(one))


def claim_record(instance: str) -> Bytes:
    """A claim; its fingerprint of servers is that of ``servers.local.url`` alone."""
    made = claim.Claim(f"{instance}:77", "nonce", 16, naming.servers_fingerprint(_settings({})), NOW)
    return Bytes(claim.CLAIM_KEY, claim.encode(made))


def committed_metadata(instance: str | None, *, left: bool) -> str:
    """The metadata of a committed offset."""
    of = member_metadata.MemberMetadata("h\u00f6st:77", instance, "boot/1/77/5", "0123456789abcdef", "1.2.3", 3, left)
    return member_metadata.encode(of)


def _log(records: Sequence[Bytes]) -> CheckpointLog:
    log = CheckpointLog(4)
    for offset, each in enumerate(records, 20):
        log.add(partition_of(each.key, 4), offset, NOW, each.key, each.value)
    return log


def checkpoints_documents(records: Sequence[Bytes], session: str) -> dict[str, Any]:
    """``--json`` of the ``checkpoints`` commands on a topic with these records."""
    log, topic, key = _log(records), "mix.checkpoints", f"local/{session}".encode()
    about = log.stored(key)
    edits = [moved(_start(session), about, 4, NOW), _forgotten(about)]
    one = checkpoint_export.position_of(about)
    assert one is not None
    planned, read = Import([moved(one, about, 4, NOW)], 2, []), SimpleNamespace(name=topic, partitions=4)
    export = checkpoint_export.Export(_header(1), (one,))
    return {
        "list": checkpoint_texts.list_document(topic, list(log.stored_checkpoints().values()), NOW + 1500),
        "show": checkpoint_texts.shown_document(topic, about, NOW + 1500),
        "set and reset --forget": checkpoint_texts.changed_document(topic, [(about, edit) for edit in edits]),
        "export": checkpoint_export.document(export),
        "import": planned.document(export, read),  # type: ignore[arg-type]
    }


def written_by_commands(session: str) -> list[Bytes]:
    """The records that ``checkpoints set`` and ``import`` write."""
    record = checkpoint_record(session)
    about = _log([record]).stored(record.key)
    edits = moved(_start(session), about, 4, NOW), moved(_checkpoint(session), about, 4, NOW), _forgotten(about)
    return [Bytes(edit.key, write.value) for edit in edits for write in edit.writes]


def _start(session: str) -> Checkpoint:
    """Where ``checkpoints set --last-event-id 99`` lets the session resume."""
    position, window = Position(0, 0, "99"), OverlapWindow.starting("99")
    return Checkpoint(SessionKey("local", session), position, "active", 0, "0123456789abcdef", window)


def _forgotten(about: StoredCheckpoint) -> Edit:
    return removed(about.key, {record.partition for record in about.records})


def _header(count: int) -> checkpoint_export.Header:
    at = "2025-11-24T16:00:00.123Z"
    return checkpoint_export.Header(namespace="mix", topic="mix.checkpoints", partitions=4, exported_at=at, count=count)


def export_lines(sessions: Sequence[str]) -> list[bytes]:
    """The lines of ``checkpoints export``."""
    ones = tuple(_checkpoint(each, term=None) for each in sessions)
    return list(checkpoint_export.lines(checkpoint_export.Export(_header(len(ones)), ones)))


# Names and numbers that a restart, or another replica, must find again


def shared_names() -> dict[str, Any]:
    """What all replicas and all versions must agree on."""
    keys = ["local/5e55-10n", "local/s\u00e9ance", "a/b", "far-away/0"]
    return {
        "consumer group": naming.group_of("mix"),
        "transactional id of shard 3": naming.transactional_id("mix", 3),
        "transactional id of check": naming.trial_transactional_id("mix"),
        "fingerprint of servers": naming.servers_fingerprint(_settings({})),
        "fingerprint of default rules": _rules({}).fingerprint(),
        "fingerprint without schema": _rules({"servers.local.event_schema": "none"}).fingerprint(),
        "fingerprint with routes and skip": _rules(
            {"events.skip": "thinking", "topics.routes": '[{"match": "tool_*", "topic": "mix.tools"}]'}
        ).fingerprint(),
        "digest of an event": digest(_event("41")).hex(),
        "digest of an event without id": digest(_event(None)).hex(),
        "partitions of 16": {key: partition_of(key.encode(), 16) for key in keys},
        "topics": [_topic(each) for each in plan(_settings({}))],
        "session states": [state.value for state in SessionState],
        "shard states": list(dict.fromkeys(state.public_name for state in ShardState)),
        "check states": [state.value for state in check_line.State],
        "exit codes": {name: code for name, code in vars(errors).items() if name.startswith("EXIT_")},
    }


def _topic(planned: TopicPlan) -> dict[str, Any]:
    names = {"is_explicit": "fixed"}
    return {names.get(name, name): value for name, value in asdict(planned).items()}


# HTTP and commands


def _well() -> BridgeSnapshot:
    counters = Counters(**{name: at for at, name in enumerate(_counter_names(), 1)}, dead_letters={"schema": 2})
    session = SessionSnapshot(
        "local", "5e55-10n", "streaming", "41", EPOCH, 9, 7, 2, 0.12345, 0.05, counters=counters, shard=3
    )
    return BridgeSnapshot(
        version="1.2.3", namespace="mix", started_at_ms=NOW, restored=True, buffer_bytes=10, buffer_limit=100,
        checkpoints_written=5, kafka_last_answer_age=0.1234, sessions=(session,), taken_at_ms=NOW,
        servers={"local": ServerSnapshot(reachable=True, last_discovery_age=2.0, listed=9, not_bridged=6)},
        loops={"main": 0.2, "poll": 0.9},
        topics=(TopicSnapshot("mix.events", 12, changes={"partitions": 1}), TopicSnapshot("mix.lifecycle", 12)),
        replica=Replica("host:77", "a", "host", 77, 4, shards=(ShardSnapshot(3, "owned", 12, 1),), others={"b:1": 3}),
    )  # fmt: skip


def _counter_names() -> list[str]:
    return [name for name in Counters.__dataclass_fields__ if name != "dead_letters"]


def _troubled() -> BridgeSnapshot:
    shards = (ShardSnapshot(3, "blocked", 12, 0, *2 * ["a bad checkpoint"]), ShardSnapshot(1, "restoring", None, 0))
    replica = replace(_well().replica, shards=shards, with_other_servers=("b:1",))
    return replace(
        _well(), restored=False, kafka_last_answer_age=None, delivers=False, loops={"main": 60.0},
        sessions=(SessionSnapshot("far", "s\x1b\ud800", "waiting", last_error="refused"),),
        servers={"far": ServerSnapshot(reachable=False, discovers=True, discovery_fails=True)},
        topics=(TopicSnapshot("mix.events", None, "it is gone", ("a warning",), {"recreated": 1}),), replica=replica,
    )  # fmt: skip


@contextmanager
def endpoint(kind: str, token: str | None = None) -> Iterator[str]:
    """The address of an HTTP endpoint of a daemon that is ``well``, ``troubled`` or ``starting``."""
    starting = replace(
        _well(), sessions=(), servers={}, loops={}, topics=(), replica=Replica(shard_count=4, has_joined=False)
    )
    snapshot = {"well": _well(), "troubled": _troubled(), "starting": starting}[kind]
    http = HttpEndpoint("127.0.0.1", 0, token, lambda: snapshot)
    try:
        yield f"http://127.0.0.1:{http.start()}"
    finally:
        http.stop()
        http.join(monotonic() + 5)


def check_document() -> dict[str, Any]:
    """``check --json`` about topics: hidden, missing, without their settings, without a permission."""
    settings = _settings({})
    hidden, missing, objected, other = plan(settings)
    found, objections = {missing.name: None, objected.name: None}, {objected.name: "no"}
    lines = [checks.topic_line(each, found, objections, settings) for each in (hidden, missing, objected, other)]
    return check_document_of(lines, ok=check_line.passed(lines))


def commands() -> dict[str, list[str]]:
    """Every command with its arguments and options."""
    found: dict[str, list[str]] = {}
    _walk(typer.main.get_command(app), "mix-bridge", found)
    return found


def _walk(command: Any, name: str, found: dict[str, list[str]]) -> None:
    options = ["/".join(each.opts) for each in command.params if each.param_type_name == "option"]
    arguments = [each.metavar for each in command.params if each.param_type_name == "argument"]
    found[name] = [*arguments, *sorted(options)]
    for sub, each in sorted(getattr(command, "commands", {}).items()):
        _walk(each, f"{name} {sub}", found)
