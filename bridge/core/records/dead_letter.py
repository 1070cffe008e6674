"""Dead letters read from their topic: the session, the reason, the data, and whether it is complete. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from bridge.clock import parse_rfc3339
from bridge.core.identity import SessionKey
from bridge.core.records.headers import TEXT_BYTES, epoch_text, sequence_text

_DIGITS = re.compile(r"[0-9]{1,18}")
_PLACE = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
_NUMBER = re.compile(r"([0-9]{10}):([0-9]{1,12})")


class Place(NamedTuple):
    """The address of a record in its topic, ``<partition>:<offset>``."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class Number(NamedTuple):
    """A record's id within its session, ``<epoch>:<sequence>``."""

    epoch: int
    sequence: int

    def __str__(self) -> str:
        return f"{epoch_text(self.epoch)}:{sequence_text(self.sequence)}"


class NotADeadLetter(ValueError):
    """A record of the dead-letters topic that the bridge did not write; the message is one line."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. Times in Unix milliseconds."""

    place: Place
    key: SessionKey
    number: Number
    reason: str
    error: str
    event: str
    """The SSE event name; a long one is cut."""
    last_event_id: str
    received_ms: int
    written_ms: int
    """Kafka's timestamp of this record."""
    size: int
    """Size of the full data, in bytes."""
    sha256: str
    data: bytes
    """The data that was kept, perhaps only its beginning."""

    @property
    def missing_part(self) -> str | None:
        """Why this is not the whole event; None if it is."""
        if len(self.data) < self.size:
            return f"only {len(self.data)} of its {self.size} bytes were kept"
        if len(self.event.encode()) > TEXT_BYTES - 4:  # a header is cut between characters
            return "its event type was too long to keep"
        if hashlib.sha256(self.data).hexdigest() != self.sha256:
            return "its data was changed after it was written (the SHA-256 differs)"
        return None

    def without_data(self) -> DeadLetter:
        """A copy without the data, for long lists."""
        return replace(self, data=b"")


def dead_letter_of(
    place: Place,
    written_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
) -> DeadLetter:
    """Read a record of the dead-letters topic; ``written_ms`` is Kafka's timestamp. Raises `NotADeadLetter`."""
    texts = {name: (text or b"").decode("utf-8", "replace") for name, text in headers}
    try:
        letter = DeadLetter(
            place=place,
            key=SessionKey(texts["bridge.server"], texts["bridge.session"]),
            number=Number(_whole(texts["bridge.epoch"]), _whole(texts["bridge.sequence"])),
            reason=texts["bridge.reason"],
            error=texts.get("bridge.error", ""),
            event=texts["bridge.event"],
            last_event_id=texts["bridge.last_event_id"],
            received_ms=parse_rfc3339(texts["bridge.received_at"]),
            written_ms=written_ms,
            size=_whole(texts["bridge.bytes"]),
            sha256=texts["bridge.sha256"],
            data=value or b"",
        )
    except KeyError as missing:
        raise NotADeadLetter(f"it has no header {missing.args[0]}") from missing
    except ValueError as error:
        raise NotADeadLetter(str(error)) from error
    if letter.key.record_key != key:
        raise NotADeadLetter("its key is not the session that its headers name")
    return letter


def _whole(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise ValueError("a header that must be a number is not one")
    return int(text)


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Selects the dead letters that meet every given condition."""

    sessions: tuple[str, ...] = ()
    """``server/id``, or patterns (`fnmatch`) for it; one of them must match."""
    reason: str | None = None
    event: str | None = None
    """An event type, or a pattern."""
    since_ms: int | None = None
    places: frozenset[Place] = frozenset()
    numbers: frozenset[Number] = frozenset()

    def matches(self, letter: DeadLetter) -> bool:
        """Whether this dead letter meets every condition."""
        is_named = self.places or self.numbers
        return (
            (not is_named or letter.place in self.places or letter.number in self.numbers)
            and (not self.sessions or any(_matches(str(letter.key), each) for each in self.sessions))
            and self.reason in (None, letter.reason)
            and _matches(letter.event, self.event)
            and (self.since_ms is None or letter.received_ms >= self.since_ms)
        )


def _matches(text: str, pattern: str | None) -> bool:
    return pattern is None or text == pattern or fnmatchcase(text, pattern)


def parse_reference(text: str) -> Place | Number:
    """Parse ``<partition>:<offset>`` or ``<epoch>:<sequence>``: an epoch has 10 digits. Raises ValueError."""
    if (number := _NUMBER.fullmatch(text)) is not None:
        return Number(int(number[1]), int(number[2]))
    if (place := _PLACE.fullmatch(text)) is not None:
        return Place(int(place[1]), int(place[2]))
    raise ValueError("is neither an address (<partition>:<offset>) nor an id (<epoch>:<sequence>)")


class Kind(NamedTuple):
    """Dead letters with the same session, reason and event type form a group."""

    key: SessionKey
    reason: str
    event: str


@dataclass(slots=True)
class Group:
    """The dead letters of one kind. Times are those of receipt, in Unix milliseconds."""

    count: int = 0
    size: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def add(self, letter: DeadLetter) -> None:
        """Count one more dead letter."""
        at = letter.received_ms
        self.first_ms = min(self.first_ms, at) if self.count else at
        self.last_ms = max(self.last_ms, at)
        self.count += 1
        self.size += letter.size


def grouped(letters: Iterable[DeadLetter]) -> Mapping[Kind, Group]:
    """The groups, sorted by session, reason and event type."""
    groups: dict[Kind, Group] = {}
    for letter in letters:
        groups.setdefault(Kind(letter.key, letter.reason, letter.event), Group()).add(letter)
    return dict(sorted(groups.items()))
