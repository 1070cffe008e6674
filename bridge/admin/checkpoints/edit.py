"""What to write into the checkpoints topic so that a session goes on elsewhere. Pure."""

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
    """One record to write; no value is a tombstone."""

    partition: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Edit:
    """Records to write with one key, in this order, each acknowledged before the next."""

    key: bytes
    after: Checkpoint | None
    """The checkpoint to go by afterwards; None: none is left."""
    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Where a session is to go on. ``now_ms``: Unix milliseconds; ``fingerprint``: of the settings of today."""

    last_event_id: str
    state: Literal["active", "ended"]
    fingerprint: str
    now_ms: int


def moved(session: SessionKey, stored: StoredCheckpoint, partitions: int, change: Change) -> Edit:
    """The session goes on in a new epoch, and nothing else stands about it.

    Never by a tombstone alone: with it the memory of the epoch would be gone, a new one would go by the clock, and on a
    clock that was set back it would lie below those that consumers have seen: they would drop everything.
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
    return _instead_of_all(stored, after, partitions)


def _instead_of_all(stored: StoredCheckpoint, after: Checkpoint, partitions: int) -> Edit:
    key = after.key.record_key
    home = partition_of(key, partitions)
    redirect_target = sorted({record.partition for record in stored.records} - {home})
    # The new word first: whatever happens then, the epoch is known, and the same command settles the rest.
    return Edit(key, after, (Write(home, encode(after)), *_tombstones(redirect_target)))


def imported(one: Checkpoint, stored: StoredCheckpoint, partitions: int, now_ms: int) -> Edit:
    """The session goes on where it was in another topic, resume window and all, in a new epoch.

    A new one, because nobody knows what was published of the old one after the position was taken from there.
    """
    epoch = new_epoch(max(one.position.epoch, stored.epoch or 0), now_ms // 1000)
    position = Position(epoch, 0, one.position.last_event_id)
    return _instead_of_all(stored, replace(one, position=position, updated_ms=now_ms, fencing_token=None), partitions)


def is_imported(one: Checkpoint, stored: StoredCheckpoint) -> bool:
    """Whether an import of this very position stands there, and nothing has come after it."""
    good = stored.valid
    if good is None or good.position.sequence or good.position.epoch <= one.position.epoch:
        return False
    begun = replace(one, position=one.position._replace(epoch=good.position.epoch, sequence=0))
    return replace(good, updated_ms=0, fencing_token=None) == replace(begun, updated_ms=0, fencing_token=None)


def is_behind(one: Checkpoint, stored: StoredCheckpoint) -> bool:
    """Whether the topic tells of more than this position: the session went on since it was exported."""
    there = stored.furthest
    told = max((stored.epoch or 0, 0), there.position[:2] if there is not None else (0, 0))
    return told > one.position[:2]


def forgotten(stored: StoredCheckpoint) -> Edit:
    """Nothing stands about the key any more."""
    return Edit(stored.key, None, _tombstones(sorted({record.partition for record in stored.records})))


def removed(key: bytes, partition: int) -> Edit:
    """Nothing stands about the key in one partition any more."""
    return Edit(key, None, _tombstones([partition]))


def _tombstones(partitions: Sequence[int]) -> tuple[Write, ...]:
    return tuple(Write(partition, None) for partition in partitions)
