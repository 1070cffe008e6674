"""The records that one batch of events becomes, their numbers, and the ``bridge.*`` headers: where each came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from bridge.clock import rfc3339
from bridge.core.identity import LONGEST_ID, UNSENDABLE_ID, SessionKey
from bridge.core.stream.event import Event
from bridge.core.terminal_text import one_line

RECORD_OVERHEAD = 1792
"""Bytes added to each value and its text for the objects around them, here and in the client. Measured with 145,000
values of 410 bytes in flight: 2.4 KB for each."""
Reason = Literal["invalid_json", "schema", "unknown_event", "oversize", "rejected"]
Headers = list[tuple[str, bytes]]
MARKER_BYTES = 64 * 1024
"""Bytes of oversize data that a dead letter keeps."""
TEXT_BYTES = 8 * 1024
"""Longest event name or id in a header. HTTP servers refuse longer header lines, so a request could not carry such an
id, and headers count towards the broker's limit on a record."""
RECORD_VERSION = 2
"""Version of the form of the numbers in records. Version 1 wrote ``sequence`` without the epoch."""


class Record(NamedTuple):
    """One record to produce. Records may share a list of headers: no code changes it."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int
    dead_letter: str | None
    """The reason when the record is a dead letter."""


class Encoded(NamedTuple):
    """The records of one batch of events, in their order."""

    records: Sequence[Record]
    places: Sequence[int] | None
    """Which event each record was made of; None when each event has one."""
    length: int
    """Events, skipped ones included."""
    last_event_id: str
    """The stream's last event id after the batch."""
    size: int
    """Bytes that the batch keeps alive: values, texts, ids and names."""
    counts: dict[str, int]
    """Records by topic."""
    dead_letters: Sequence[str] = ()
    """The reasons of the dead letters among them."""


def cursor_after(last_event_id: str, events: Iterable[Event]) -> str:
    """The stream's last event id after these events; an id too long to be kept counts as one that cannot be sent."""
    for event in events:
        if event.id is not None:
            last_event_id = event.id if len(event.id) <= LONGEST_ID else UNSENDABLE_ID
    return last_event_id


def counts_of(records: Iterable[Record]) -> dict[str, int]:
    """Records by topic."""
    counts: dict[str, int] = {}
    topic, count = "", 0
    for record in records:
        if record[0] is not topic:  # usually all are for one topic
            counts[topic] = counts.get(topic, 0) + count
            topic, count = record[0], 0
        count += 1
    counts[topic] = counts.get(topic, 0) + count
    counts.pop("", None)
    return counts


def epoch_text(epoch: int) -> str:
    """10 digits, so that strings compare as numbers: enough until the year 2286."""
    return f"{epoch:010}"


def sequence_text(epoch: str, number: int) -> str:
    """``<epoch>:<number>``, so that strings compare in the order of the events, across epochs.

    12 digits for the number: at 10,000 events a second enough for three years of one epoch.
    """
    return f"{epoch}:{number:012}"


def failure_headers(reason: Reason, error: str) -> Headers:
    """Why a record is a dead letter; the error becomes one short line."""
    return [("bridge.reason", reason.encode()), ("bridge.error", one_line(error).encode())]


def event_headers(key: SessionKey, event: Event, data: bytes, epoch: int, sequence: int) -> Headers:
    """Where an event came from. ``data``: the event's data as bytes, whole unless the event is oversize."""
    if event.oversize is None:
        size, digest = len(data), hashlib.sha256(data).hexdigest()
    else:
        size, digest = event.oversize
    epoch_digits = epoch_text(epoch)
    return [
        ("bridge.server", key.server.encode()),
        ("bridge.session", key.session_id.encode()),
        ("bridge.event", _header(event.name)),
        ("bridge.last_event_id", _header(event.last_event_id)),
        ("bridge.epoch", epoch_digits.encode()),
        ("bridge.sequence", sequence_text(epoch_digits, sequence).encode()),
        ("bridge.received_at", rfc3339(event.received_ms).encode()),
        ("bridge.bytes", str(size).encode()),
        ("bridge.sha256", digest.encode()),
    ]


def prefix(text: bytes, limit: int) -> bytes:
    """The beginning of UTF-8 text, at most so many bytes, without half a character at its end."""
    return text if len(text) <= limit else text[:limit].decode("utf-8", "ignore").encode()


def _header(text: str) -> bytes:
    return prefix(text.encode(), TEXT_BYTES)
