"""The account of every session while its records go by: which numbers are there, and in which order they came.

What follows from it is judged in `core.verification`. Memory grows with sessions, their epochs, and one bit a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.admin.verify.number_set import NumberSet
from bridge.admin.verify.record_numbers import LifecycleEntry, Numbers, Statement
from bridge.core.identity import partition_of
from bridge.core.records.checkpoint import OWN_KEY_PREFIX


class Place(NamedTuple):
    """A topic-partition: what a consumer that follows the rule keeps a highest number for."""

    topic: str
    partition: int


Number = tuple[int, int]
"""(epoch, sequence): what consumers compare."""
BEFORE_ALL: Number = (-1, -1)
BEHIND_ALL: Number = (10**12, 0)

SERVER_FAULTS = ("gap", "reset", "unresumable")
"""Kinds of lifecycle records that say: the server did not let the stream go on as it was."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The partitions of events and dead letters that are read."""

    partitions: Mapping[str, int]
    """How many each topic has."""
    horizons: Mapping[Place, float]
    """Of the places whose beginning is not there: what is later than this (Unix milliseconds) still is."""

    def cut_places(self, key: bytes) -> dict[Place, float]:
        """Where missing records of a session may have been, with the horizon there."""
        places = (Place(topic, partition_of(key, count)) for topic, count in self.partitions.items())
        return {place: self.horizons[place] for place in places if place in self.horizons}


@dataclass(slots=True)
class Gaps:
    """What the server did not let the bridge have, as far as it was noticed."""

    kinds: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    """Events that are known to be missing."""
    unknown: int = 0
    """Records that could not tell how many."""
    _last: LifecycleEntry | None = None

    def take(self, entry: LifecycleEntry) -> None:
        """Count one. A crash may repeat the last one; only a connection that cannot be resumed can come twice alike."""
        repeats = entry == self._last and entry.kind != "unresumable"
        self._last = entry
        if entry.kind in SERVER_FAULTS and not repeats:
            self.kinds[entry.kind] += 1
            self.missing += entry.missing or 0
            self.unknown += entry.missing is None


class EpochAccount:
    """One epoch of one session."""

    __slots__ = (
        "dead_letters",
        "hidden",
        "highest",
        "lowest",
        "out_of_order",
        "present",
        "records",
        "repeats",
        "replays",
    )

    def __init__(self) -> None:
        self.present = NumberSet()
        self.hidden: NumberSet | None = None
        """First seen behind a higher one in their place: a consumer that follows the rule drops them."""
        self.replays: NumberSet | None = None
        self.lowest = 0
        self.highest = 0
        self.records = 0
        self.repeats = 0
        self.out_of_order = 0
        self.dead_letters = 0

    def count(self, sequence: int, *, dead_letter: bool) -> bool:
        """Whether the number is new."""
        self.records += 1
        self.dead_letters += dead_letter
        if not self.present.add(sequence):
            self.repeats += 1
            return False
        self.highest = max(self.highest, sequence)
        self.lowest = min(self.lowest or sequence, sequence)
        return True

    def hide(self, sequence: int) -> None:
        """Note a number that consumers drop."""
        self.out_of_order += 1
        if self.hidden is None:
            self.hidden = NumberSet()
        self.hidden.add(sequence)

    def replayed(self, sequence: int) -> None:
        """Note a number that a replay of dead letters sent."""
        if self.replays is None:
            self.replays = NumberSet()
        self.replays.add(sequence)


