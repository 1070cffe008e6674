"""The records to write to the checkpoints topic so that a session resumes elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bridge.core.checkpoint_log import StoredCheckpoint
from bridge.core.identity import Position, SessionKey, new_epoch, partition_of
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.stream.overlap import OverlapWindow


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


@dataclass(frozen=True, slots=True)
class Change:
    """Where a session resumes. ``now_ms``: Unix milliseconds; ``fingerprint``: of the present settings."""

    last_event_id: str
    state: Literal["active", "ended"]
    fingerprint: str
    now_ms: int


def moved(session: SessionKey, stored: StoredCheckpoint, partitions: int, change: Change) -> Edit:
    """The session resumes in a new epoch, and all its other records are removed.

    A tombstone alone would forget the epoch. The next epoch would then depend on the clock alone. If the clock was set
    back, it would be below an epoch that consumers have seen, and they would drop everything.
    """
    epoch = new_epoch(stored.epoch, change.now_ms // 1000)
    after = Checkpoint(
        key=session,
        position=Position(epoch, 0, change.last_event_id),
        state=change.state,
        updated_ms=change.now_ms,
        fingerprint=change.fingerprint,
        overlap_window=OverlapWindow.starting(change.last_event_id),
    )
    return _replacing_all(stored, after, partitions)


def _replacing_all(stored: StoredCheckpoint, after: Checkpoint, partitions: int) -> Edit:
    key = after.key.record_key
    home = partition_of(key, partitions)
    others = sorted({record.partition for record in stored.records} - {home})
    # The new checkpoint first: if the command is interrupted, the epoch is stored, and the command can be repeated.
    return Edit(key, after, (Write(home, encode(after)), *_tombstones(others)))


def imported(one: Checkpoint, stored: StoredCheckpoint, partitions: int, now_ms: int) -> Edit:
    """The session resumes at its position in another topic, with its overlap window, in a new epoch.

    The old epoch may contain records that were published after the export.
    """
    epoch = new_epoch(max(one.position.epoch, stored.epoch or 0), now_ms // 1000)
    position = Position(epoch, 0, one.position.last_event_id)
    return _replacing_all(stored, replace(one, position=position, updated_ms=now_ms, fencing_token=None), partitions)


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


def forgotten(stored: StoredCheckpoint) -> Edit:
    """Remove all records with the key."""
    return Edit(stored.key, None, _tombstones(sorted({record.partition for record in stored.records})))


def removed(key: bytes, partition: int) -> Edit:
    """Remove the record with the key from one partition."""
    return Edit(key, None, _tombstones([partition]))


def _tombstones(partitions: Sequence[int]) -> tuple[Write, ...]:
    return tuple(Write(partition, None) for partition in partitions)
