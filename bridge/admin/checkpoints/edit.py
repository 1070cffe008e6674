"""The records to write to the checkpoints topic so that a session resumes elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bridge.clock import unix_ms
from bridge.core.checkpoint_log import CheckpointLog, StoredCheckpoint
from bridge.core.identity import Position, SessionKey, new_epoch, partition_of
from bridge.core.owner_records import FORGOTTEN_KEY, encode_forgotten
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.claim import EXACTLY_ONCE, EXACTLY_ONCE_KEY
from bridge.core.stream.overlap import OverlapWindow
from bridge.core.terminal_text import visible_bytes
from bridge.errors import EXIT_FOUND, EXIT_USAGE, BridgeError
from bridge.mix.rules import rules_of
from bridge.settings import ServerSettings, Settings
from bridge.sharding.invalid_checkpoints import session_of

if TYPE_CHECKING:
    from bridge.admin.checkpoints.topic import CheckpointsTopic

REFUSED = "refused, nothing is written:"


class Refused(BridgeError):
    """Nothing was written; the message says why."""

    exit_code = EXIT_FOUND


class OwnPartition(BridgeError):
    """Removing the record from the session's own partition would forget the session."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class Write:
    """One record to write; without a value it is a tombstone."""

    partition: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Edit:
    """Records to write with one key, in this order, each acknowledged before the next."""

    key: bytes
    after: Checkpoint | None
    """The checkpoint that is valid afterwards; None: there is none."""
    writes: tuple[Write, ...]


def moved(one: Checkpoint, stored: StoredCheckpoint, partitions: int, now_ms: int) -> Edit:
    """The session resumes at this position in a new epoch, and all its other records are removed.

    A tombstone alone would forget the epoch. The next epoch would then depend on the clock alone. If the clock was set
    back, it would be below an epoch that consumers have seen, and they would drop everything.
    """
    epoch = new_epoch(max(one.position.epoch, stored.epoch or 0), now_ms // 1000)
    position = Position(epoch, 0, one.position.last_event_id)
    after = replace(one, position=position, updated_ms=now_ms, fencing_token=None)
    home = partition_of(after.key.record_key, partitions)
    # The new checkpoint first: if the command is interrupted, the epoch is stored, and the command can be repeated.
    others = removed(stored.key, {record.partition for record in stored.records} - {home})
    return Edit(stored.key, after, (Write(home, encode(after)), *others.writes))


def is_imported(one: Checkpoint, stored: StoredCheckpoint) -> bool:
    """Return whether this position was imported before, and nothing was written after it."""
    valid = stored.valid
    if valid is None or valid.position.sequence or valid.position.epoch <= one.position.epoch:
        return False
    expected = replace(one, position=one.position._replace(epoch=valid.position.epoch, sequence=0))
    return replace(valid, updated_ms=0, fencing_token=None) == replace(expected, updated_ms=0, fencing_token=None)


def is_behind(one: Checkpoint, stored: StoredCheckpoint) -> bool:
    """Return whether the topic has a higher position: the session continued after the export."""
    furthest = stored.furthest
    known = max((stored.epoch or 0, 0), furthest.position[:2] if furthest is not None else (0, 0))
    return known > one.position[:2]


def epoch_floors(log: CheckpointLog, partitions: int, epoch: int) -> list[Edit]:
    """Keep the highest epoch of forgotten sessions in each partition: one that comes back may belong to any of them."""
    value = encode_forgotten(epoch, 0)  # by no owner of a shard
    lower = (partition for partition in range(partitions) if log.owners.forgotten_epoch(partition) < epoch)
    return [Edit(FORGOTTEN_KEY, None, (Write(partition, value),)) for partition in lower]


def exactly_once_notes(log: CheckpointLog, partitions: int) -> list[Edit]:
    """Note in each partition that a former owner had exactly once, unless it is noted."""
    without = (partition for partition in range(partitions) if not log.owners.had_exactly_once(partition))
    return [Edit(EXACTLY_ONCE_KEY, None, (Write(partition, EXACTLY_ONCE),)) for partition in without]


def removed(key: bytes, partitions: Iterable[int]) -> Edit:
    """Remove the records with the key from these partitions."""
    return Edit(key, None, tuple(Write(partition, None) for partition in sorted(partitions)))


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
    """Move every checkpoint to the partition of its key; forgotten sessions may belong to other ones by now too."""
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
