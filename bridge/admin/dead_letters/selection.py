"""Selects and groups dead letters. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bridge.admin.patterns import matches
from bridge.core.identity import SessionKey
from bridge.core.records.dead_letter import DeadLetter, Place
from bridge.core.records.numbers import EventSequence

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
