"""What record an event becomes: an event record, a dead letter, or nothing. Pure: same event, same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from sys import getsizeof
from typing import Literal, NamedTuple, Protocol

from bridge.clock import rfc3339
from bridge.core.identity import LONGEST_ID, UNSENDABLE_ID, SessionKey
from bridge.core.records.formats import WRITERS, Names
from bridge.core.records.headers import (
    MARKER_BYTES,
    TEXT_BYTES,
    Reason,
    epoch_text,
    event_headers,
    failure_headers,
    prefix,
)
from bridge.core.records.json_text import json_violation
from bridge.core.stream.event import Event

Format = Literal["structured", "binary", "raw"]
Policy = Literal["publish", "dead_letter", "skip"]

CONNECTION_EVENTS = frozenset({"connected", "heartbeat"})
"""Events about the connection, not the session: never numbered, never move the cursor."""

_REMEMBERED_NAMES = 256  # Mix has 16; a server with a new name for each event must not fill the memory
_REMEMBERED_LENGTH = 256


class Record(NamedTuple):
    """One record to produce. Records may share a list of headers: nobody changes it."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int
    dead_letter: str | None
    """The reason when the record is a dead letter."""


RECORD_OVERHEAD = 1792
"""Bytes added to each value and its text for the objects around them, here and in the client. Measured with 145,000
values of 410 bytes in flight: 2.4 KB for each."""
_SKIPPED_OVERHEAD = 256
"""Bytes added to the text of a skipped event."""
_SHORT = 64
"""Characters up to which an id and a name are part of the overhead."""


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


def _text_bytes(event: Event) -> int:
    """Bytes of an event's texts; a short id or name is part of the overhead."""
    name, data, own_id, last_event_id, _, _ = event
    size = getsizeof(data)
    if len(last_event_id) > _SHORT or len(name) > _SHORT:
        size += getsizeof(name) + getsizeof(last_event_id)
        if own_id is not None and own_id is not last_event_id:
            size += getsizeof(own_id)
    return size


class Validator(Protocol):
    """Validates an event's data: returns None, or one line about the error without any of the data.

    None promises that the text is JSON, apart from ``NaN`` and ``Infinity``. The result for a text that is not JSON is
    not used.
    """

    def __call__(self, data: str, /) -> str | None:
        """Return the error, or None."""


