"""The records to write to the checkpoints topic so that a session resumes elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bridge.core.checkpoint_log import CheckpointLog, StoredCheckpoint
from bridge.core.identity import Position, new_epoch, partition_of
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.claim import EXACTLY_ONCE, EXACTLY_ONCE_KEY
from bridge.core.records.forgotten import FORGOTTEN_KEY
from bridge.core.records.forgotten import encode as encode_forgotten


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
    """Keep the highest epoch of forgotten sessions in each partition, unless it has as high a one.

    A forgotten session may belong to any of them: nothing but this epoch is known of it.
    """
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
