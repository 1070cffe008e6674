"""The dead-letters topic, read to the end it has now; and what of it was replayed before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.admin.dead_letters.rules import replayed_number
from bridge.core.records.dead_letter import DeadLetter, DeadLetterFilter, NotADeadLetter, Number, Place, dead_letter_of
from bridge.errors import SettingsError
from bridge.kafka.reader import StoredRecord
from bridge.kafka.topic_reader import OffsetRange, offset_ranges, read

Identity = tuple[bytes, Number]
"""A record's key and number: what tells two events apart."""

CLOCKS_APART_MS = 24 * 3600 * 1000
"""So far may the clocks of the bridge, of whoever replayed and of the brokers be apart."""


@dataclass(slots=True)
class DeadLetters:
    """What the topic holds now, as often as it is gone through. Thread rule: one thread."""

    config: Mapping[str, Any]
    topic: str
    wanted: DeadLetterFilter
    foreign: dict[Place, str] = field(default_factory=dict)
    """Records that the bridge did not write, and how that shows: those that were met so far."""
    _session_counters: list[list[OffsetRange]] = field(init=False)

    def __post_init__(self) -> None:
        """Fix what there is to read. Raises ``SettingsError`` when there is no such topic, ``Unreachable``."""
        found = offset_ranges(self.config, [self.topic])
        if not found:
            raise SettingsError.of(
                "topics.dead_letters",
                f"there is no topic {self.topic}, or it may not be seen; allowed: one that the bridge writes to (look"
                " at namespace too)",
            )
        by_address = self.wanted.places and not self.wanted.numbers
        self._session_counters = [[run] for run in self._runs(found)] if by_address else [found]

    def _runs(self, found: Sequence[OffsetRange]) -> Iterator[OffsetRange]:
        """The very records that addresses name: no need to read all the others."""
        of = {each.partition: each for each in found}
        for partition, offset in sorted(self.wanted.places):
            if partition in of and of[partition].start <= offset < of[partition].end:
                yield OffsetRange(self.topic, partition, offset, offset + 1)

    def __iter__(self) -> Iterator[tuple[StoredRecord, DeadLetter]]:
        """Every dead letter that is wanted, in the order of its partition."""
        for reading in self._session_counters:
            for batch in read(self.config, reading):
                for record in batch:
                    letter = self._understood(record)
                    if letter is not None and self.wanted.matches(letter):
                        yield record, letter

    def _understood(self, record: StoredRecord) -> DeadLetter | None:
        place = Place(record.partition, record.offset)
        try:
            return dead_letter_of(place, record.timestamp_ms, record.key, record.value, record.headers)
        except NotADeadLetter as error:
            self.foreign[place] = str(error)
            return None


def replayed_before(
    config: Mapping[str, Any], topics: Sequence[str], candidates: Collection[Identity], received_ms: int
) -> set[Identity]:
    """Which of the candidates lie in these topics already, sent by a replay; ``received_ms`` is the oldest one's time.

    A replayed record carries its event's time, so nothing that is older needs to be read.
    """
    found: set[Identity] = set()
    for batch in read(config, offset_ranges(config, topics, received_ms - CLOCKS_APART_MS)):
        for record in batch:
            number = replayed_number(record.value, record.headers)
            if number is not None and record.key is not None and (record.key, number) in candidates:
                found.add((record.key, number))
    return found
