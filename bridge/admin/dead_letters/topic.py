"""Reads the dead-letters topic, and finds the dead letters that were replayed before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.admin.dead_letters.selection import DeadLetterFilter
from bridge.admin.progress import read_all
from bridge.core.records.dead_letter import DeadLetter, NotADeadLetter, Place, dead_letter_of
from bridge.core.records.numbers import EventSequence, number_of
from bridge.errors import SettingsError
from bridge.kafka.reader import StoredRecord
from bridge.kafka.topic_reader import OffsetRange, offset_ranges

EventId = tuple[bytes, EventSequence]
"""A record's key and number: together they identify an event."""

CLOCK_DIFFERENCE_MS = 24 * 3600 * 1000
"""The clocks of the bridge, of the replaying machine and of the brokers may differ by this much."""


@dataclass(slots=True)
class DeadLetters:
    """The selected dead letters of the topic; can be iterated several times. Thread rule: one thread."""

    config: Mapping[str, Any]
    topic: str
    selection: DeadLetterFilter
    foreign: dict[Place, str] = field(default_factory=dict)
    """Records that the bridge did not write, of those read so far, with the reason."""
    named: set[Place | EventSequence] = field(default_factory=set)
    """Addresses and ids of those read so far, if the selection has any."""
    _readings: list[list[OffsetRange]] = field(init=False)

    def __post_init__(self) -> None:
        """Fix the offset ranges to read. Raises ``SettingsError`` without such a topic, and ``Unreachable``."""
        found = offset_ranges(self.config, [self.topic])
        if not found:
            raise SettingsError.of(
                "topics.dead_letters",
                f"there is no topic {self.topic}, or it is not visible; allowed: the topic that the bridge writes to"
                " (check namespace too)",
            )
        by_address = self.selection.places and not self.selection.numbers
        self._readings = [[each] for each in self._addressed(found)] if by_address else [found]

    def _addressed(self, found: Sequence[OffsetRange]) -> Iterator[OffsetRange]:
        """Only the selected addresses: the other records need not be read."""
        by_partition = {each.partition: each for each in found}
        for partition, offset in sorted(self.selection.places):
            if partition in by_partition and by_partition[partition].start <= offset < by_partition[partition].end:
                yield OffsetRange(self.topic, partition, offset, offset + 1)

    def __iter__(self) -> Iterator[tuple[StoredRecord, DeadLetter]]:
        """Yield the selected dead letters, in the order of each partition."""
        for ranges in self._readings:
            for batch in read_all(self.config, ranges, "dead letters"):
                for record in batch:
                    letter = self._parsed(record)
                    if letter is not None and self.selection.matches(letter):
                        if self.selection.has_names:
                            self.named |= {letter.place, letter.number}
                        yield record, letter

    def _parsed(self, record: StoredRecord) -> DeadLetter | None:
        place = Place(record.partition, record.offset)
        try:
            return dead_letter_of(place, record.timestamp_ms, record.key, record.value, record.headers)
        except NotADeadLetter as error:
            self.foreign[place] = str(error)
            return None


def replayed_before(
    config: Mapping[str, Any], topics: Sequence[str], candidates: Collection[EventId], received_ms: int
) -> set[EventId]:
    """Return the candidates that a replay has sent to these topics before.

    ``received_ms`` is the time of the oldest candidate. A replayed record has the time of its event, so older records
    need not be read.
    """
    found: set[EventId] = set()
    for batch in read_all(config, offset_ranges(config, topics, received_ms - CLOCK_DIFFERENCE_MS), "events"):
        for record in batch:
            numbered = number_of(record.value, record.headers)
            if numbered is not None and numbered.replayed and record.key is not None:
                event_id = record.key, EventSequence(*numbered[:2])
                if event_id in candidates:
                    found.add(event_id)
    return found
