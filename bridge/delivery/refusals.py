"""What follows from a record that Kafka refuses: the search for it, other limits, a dead letter, or a new epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from bridge.clock import monotonic
from bridge.core.entries import Batch, Entry, Stage
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import MARKER_BYTES, Encoded, counts_of, prefix
from bridge.core.records.topics import SizeLimits
from bridge.kafka.errors import ProduceError, is_for_size


class RefusedRecord(NamedTuple):
    """A record that Kafka refused although it was alone in its request. Its dead letter goes under its number."""

    error: str
    most_bytes: int | None = None
    """Of its data in the dead letter. None: all of it, at the first refusal."""

    def again(self, error: ProduceError) -> RefusedRecord | None:
        """The dead letter was refused as well: a smaller one; None when its size is not the reason."""
        if self.most_bytes == 0 or not is_for_size(error):
            return None
        return self._replace(most_bytes=MARKER_BYTES if self.most_bytes is None else self.most_bytes // 16)

    def dead_letter(self, encoder: Encoder, batch: Batch) -> Encoded:
        """The batch with the dead letter in place of its only record."""
        encoded = encode_batch(encoder, batch)
        place = 0 if encoded.places is None else encoded.places[0]
        letter = encoder.rejected(batch.events[place], batch.epoch, batch.sequence, self.error)
        if self.most_bytes is not None:
            letter = letter._replace(value=prefix(letter.value, self.most_bytes))
        return encoded._replace(records=[letter], counts=counts_of([letter]))


def encode_batch(encoder: Encoder, batch: Batch) -> Encoded:
    """The records of a batch under the numbers it has now."""
    encoded = encoder.encode_batch(batch.events, batch.epoch, batch.start.sequence, batch.start.last_event_id)
    if len(encoded.records) != batch.count:
        raise AssertionError(f"{batch.count} numbered events became {len(encoded.records)} records")
    return encoded


_LONGEST_CHECK = 2.0
"""Seconds to wait for the limits: a description takes some milliseconds where Kafka answers."""


class SizeRefusals:
    """One session's refusals for size. Thread rule: the delivery thread.

    Before Kafka's refusal of a size is believed, the topics' limits are read again: they may have been lowered.
    """

    def __init__(self, limits: SizeLimits) -> None:
        self._limits = limits
        self._version = limits.version
        """Of the limits by which everything in memory is known to be encoded."""
        self._checks: int | None = None
        self._until = -inf

    def note(self) -> None:
        """Kafka refused a record for its size: have the limits read again."""
        if monotonic() >= self._until:
            self._checks, self._until = self._limits.checks, monotonic() + _LONGEST_CHECK
            self._limits.wanted.set()

    @property
    def awaits_limits(self) -> bool:
        """Whether the limits are being read since the refusal. Without an answer the wait ends."""
        return self._checks is not None and self._checks == self._limits.checks and monotonic() < self._until

    def are_explained(self) -> bool:
        """Whether the limits are others now: what is in memory must be encoded again, and no record is at fault.

        Asked once per refusal. A second one under the same limits is about a record.
        """
        if self._checks is None:
            return False
        was, self._version = self._version, self._limits.version
        self._checks, self._until = None, -inf
        return was != self._version


class HighestNumbers:
    """The highest number of one session that each topic may have. Thread rule: the delivery thread.

    A record that Kafka refuses becomes a dead letter under its number, and other size limits of the topics move records
    too. If a later record of the session is already in the new topic, a consumer that keeps the highest number there
    drops the moved record.
    """

    def __init__(self, restored_epoch: int, dead_letters: str) -> None:
        """``restored_epoch``: an earlier process may have written any number of it to any topic."""
        self._restored_epoch = restored_epoch
        self._dead_letters = dead_letters
        self._highest: dict[str, tuple[int, int]] = {}

    def note(self, entries: Iterable[Entry]) -> None:
        """Note what was produced of these entries; what passed before has lower numbers than all that may move."""
        for entry in entries:
            if isinstance(entry, Batch) and entry.stage is not Stage.WAITING:
                number = entry.epoch, entry.sequence
                self._highest |= {topic: max(number, self._highest.get(topic, number)) for topic in entry.counts}

    def hides(self, batch: Batch, prepare: Callable[[Batch], object]) -> bool:
        """Whether a consumer might drop a record that ``prepare`` moves to another topic."""
        before = batch.counts
        prepare(batch)
        moved_to = {topic for topic, count in batch.counts.items() if count > before.get(topic, 0)}
        if any(batch.counts.get(topic, 0) < before[topic] for topic in before.keys() - {self._dead_letters}):
            moved_to.add(self._dead_letters)  # although others may have left it
        first = batch.epoch, batch.start.sequence + 1
        is_restored = batch.epoch == self._restored_epoch
        is_by_limits = batch.refusal is None
        return any(is_by_limits or is_restored or self._highest.get(topic, first) > first for topic in moved_to)


MOST = 512
"""Records of a piece: those of a batch."""
_CLEAN = 1000
"""Records that must pass after a refusal before the session goes back to the shared producer, which each refusal ends:
a stream in which every tenth record is refused would end it again and again."""
TIME_LIMIT = 1.0
"""Seconds in which Kafka must accept a piece in a transaction: longer would delay the shard's other sessions."""
_LONGEST = 20.0
"""Seconds at most, after pieces that were not accepted in time: a new producer must first connect to the partition's
leader and log in, which takes seconds on a slow connection."""


