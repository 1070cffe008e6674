"""Plans the edits of ``checkpoints set`` and ``reset``."""

from __future__ import annotations

from typing import Literal

from bridge.admin.checkpoints.edit import Edit, epoch_floors, moved, removed
from bridge.admin.checkpoints.topic import CheckpointsTopic, Refused
from bridge.clock import unix_ms
from bridge.core.checkpoint_log import StoredCheckpoint
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.stream.overlap import OverlapWindow
from bridge.core.terminal_text import visible_bytes
from bridge.errors import EXIT_USAGE, BridgeError
from bridge.mix.rules import rules_of
from bridge.settings import ServerSettings, Settings
from bridge.sharding.invalid_checkpoints import session_of


class OwnPartition(BridgeError):
    """Removing the record from the session's own partition would forget the session."""

    exit_code = EXIT_USAGE


def set_position(topic: CheckpointsTopic, session: SessionKey, event_id: str) -> list[Edit]:
    """The session resumes after this event id. Raises `Refused` for a session that nobody can mean."""
    stored = topic.log.stored(session.record_key)
    if not stored.records and session.server not in topic.access.settings.servers:
        known = f"{topic.name} has no checkpoint of {visible_bytes(session.record_key)}"
        unknown = f"the settings have no server {session.server}"
        raise Refused(f"{known}, and {unknown}: nothing to change; correct the name, or add --server NAME=URL")
    return [_moved(topic, stored, session, event_id)]


def reset(topic: CheckpointsTopic, session: SessionKey) -> list[Edit]:
    """The session restarts at ``start_after_id``."""
    stored = _stored(topic, session.record_key)
    return [_moved(topic, stored, session, start_after_id(topic.access.settings, session.server))]


def start_after_id(settings: Settings, server: str) -> str:
    """Return the setting of a server; the default if the settings have no such server."""
    if server in settings.servers:
        return settings.servers[server].start_after_id
    default: str = ServerSettings.model_fields["start_after_id"].default
    return default


def forget(topic: CheckpointsTopic, key: bytes) -> list[Edit]:
    """Remove all records with this key, in all partitions."""
    return [removed(key, {record.partition for record in _stored(topic, key).records})]


def remove(topic: CheckpointsTopic, key: bytes, partition: int) -> list[Edit]:
    """Remove the record with this key from one partition. Raises `OwnPartition`."""
    if partition not in {record.partition for record in topic.log.stored(key).records}:
        raise Refused(f"{topic.name} partition {partition} has no record with that key: nothing to change")
    if session_of(key) is not None and partition == partition_of(key, topic.partitions):
        raise OwnPartition("this is the session's own partition; leave --partition out, or use --forget")
    return [removed(key, [partition])]


def move_misplaced(topic: CheckpointsTopic) -> list[Edit]:
    """Move every checkpoint in a wrong partition to the partition of its key.

    Forgotten sessions may belong to other partitions by now too.
    """
    edits = []
    for stored in topic.log.stored_checkpoints().values():
        furthest = stored.furthest
        if furthest is not None and any(invalid.misplaced is not None for invalid in stored.invalid):
            edits.append(_moved(topic, stored, furthest.key, furthest.position.last_event_id, furthest.state))
    return [*epoch_floors(topic.log, topic.partitions, topic.log.owners.highest_forgotten_epoch), *edits]


def _stored(topic: CheckpointsTopic, key: bytes) -> StoredCheckpoint:
    stored = topic.log.stored(key)
    if not stored.records:
        raise Refused(f"{topic.name} has no checkpoint of {visible_bytes(key)}: nothing to change")
    return stored


def _moved(
    topic: CheckpointsTopic,
    stored: StoredCheckpoint,
    session: SessionKey,
    event_id: str,
    state: Literal["active", "ended"] = "active",
) -> Edit:
    # Without the server there is no fingerprint: that only causes one more epoch
    settings = topic.access.settings
    fingerprint = rules_of(session.server, settings).fingerprint() if session.server in settings.servers else ""
    start = Checkpoint(session, Position(0, 0, event_id), state, 0, fingerprint, OverlapWindow.starting(event_id))
    return moved(start, stored, topic.partitions, unix_ms())
