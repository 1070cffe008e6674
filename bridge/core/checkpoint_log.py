"""The newest checkpoint of every session in the checkpoints topic, and the invalid records. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from bridge.core.checkpoint_history import CheckpointHistory, Restored
from bridge.core.identity import SessionKey, partition_of
from bridge.core.owner_records import OwnerRecords
from bridge.core.records.checkpoint import (
    OWN_KEY_PREFIX,
    BadCheckpoint,
    Checkpoint,
    decode,
    epoch_and_token,
    epoch_in,
    token_of,
)
from bridge.core.records.claim import CLAIM_KEY

_EMPTY = CheckpointHistory()


class CheckpointRecord(NamedTuple):
    """One record of the checkpoints topic: the newest with its key in its partition."""

    partition: int
    offset: int
    written_ms: int
    """Kafka's timestamp, in Unix milliseconds."""
    key: bytes
    value: bytes
    forgotten_by: int | None = None
    """The fencing token of the process that removed the checkpoint of an ended session with this tombstone."""
    is_own: bool = False
    """This process wrote it, and it landed behind a newer one."""


@dataclass(frozen=True, slots=True)
class InvalidCheckpoint:
    """A record from which the bridge cannot resume, and the reason in one line."""

    record: CheckpointRecord
    why: str
    misplaced: Checkpoint | None = None
    """Its content, where only its partition is wrong."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """All records with one key, in all partitions."""

    key: bytes
    valid: Checkpoint | None
    """The checkpoint from which the session resumes."""
    records: tuple[CheckpointRecord, ...]
    invalid: tuple[InvalidCheckpoint, ...]

    @property
    def epoch(self) -> int | None:
        """The highest epoch in any of the records, damaged ones included; None when none has one."""
        epochs = [epoch for record in self.records if (epoch := epoch_in(record.value)) is not None]
        if self.valid is not None:
            epochs.append(self.valid.position.epoch)
        return max(epochs, default=None)

    @property
    def furthest(self) -> Checkpoint | None:
        """The checkpoint with the highest position, misplaced ones included."""
        known = [invalid.misplaced for invalid in self.invalid if invalid.misplaced is not None]
        known += [self.valid] if self.valid is not None else []
        return max(known, key=lambda one: one.position[:2], default=None)


class _Unparsed(NamedTuple):
    """The newest record with its key in its partition, not yet parsed."""

    newest_claim: int
    run: tuple[bytes, bytes]
    """Checkpoints with the same epoch and token, and no claim between them, supersede each other: only the last one is
    parsed."""
    record: CheckpointRecord


class CheckpointLog:
    """All records of the topic, added partition by partition in order of offset. Thread rule: one thread.

    A record replaces every earlier one with its key in its partition, as compaction does. The effect of stale writes is
    described in :mod:`bridge.core.checkpoint_history`.
    """

    def __init__(self, partitions: int, *, keep_records: bool = True) -> None:
        """``keep_records``: keep the records of valid checkpoints too, to show them; the daemon needs no such copy."""
        self._partitions = partitions
        self._keep_records = keep_records
        self.owners = OwnerRecords()
        self._removed_epoch = 0
        """The highest epoch in checkpoints that a tombstone removed."""
        self._newest_claims: defaultdict[int, int] = defaultdict(lambda: -1)
        """By partition: the offset of the newest known claim."""
        self._unparsed: dict[tuple[int, bytes], _Unparsed] = {}
        self._histories: dict[bytes, CheckpointHistory] = {}
        self._records: dict[tuple[int, bytes], CheckpointRecord] = {}
        self._invalid: dict[tuple[int, bytes], InvalidCheckpoint] = {}

    def add(self, partition: int, offset: int, written_ms: int, key: bytes, value: bytes | None) -> None:
        """Add the next record; without a value it is a tombstone, not by an owner (``forget``)."""
        place = (partition, key)
        if key.startswith(OWN_KEY_PREFIX):
            self.owners.add(partition, offset, key, value)
            if key == CLAIM_KEY and value is not None:
                self._newest_claims[partition] = offset
        elif value is None:
            self._remove(place)
        else:
            self._add_checkpoint(place, CheckpointRecord(partition, offset, written_ms, key, value))

    def _add_checkpoint(self, place: tuple[int, bytes], record: CheckpointRecord) -> None:
        run, newest_claim = epoch_and_token(record.value), self._newest_claims[record.partition]
        before = self._unparsed.get(place)
        if before is None or before.run != run or before.newest_claim != newest_claim:
            if before is not None:
                self._parse(place, before)
            if newest_claim < (token := token_of(run)) < record.offset:  # compaction removed that claim
                newest_claim = self._newest_claims[record.partition] = token
        self._unparsed[place] = _Unparsed(newest_claim, run, record)

    def forget(self, partition: int, key: bytes, fencing_token: int) -> None:
        """Add the tombstone of an owner; one that was paused may forget a session that has come back elsewhere."""
        before = self._unparsed.get(place := (partition, key))
        # Parsed only where it may be newer: most tombstones are the owner's, and there may be a million of them.
        if before is not None and token_of(before.run) > fencing_token:
            self._parse(place, self._unparsed.pop(place))
        history = self._histories.get(key, _EMPTY)
        if history.is_newer_than(fencing_token) and self._is_in_own_partition(place):
            self._histories[key] = replace(history, is_stale=True)  # the owner must write its checkpoint again
        else:
            self._remove(place)

    def _remove(self, place: tuple[int, bytes]) -> None:
        before = self._unparsed.get(place)
        if before is not None:
            self._removed_epoch = max(self._removed_epoch, epoch_in(before.record.value) or 0)
        for records in (self._unparsed, self._records, self._invalid):
            records.pop(place, None)
        if self._is_in_own_partition(place):
            history = self._histories.pop(place[1], _EMPTY)
            self._removed_epoch = max(self._removed_epoch, history.highest_epoch)

    def _parse(self, place: tuple[int, bytes], unparsed: _Unparsed) -> None:
        self._invalid.pop(place, None)
        invalid = self._validate(unparsed.record, unparsed.newest_claim)
        if invalid is not None:
            self._invalid[place] = invalid
        if invalid is not None or self._keep_records:
            self._records[place] = unparsed.record
        else:
            self._records.pop(place, None)

    def _validate(self, record: CheckpointRecord, newest_claim: int) -> InvalidCheckpoint | None:
        """Add the record to the history of its key, or return why it is invalid."""
        try:
            checkpoint = decode(record.key, record.value)
        except BadCheckpoint as bad:
            return InvalidCheckpoint(record, str(bad))
        if not self._is_in_own_partition((record.partition, record.key)):
            home = partition_of(record.key, self._partitions)
            why = f"its key belongs to partition {home} of {self._partitions} (were partitions added to the topic?)"
            return InvalidCheckpoint(record, why, checkpoint)
        if checkpoint.fencing_token is not None and checkpoint.fencing_token >= record.offset:
            checkpoint = replace(checkpoint, fencing_token=None)  # of an earlier topic with this name
        is_stale = checkpoint.fencing_token is not None and checkpoint.fencing_token < newest_claim
        history = self._histories.get(record.key, _EMPTY)
        self._histories[record.key] = history.after(checkpoint, record.offset, is_stale=is_stale)
        return None

    def parse(self, most: int | None = None) -> bool:
        """Parse so many records, by default all; whether any are left. 100,000 take seconds."""
        for place in list(islice(self._unparsed, most)):
            self._parse(place, self._unparsed.pop(place))
        return bool(self._unparsed)

    def _is_in_own_partition(self, place: tuple[int, bytes]) -> bool:
        return place[0] == partition_of(place[1], self._partitions)

    @property
    def highest_epoch(self) -> int:
        """The highest epoch in any record, also where a tombstone or a stale write replaced it."""
        self.parse()
        return max(self._gone_epoch, self._kept_epoch)

    @property
    def _gone_epoch(self) -> int:
        """The highest epoch in claims, and in checkpoints that a tombstone removed."""
        return max(self.owners.claimed_epoch, self._removed_epoch)

    @property
    def is_epoch_kept(self) -> bool:
        """Whether a checkpoint has the highest epoch; otherwise only a claim can hand it on to the next owner."""
        self.parse()
        return self._kept_epoch >= self._gone_epoch

    @property
    def _kept_epoch(self) -> int:
        return max((history.highest_epoch for history in self._histories.values()), default=0)

    def restored(self) -> dict[SessionKey, Restored]:
        """Where every session with a valid checkpoint resumes."""
        self.parse()
        found = (history.restored for history in self._histories.values())
        return {each.checkpoint.key: each for each in found if each is not None}

    @property
    def checkpoints(self) -> dict[SessionKey, Checkpoint]:
        """The checkpoint from which each session resumes."""
        return {key: restored.checkpoint for key, restored in self.restored().items()}

    @property
    def invalid(self) -> Collection[InvalidCheckpoint]:
        """The records from which the bridge cannot resume."""
        self.parse()
        return self._invalid.values()

    def stored_checkpoints(self) -> dict[bytes, StoredCheckpoint]:
        """All kept records by key, sorted."""
        self.parse()
        places = defaultdict(list)
        for place in self._records:
            places[place[1]].append(place)
        return {key: self._stored(key, places[key]) for key in sorted(places)}

    def _stored(self, key: bytes, places: Sequence[tuple[int, bytes]]) -> StoredCheckpoint:
        records = tuple(self._records[place] for place in places)
        invalid = tuple(self._invalid[place] for place in places if place in self._invalid)
        restored = self._histories.get(key, _EMPTY).restored
        return StoredCheckpoint(key, None if restored is None else restored.checkpoint, records, invalid)

    def stored(self, key: bytes) -> StoredCheckpoint:
        """The records with one key; there may be none."""
        self.parse()
        return self._stored(key, [place for place in self._records if place[1] == key])