class SessionAccount:
    """One session, all its epochs."""

    __slots__ = (
        "checkpoint",
        "cut",
        "epochs",
        "first_behind",
        "first_within",
        "gaps",
        "horizon",
        "replayed",
        "seen",
        "statements",
        "told_epoch",
    )

    def __init__(self, cut: Mapping[Place, float]) -> None:
        self.epochs: dict[int, EpochAccount] = {}
        self.statements: dict[int, int] = {}
        """Epoch to sequence: up to there all is in Kafka."""
        self.told_epoch = -1
        """The newest that a checkpoint or a lifecycle record names."""
        self.checkpoint: Statement | None = None
        self.gaps = Gaps()
        self.replayed = 0
        self.seen: dict[Place, Number] = {}
        """The highest number of each place."""
        self.first_within: dict[Place, Number] = {}
        """The first number in each place that is cut."""
        self.first_behind = BEHIND_ALL
        """The lowest number of a record that is later than all horizons."""
        self.cut_at(cut)

    def cut_at(self, cut: Mapping[Place, float]) -> None:
        """Where older records of the session are gone; before the first record."""
        self.cut = frozenset(cut)
        self.horizon = max(cut.values(), default=None)

    def take(self, place: Place, timestamp_ms: int, numbers: Numbers) -> None:
        """One record; those of one place in the order of their offsets."""
        epoch = self.epochs.get(numbers.epoch)
        if epoch is None:
            epoch = self.epochs[numbers.epoch] = EpochAccount()
        if numbers.replayed:
            self.replayed += 1
            epoch.replayed(numbers.sequence)
            return
        number, highest = (numbers.epoch, numbers.sequence), self.seen.get(place, BEFORE_ALL)
        if self.horizon is not None:
            self._find_edge(place, timestamp_ms, number, self.horizon)
        is_new = epoch.count(numbers.sequence, dead_letter=numbers.dead_letter)
        if number > highest:
            self.seen[place] = number
        elif is_new:
            epoch.hide(numbers.sequence)

    def _find_edge(self, place: Place, timestamp_ms: int, number: Number, horizon: float) -> None:
        if place in self.cut:
            self.first_within.setdefault(place, number)
        if timestamp_ms > horizon and number < self.first_behind:
            self.first_behind = number

    def state(self, stated: Statement) -> None:
        """Everything up to there is in Kafka."""
        self.statements[stated.epoch] = max(stated.sequence, self.statements.get(stated.epoch, 0))
        self.told_epoch = max(self.told_epoch, stated.epoch)

    def happened(self, entry: LifecycleEntry, *, is_told: bool) -> None:
        """A lifecycle record."""
        if is_told:
            self.gaps.take(entry)
        # Before the first number of an epoch that goes on it states nothing. Taken as a statement, it would say of an
        # epoch that is over that all its numbers were superseded.
        if entry.stated.sequence or entry.new_epoch is not None:
            self.state(entry.stated)
        self.told_epoch = max(self.told_epoch, entry.stated.epoch, -1 if entry.new_epoch is None else entry.new_epoch)

    def edge(self) -> Number:
        """What is missing below this number may have been removed; `BEFORE_ALL` where nothing was."""
        within = (self.first_within.get(place, BEHIND_ALL) for place in self.cut)
        return max((min(first, self.first_behind) for first in within), default=BEFORE_ALL)


class Ledger:
    """The accounts of all sessions, or only of those asked for. Thread rule: one thread.

    First every checkpoint and lifecycle record, whose ends are to be fixed first, too: then no statement speaks of
    records behind the end of what is read after it.
    """

    def __init__(self, only: frozenset[bytes] | None = None) -> None:
        self.only = only
        self.sessions: dict[bytes, SessionAccount] = {}
        self.foreign: Counter[str] = Counter()
        """Records that are not the bridge's, or that it cannot understand, by topic."""
        self._layout = Layout({}, {})

    def lay_out(self, layout: Layout) -> None:
        """Tell of the partitions of events, before the first of their records is taken."""
        self._layout = layout
        for key, account in self.sessions.items():
            account.cut_at(layout.cut_places(key))

    def take(self, place: Place, key: bytes | None, timestamp_ms: int, numbers: Numbers | None) -> None:
        """A record of a topic of events or dead letters."""
        account = self._account(place.topic, key, is_ours=numbers is not None)
        if account is not None and numbers is not None:
            account.take(place, timestamp_ms, numbers)

    def checkpoint(self, topic: str, key: bytes | None, stated: Statement | None, *, tombstone: bool) -> None:
        """A record of the checkpoints topic."""
        if key is not None and key.startswith(OWN_KEY_PREFIX):
            return
        account = self._account(topic, key, is_ours=tombstone or stated is not None)
        if account is None:
            return
        account.checkpoint = stated
        if stated is not None:
            account.state(stated)

    def happened(self, topic: str, key: bytes | None, entry: LifecycleEntry | None, *, is_told: bool) -> None:
        """A lifecycle record. One that is older than was asked for still states, but is not told."""
        account = self._account(topic, key, is_ours=entry is not None)
        if account is not None and entry is not None:
            account.happened(entry, is_told=is_told)

    def _account(self, topic: str, key: bytes | None, *, is_ours: bool) -> SessionAccount | None:
        if key is not None and is_ours:
            account = self.sessions.get(key)
            if account is not None:
                return account
            if self.only is not None and key not in self.only:
                return None
            if _names_a_session(key):
                account = self.sessions[key] = SessionAccount(self._layout.cut_places(key))
                return account
        self.foreign[topic] += 1
        return None


def _names_a_session(key: bytes) -> bool:
    try:
        server, slash, session_id = key.decode().partition("/")
    except UnicodeDecodeError:
        return False
    return bool(server and slash and session_id)