@dataclass(frozen=True, slots=True)
class Route:
    """Events whose SSE name matches the pattern (of `fnmatch.fnmatchcase`) go to the topic; ``server`` narrows it."""

    match: str
    topic: str
    server: str | None = None

    def takes(self, name: str, server: str) -> bool:
        """Whether the route matches this event of this server."""
        return self.server in (None, server) and fnmatchcase(name, self.match)


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide which record an event becomes.

    ``schema`` None: nothing is validated and every event type is known.
    """

    format: Format
    type_prefix: str
    skip: frozenset[str]
    unknown: Policy
    invalid: Policy
    max_bytes: int
    events_topic: str
    dead_letters_topic: str
    routes: tuple[Route, ...] = ()
    schema: Mapping[str, Validator] | None = field(default=None, repr=False)
    schema_version: str = ""

    def fingerprint(self) -> str:
        """16 hex digits over the settings that decide what is numbered and where it goes; a change starts a new epoch.

        Topics are included: a crash repeats records under their old numbers, and in another partition newer numbers of
        the same epoch may come first, so consumers would drop the repeat. The size limit is included: it decides
        between an event record and a dead letter.
        """
        decisive = {
            "skip": sorted(self.skip - CONNECTION_EVENTS),
            "unknown": self.unknown,
            "invalid": self.invalid,
            "schema": None if self.schema is None else self.schema_version,
            "max_bytes": self.max_bytes,
            "topics": [self.events_topic, self.dead_letters_topic],
            "routes": [[route.match, route.topic, route.server] for route in self.routes],
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def topic_of(self, name: str, server: str) -> str:
        """The topic for events of this SSE name: that of the first route that matches, else the events topic."""
        return next((route.topic for route in self.routes if route.takes(name, server)), self.events_topic)


class Violation(NamedTuple):
    """Why an event breaks the rules: the reason, and one line without payload."""

    reason: Reason
    error: str


class _Kind(NamedTuple):
    """What all events of one name in one session have in common."""

    check: Callable[[str], Violation | None] | None
    """None: these events are skipped."""
    invalid: Policy
    topic: str
    names: Names


_record = tuple.__new__  # a NamedTuple's own constructor costs twice as much, and this runs for every event
_TOO_LARGE = "larger than events.max_bytes ({} bytes)"


class Encoder:
    """Turns one session's events into records. Any thread may call it."""

    def __init__(self, rules: Rules, key: SessionKey) -> None:
        self._rules = rules
        self._key = key
        self._record_key = key.record_key
        self._write = WRITERS[rules.format]
        self._max_bytes = rules.max_bytes
        self._kinds: dict[str, _Kind] = {}

    @property
    def dead_letters_topic(self) -> str:
        """Where dead letters go."""
        return self._rules.dead_letters_topic

    def encode(self, event: Event, epoch: int, sequence: int) -> Record | None:
        """The record of this event under this number; None for a skipped event, which takes no number."""
        return self._encode(event, epoch, epoch_text(epoch), sequence, rfc3339(event.received_ms))

    def _encode(self, event: Event, epoch: int, epoch_digits: str, sequence: int, time: str) -> Record | None:
        name, data, own_id, _, received_ms, oversize = event
        kind = self._kinds.get(name) or self._learn(name)
        if kind.check is None:
            return None
        if oversize is not None or len(name) > TEXT_BYTES or (own_id is not None and len(own_id) > TEXT_BYTES):
            return self._too_large(event, epoch, sequence)
        violation = kind.check(data)
        if violation is not None and kind.invalid != "publish":
            return None if kind.invalid == "skip" else self._dead_letter(event, epoch, sequence, violation)
        is_json = violation is None or violation.reason != "invalid_json"
        value, headers = self._write(kind.names, event, epoch_digits, sequence, time, is_json)
        if len(value) > self._max_bytes:
            return self._too_large(event, epoch, sequence)
        return _record(Record, (kind.topic, self._record_key, value, headers, received_ms, None))

    def encode_batch(
        self, events: Sequence[Event], epoch: int, sequence: int, last_event_id: str, most_bytes: int | None = None
    ) -> Encoded:
        """The records of these events, or of the first ones up to ``most_bytes``, numbered behind ``sequence``."""
        encode, epoch_digits = self._encode, epoch_text(epoch)
        time, received_ms = "", -1
        records: list[Record] = []
        places: list[int] = []
        counts: dict[str, int] = {}
        dead_letters: list[str] = []
        size = length = 0
        for event in events:
            _, _, own_id, _, at_ms, _ = event
            if at_ms != received_ms:  # all events of a read have the same
                received_ms, time = at_ms, rfc3339(at_ms)
            if own_id is not None:
                last_event_id = own_id if len(own_id) <= LONGEST_ID else UNSENDABLE_ID
            record = encode(event, epoch, epoch_digits, sequence + 1, time)
            if record is None:
                size += _SKIPPED_OVERHEAD + _text_bytes(event)
            else:
                sequence += 1
                topic, _, value, _, _, dead_letter = record
                counts[topic] = counts.get(topic, 0) + 1
                records.append(record)
                places.append(length)
                size += len(value) + _text_bytes(event) + RECORD_OVERHEAD
                if dead_letter is not None:
                    dead_letters.append(dead_letter)
            length += 1
            if most_bytes is not None and size >= most_bytes:
                break
        return Encoded(
            records, None if len(records) == length else places, length, last_event_id, size, counts, dead_letters
        )

    def rejected(self, event: Event, epoch: int, sequence: int, error: str, *, cut: bool = False) -> Record:
        """The dead letter of a record that Kafka refused. ``cut``: only its beginning, because of its size."""
        return self._failed(event, epoch, sequence, Violation("rejected", error), cut=cut)

    def _dead_letter(self, event: Event, epoch: int, sequence: int, violation: Violation) -> Record:
        if len(event.data.encode()) > self._max_bytes:
            return self._too_large(event, epoch, sequence)
        return self._failed(event, epoch, sequence, violation, cut=False)

    def _too_large(self, event: Event, epoch: int, sequence: int) -> Record:
        violation = Violation("oversize", _TOO_LARGE.format(self._max_bytes))
        return self._failed(event, epoch, sequence, violation, cut=True)

    def _failed(self, event: Event, epoch: int, sequence: int, violation: Violation, *, cut: bool) -> Record:
        data = event.data.encode()
        headers = failure_headers(violation.reason, violation.error) + event_headers(
            self._key, event, data, epoch, sequence
        )
        value = prefix(data, MARKER_BYTES) if cut or event.oversize is not None else data
        topic = self._rules.dead_letters_topic
        return Record(topic, self._record_key, value, headers, event.received_ms, violation.reason)

    def _learn(self, name: str) -> _Kind:
        check, invalid = _check_of(self._rules, name)
        topic = self._rules.topic_of(name, self._key.server)
        kind = _Kind(check, invalid, topic, Names(self._key, name, self._rules.type_prefix))
        if len(name) <= _REMEMBERED_LENGTH:
            if len(self._kinds) >= _REMEMBERED_NAMES:
                self._kinds.clear()
            self._kinds[name] = kind
        return kind


def _check_of(rules: Rules, name: str) -> tuple[Callable[[str], Violation | None] | None, Policy]:
    """How events of this name are checked (None: skipped), and what happens to invalid ones."""
    if not name or name in CONNECTION_EVENTS or name in rules.skip:
        return None, "skip"
    if rules.schema is None:
        return _check_json, "publish"
    validator = rules.schema.get(name)
    if validator is not None:
        return _check_schema(validator), rules.invalid
    if rules.unknown == "skip":
        return None, "skip"
    return (_check_json if rules.unknown == "publish" else _check_unknown), rules.unknown


def _check_json(data: str) -> Violation | None:
    violation = json_violation(data)
    return None if violation is None else Violation("invalid_json", violation)


def _check_unknown(_data: str) -> Violation | None:
    return Violation("unknown_event", "no schema for this event type")


def _check_schema(validator: Validator) -> Callable[[str], Violation | None]:
    def check(data: str) -> Violation | None:
        error = validator(data)
        if error is None and "NaN" not in data and "Infinity" not in data:
            return None
        return _check_json(data) or (None if error is None else Violation("schema", error))

    return check