@dataclass(slots=True)
class Isolation:
    """Finding the record that Kafka refuses: which piece of the oldest batch goes next.

    Kafka refuses a whole request when one record in it is at fault, and its error does not always name that record. So
    a session with a refused batch sends one piece of its oldest batch at a time, in one request of its own: a refused
    piece is halved until the refused record is alone, an accepted one is passed for good. Only a record that is refused
    alone in its request goes to the dead letters. It outlives producers and transactions.

    Thread rule: the delivery thread of the session's shard.
    """

    is_active: bool = False
    """The session sends pieces, and nothing by the fast path."""
    suspect: int = 0
    """So many records from the oldest on hold a refused one; 0: none is known."""
    clean: int = 0
    """Records accepted since the last verdict, or since the isolation began."""
    time_limit: float = TIME_LIMIT
    """Seconds in which Kafka must accept the next piece."""
    _most: int = MOST
    _is_probe: bool = False
    _has_verdict: bool = False

    def piece(self, available: int) -> int:
        """How many of so many records go next: half of those that hold a refused one."""
        if self._is_probe:
            return 1
        return max(1, min(available, self.suspect // 2 if self.suspect else self._most))

    def begin(self, suspect: int = 0) -> None:
        """Kafka refused a request with a batch of this session. Another record in the request may be the reason."""
        if not self.is_active or self._is_probe:
            self.is_active, self._is_probe, self.clean, self._most = True, False, 0, MOST
        self.suspect = self.suspect or suspect

    def probe(self) -> None:
        """A topic accepts nothing: try one record before all others, where a failure ends no shared producer."""
        if not self.is_active:
            self.is_active = self._is_probe = True

    def refused(self, records: int) -> bool:
        """A piece was refused alone in its request. True: it is one record, which goes to the dead letters."""
        self.begin()
        self.time_limit = TIME_LIMIT
        if records > 1:
            self.suspect = records
            return False
        # As far as from the last refused record is a good guess for the next one; without a last one, all the rest.
        self._most = min(MOST, max(2, 2 * self.clean)) if self._has_verdict else MOST
        self._has_verdict = True
        self.suspect = self.clean = 0
        return True

    def note_time(self, *, is_too_short: bool) -> None:
        """If Kafka did not accept a piece in time, the next one may take twice as long."""
        if is_too_short and self.is_active:
            self.time_limit = min(2 * self.time_limit, _LONGEST)

    def accepted(self, records: int) -> None:
        self.time_limit = TIME_LIMIT
        self.clean += records
        self.suspect = max(0, self.suspect - records)
        if not self.suspect:
            self._most = min(MOST, 2 * self._most)
        if self._is_probe or (self.clean >= _CLEAN and not self.suspect):
            self.end()

    def end(self) -> None:
        """The session goes back to the shared producer, or the shard's transactions."""
        self.is_active = self._is_probe = self._has_verdict = False
        self.suspect = self.clean = 0
        self._most = MOST
