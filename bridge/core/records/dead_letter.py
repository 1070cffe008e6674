"""Dead letters read from their topic: the session, the reason, the data, and whether it is complete. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bridge.clock import parse_rfc3339
from bridge.core.identity import SessionKey
from bridge.core.records.numbers import EventSequence, digits, number_in
from bridge.core.records.record import TEXT_BYTES


class Place(NamedTuple):
    """The address of a record in its topic, ``<partition>:<offset>``."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class NotADeadLetter(ValueError):
    """A record of the dead-letters topic that the bridge did not write; the message is one line."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. Times in Unix milliseconds."""

    place: Place
    key: SessionKey
    number: EventSequence
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
            number=_number(texts["bridge.epoch"], texts["bridge.sequence"]),
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


def _number(epoch: str, sequence: str) -> EventSequence:
    number = number_in(epoch, sequence)
    if number is None:
        raise ValueError("bridge.epoch and bridge.sequence are not the number of an event")
    return number


def _whole(text: str) -> int:
    number = digits(text)
    if number is None:
        raise ValueError("a header that must be a number is not one")
    return number
