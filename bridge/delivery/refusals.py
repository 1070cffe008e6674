"""What follows from a record that Kafka refuses: other limits, a dead letter, or a new epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

from bridge.clock import monotonic
from bridge.core.entries import Batch, Entry, Stage
from bridge.core.records.encoder import Encoder
from bridge.core.records.headers import MARKER_BYTES, prefix
from bridge.core.records.record import Encoded, counts_of
from bridge.core.records.sizes import SizeLimits
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


_LONGEST = 2.0
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
            self._checks, self._until = self._limits.checks, monotonic() + _LONGEST
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
