"""Reads the dead-letters topic, and selects and groups dead letters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.admin.kafka_access import read_all
from bridge.admin.text import matches
from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import DeadLetter, NotADeadLetter, Place, dead_letter_of
from bridge.core.records.numbers import EventSequence
from bridge.errors import SettingsError
from bridge.kafka.reader import StoredRecord
from bridge.kafka.topic_reader import OffsetRange, offset_ranges

_PLACE = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
_NUMBER = re.compile(r"([0-9]{10}):([0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """The dead letters that meet all of these conditions."""

    sessions: tuple[str, ...] = ()
    """``server/id`` or patterns (`fnmatch`) of it: one of them matches."""
    reason: str | None = None
    event: str | None = None
    """An event type or a pattern."""
    since_ms: int | None = None
    places: frozenset[Place] = frozenset()
    numbers: frozenset[EventSequence] = frozenset()

    @property
    def has_names(self) -> bool:
        """Whether dead letters were named by their address or id."""
        return bool(self.places or self.numbers)

    def matches(self, letter: DeadLetter) -> bool:
        """Return whether the dead letter meets all conditions."""
        return (
            (not self.has_names or letter.place in self.places or letter.number in self.numbers)
            and (not self.sessions or any(matches(str(letter.key), each) for each in self.sessions))
            and self.reason in (None, letter.reason)
            and matches(letter.event, self.event)
            and (self.since_ms is None or letter.received_ms >= self.since_ms)
        )


def parse_reference(text: str) -> Place | EventSequence:
    """Parse ``<partition>:<offset>`` or ``<epoch>:<number>``: an epoch has 10 digits. Raises ValueError."""
    if (number := _NUMBER.fullmatch(text)) is not None:
        return EventSequence(int(number[1]), int(number[2]))
    if (place := _PLACE.fullmatch(text)) is not None:
        return Place(int(place[1]), int(place[2]))
    raise ValueError("is neither an address (<partition>:<offset>) nor an id (<epoch>:<number>)")


class Kind(NamedTuple):
    """The properties by which dead letters are grouped."""

    key: SessionKey
    reason: str
    event: str


@dataclass(slots=True)
class Group:
    """Dead letters of one kind. Times are those of receipt, in Unix milliseconds."""

    count: int = 0
    size: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def add(self, letter: DeadLetter) -> None:
        """Count one more."""
        at = letter.received_ms
        self.first_ms = min(self.first_ms, at) if self.count else at
        self.last_ms = max(self.last_ms, at)
        self.count += 1
        self.size += letter.size


def grouped(letters: Iterable[DeadLetter]) -> Mapping[Kind, Group]:
    """Group by session, reason and event type, in that order."""
    groups: dict[Kind, Group] = {}
    for letter in letters:
        groups.setdefault(Kind(letter.key, letter.reason, letter.event), Group()).add(letter)
    return dict(sorted(groups.items()))


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
        self._readings = [found]
        if self.selection.places and not self.selection.numbers:  # the other records need not be read
            self._readings = [
                [OffsetRange(self.topic, partition, offset, offset + 1)]
                for partition, offset in sorted(self.selection.places)
                for each in found
                if each.partition == partition and each.start <= offset < each.end
            ]

    def __iter__(self) -> Iterator[tuple[StoredRecord, DeadLetter]]:
        """Yield the selected dead letters, in the order of each partition."""
        for ranges in self._readings:
            for batch in read_all(self.config, ranges, "dead letters"):
                for record in batch:
                    place = Place(record.partition, record.offset)
                    try:
                        letter = dead_letter_of(place, record.timestamp_ms, record.key, record.value, record.headers)
                    except NotADeadLetter as error:
                        self.foreign[place] = str(error)
                        continue
                    if self.selection.matches(letter):
                        if self.selection.has_names:
                            self.named |= {letter.place, letter.number}
                        yield record, letter
