"""Counts the records of every session while they are read: which numbers exist, and in which order.

:mod:`bridge.admin.verify.findings` judges the result. Memory grows with sessions and epochs, and by one bit per record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.admin.verify.number_set import NumberSet
from bridge.consumer.rule import HighestSequences
from bridge.core.identity import partition_of
from bridge.core.records.checkpoint import OWN_KEY_PREFIX
from bridge.core.records.lifecycle import StoredLifecycleEvent
from bridge.core.records.numbers import EventSequence, NumberedRecord


class Place(NamedTuple):
    """A topic-partition. A consumer that follows the rule keeps the highest number of each session in it."""

    topic: str
    partition: int


AFTER_ALL = EventSequence(10**12, 0)

SERVER_FAULTS = ("gap", "reset", "unresumable")
"""Kinds of lifecycle records about events that the server did not deliver."""


@dataclass(slots=True)
class Gaps:
    """The events that the server did not deliver, as far as the bridge noticed."""

    kinds: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    unknown: int = 0
    """Records without that number."""
    _last: StoredLifecycleEvent | None = None

    def add(self, event: StoredLifecycleEvent) -> None:
        """Count one. An equal one is a repeat after a crash, except `unresumable`: each connection causes one."""
        is_repeat = event == self._last and event.kind != "unresumable"
        self._last = event
        if event.kind in SERVER_FAULTS and not is_repeat:
            self.kinds[event.kind] += 1
            self.missing += event.missing or 0
            self.unknown += event.missing is None


@dataclass(slots=True)
class EpochAccount:
    """One epoch of one session."""

    present: NumberSet = field(default_factory=NumberSet)
    hidden: NumberSet = field(default_factory=NumberSet)
    """Numbers behind a higher one in the place of their first record: consumers that follow the rule drop them."""
    replays: NumberSet = field(default_factory=NumberSet)
    """Numbers that a replay of dead letters sent."""
    highest: int = 0
    records: int = 0
    repeats: int = 0
    out_of_order: int = 0
    dead_letters: int = 0

    def count(self, sequence: int, *, dead_letter: bool) -> bool:
        """Count a record; return whether its number is new."""
        self.records += 1
        self.dead_letters += dead_letter
        if not self.present.add(sequence):
            self.repeats += 1
            return False
        self.highest = max(self.highest, sequence)
        return True


@dataclass(slots=True)
class SessionAccount:
    """One session with all its epochs."""

    cut: Mapping[Place, float] = field(default_factory=dict)
    """The horizons of the places without their beginning."""
    epochs: dict[int, EpochAccount] = field(default_factory=dict)
    statements: dict[int, int] = field(default_factory=dict)
    """By epoch: every number up to this sequence is in Kafka."""
    newest_epoch: int = -1
    """The newest epoch of a checkpoint or a lifecycle record."""
    checkpoint: EventSequence | None = None
    gaps: Gaps = field(default_factory=Gaps)
    replayed: int = 0
    rule: HighestSequences[Place, EventSequence] = field(default_factory=HighestSequences)
    first_within: dict[Place, EventSequence] = field(default_factory=dict)
    """The first number in each place without its beginning."""
    first_after: EventSequence = AFTER_ALL
    """The lowest number among records later than all horizons."""

    def add(self, place: Place, timestamp_ms: int, record: NumberedRecord) -> None:
        """Add a record; the records of one place come in the order of their offsets."""
        epoch = self.epochs.get(record.epoch)
        if epoch is None:
            epoch = self.epochs[record.epoch] = EpochAccount()
        if record.replayed:
            self.replayed += 1
            epoch.replays.add(record.sequence)
            return
        number = EventSequence(record.epoch, record.sequence)
        if self.cut:
            if place in self.cut:
                self.first_within.setdefault(place, number)
            if number < self.first_after and timestamp_ms > max(self.cut.values()):
                self.first_after = number
        is_new = epoch.count(record.sequence, dead_letter=record.dead_letter)
        if not self.rule.raise_to(place, number) and is_new:
            epoch.out_of_order += 1
            epoch.hidden.add(record.sequence)

    def state(self, stated: EventSequence) -> None:
        """Add a statement: every number up to this one is in Kafka."""
        self.statements[stated.epoch] = max(stated.sequence, self.statements.get(stated.epoch, 0))
        self.newest_epoch = max(self.newest_epoch, stated.epoch)

    def add_lifecycle(self, event: StoredLifecycleEvent, *, is_reported: bool) -> None:
        """Add a lifecycle record."""
        if is_reported:
            self.gaps.add(event)
        # At the beginning of an epoch that continues it states nothing: as a statement, it would mean for a finished
        # epoch that all its numbers were superseded.
        if event.after.sequence or event.new_epoch is not None:
            self.state(event.after)
        new_epoch = -1 if event.new_epoch is None else event.new_epoch
        self.newest_epoch = max(self.newest_epoch, event.after.epoch, new_epoch)

    def edge(self) -> EventSequence:
        """Return the number below which missing records may have been removed; -1 if none were."""
        within = (self.first_within.get(place, AFTER_ALL) for place in self.cut)
        return max((min(first, self.first_after) for first in within), default=EventSequence(-1, -1))


class Ledger:
    """The accounts of all sessions, or only of the requested ones. Thread rule: one thread.

    Add all checkpoints and lifecycle records first, and fix their end offsets first: then no statement refers to
    records behind the end of what is read later.
    """

    def __init__(self, only: frozenset[bytes] | None = None) -> None:
        self.only = only
        self.sessions: dict[bytes, SessionAccount] = {}
        self.foreign: Counter[str] = Counter()
        """By topic: records that the bridge did not write, or that this version cannot read."""
        self._partitions: Mapping[str, int] = {}
        self._horizons: Mapping[Place, float] = {}

    def set_layout(self, partitions: Mapping[str, int], horizons: Mapping[Place, float]) -> None:
        """Describe the topics of events and dead letters, before the first of their records is added.

        ``partitions``: their number by topic. ``horizons``: for each place without its beginning; records later than
        this time (Unix milliseconds) still exist.
        """
        self._partitions, self._horizons = partitions, horizons
        for key, account in self.sessions.items():
            account.cut = self._cut_places(key)

    def _cut_places(self, key: bytes) -> dict[Place, float]:
        """Return the places where missing records of a session may have been, with their horizons."""
        places = (Place(topic, partition_of(key, count)) for topic, count in self._partitions.items())
        return {place: self._horizons[place] for place in places if place in self._horizons}

    def add(self, place: Place, key: bytes | None, timestamp_ms: int, record: NumberedRecord | None) -> None:
        """Add a record of events or dead letters."""
        account = self._account(place.topic, key, is_ours=record is not None)
        if account is not None and record is not None:
            account.add(place, timestamp_ms, record)

    def add_checkpoint(self, topic: str, key: bytes | None, stated: EventSequence | None, *, tombstone: bool) -> None:
        """Add a record of the checkpoints topic; ``stated`` is None for a tombstone or an invalid checkpoint."""
        if key is not None and key.startswith(OWN_KEY_PREFIX):
            return
        account = self._account(topic, key, is_ours=tombstone or stated is not None)
        if account is not None:
            account.checkpoint = stated
            if stated is not None:
                account.state(stated)

    def add_lifecycle(
        self, topic: str, key: bytes | None, event: StoredLifecycleEvent | None, *, is_reported: bool
    ) -> None:
        """Add a lifecycle record. One older than ``--since`` is a statement too, but its gap is not reported."""
        account = self._account(topic, key, is_ours=event is not None)
        if account is not None and event is not None:
            account.add_lifecycle(event, is_reported=is_reported)

    def _account(self, topic: str, key: bytes | None, *, is_ours: bool) -> SessionAccount | None:
        if key is not None and is_ours:
            account = self.sessions.get(key)
            if account is not None:
                return account
            if self.only is not None and key not in self.only:
                return None
            with suppress(UnicodeDecodeError):
                if all(key.decode().partition("/")):
                    account = self.sessions[key] = SessionAccount(self._cut_places(key))
                    return account
        self.foreign[topic] += 1
        return None
