"""Encodes an event as an event record or a dead letter, or skips it. Pure: the same event gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getsizeof
from typing import NamedTuple

from bridge.clock import rfc3339
from bridge.core.identity import LONGEST_ID, UNSENDABLE_ID, SessionKey
from bridge.core.records.formats import TRACE_HEADER, TRACED_WRITERS, WRITERS, Described, Names, traceparent
from bridge.core.records.json_text import json_violation
from bridge.core.records.record import (
    MARKER_BYTES,
    RECORD_OVERHEAD,
    TEXT_BYTES,
    Encoded,
    Reason,
    Record,
    counts_of,
    epoch_text,
    event_headers,
    failure_headers,
    prefix,
)
from bridge.core.records.rules import Policy, Rules, Validator
from bridge.core.records.topics import MAX_HEADER_BYTES, SizeLimits, batch_bytes
from bridge.core.stream.event import Event

_REMEMBERED_NAMES = 256  # Mix has 16; a server with a new name for each event must not fill the memory
_REMEMBERED_LENGTH = 256
_SKIPPED_OVERHEAD = 256
"""Bytes added to the text of a skipped event."""
_EMPTY_TEXT = getsizeof("")
"""`getsizeof` takes twice as long as to add the length of an ASCII text to this."""
_SHORT = 64
"""Characters up to which an id and a name are part of the overhead."""


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
    safe_bytes: int
    """Bytes of a value that is surely small enough with any headers."""
    name_bytes: int
    """Of a long name; a short one is part of the overhead."""


_record = tuple.__new__  # a NamedTuple's own constructor costs twice as much, and this runs for every event
_TOO_LARGE = "larger than events.max_bytes ({} bytes)"
_TOO_LARGE_FOR_TOPIC = "larger than topic {} accepts (max.message.bytes={})"


class Encoder:
    """Turns one session's events into records. Any thread may call it."""

    def __init__(self, rules: Rules, key: SessionKey) -> None:
        self._rules = rules
        self._key = key
        self._record_key = key.record_key
        self._write = (TRACED_WRITERS if rules.traceparent else WRITERS)[rules.format]
        self._max_bytes = rules.max_bytes
        self.limits = SizeLimits()
        self._version = self.limits.version
        self._kinds: dict[str, _Kind] = {}

    def follow(self, limits: SizeLimits) -> None:
        """Follow the topics' size limits, also when they change."""
        self.limits = limits
        self._version = -1

    @property
    def batch_size(self) -> int:
        """Bytes of a batch that every topic accepts."""
        return self.limits.batch_size

    @property
    def binding_limits(self) -> dict[str, int]:
        """Those limits of topics that may decide between an event record and a dead letter."""
        return self._rules.binding(self.limits)

    @property
    def dead_letters_topic(self) -> str:
        """Where dead letters go."""
        return self._rules.dead_letters_topic

    def encode(self, event: Event, epoch: int, sequence: int) -> Record | None:
        """Return the record of this event under this number; None for a skipped event, which has no number."""
        encoded = self.encode_batch((event,), epoch, sequence - 1, "")
        return encoded.records[0] if encoded.records else None

    def encode_batch(  # noqa: C901 - the hottest loop: a call for each event would cost a tenth of it
        self, events: Sequence[Event], epoch: int, sequence: int, last_event_id: str, most_bytes: int = 2**62
    ) -> Encoded:
        """The records of these events, or of the first ones up to ``most_bytes``, numbered behind ``sequence``."""
        if self._version != self.limits.version:
            self._version = self.limits.version
            self._kinds = {}
        kinds, write, key, epoch_digits = self._kinds, self._write, self._record_key, epoch_text(epoch)
        time, received_ms = "", -1
        records: list[Record] = []
        skipped: set[int] = set()
        dead_letters: list[str] = []
        size = length = 0
        for event in events:
            name, data, own_id, _, at_ms, oversize = event
            length += 1
            size += _EMPTY_TEXT + len(data) if data.isascii() else getsizeof(data)
            is_short = own_id is None or len(own_id) <= _SHORT
            if own_id is not None:
                last_event_id = own_id if is_short or len(own_id) <= LONGEST_ID else UNSENDABLE_ID
            if not is_short:
                size += getsizeof(own_id)
            # Unpacked at once: each attribute of a NamedTuple costs as much.
            check, _, topic, names, safe_bytes, name_bytes = kind = kinds.get(name) or self._learn(name)
            record: Record | None = None
            if check is not None:
                violation = check(data)
                if violation is None and oversize is None and is_short and not name_bytes:
                    if at_ms != received_ms:  # all events of a read have the same
                        received_ms, time = at_ms, rfc3339(at_ms)
                    value, headers = write(names, event, epoch_digits, sequence + 1, time, True)  # noqa: FBT003
                    record = _record(Record, (topic, key, value, headers, at_ms, None))
                    if len(value) > safe_bytes:
                        record = self._checked(record, event, epoch, sequence + 1)
                else:
                    record = self._encode_unusual(event, kind, violation, epoch, sequence + 1)
            if record is None:
                skipped.add(length - 1)
                size += _SKIPPED_OVERHEAD
                continue
            sequence += 1
            records.append(record)
            size += len(record[2]) + RECORD_OVERHEAD + name_bytes
            if record[5] is not None:
                dead_letters.append(record[5])
            if size >= most_bytes:
                break
        places = [place for place in range(length) if place not in skipped] if skipped else None
        return Encoded(records, places, length, last_event_id, size, counts_of(records), dead_letters)

    def _encode_unusual(
        self, event: Event, kind: _Kind, violation: Violation | None, epoch: int, sequence: int
    ) -> Record | None:
        own_id = event.id
        if event.oversize is not None or len(event.name) > TEXT_BYTES or len(own_id or "") > TEXT_BYTES:
            return self._too_large(event, epoch, sequence, _TOO_LARGE.format(self._max_bytes))
        if violation is not None and kind.invalid != "publish":
            if kind.invalid == "skip":
                return None
            if len(event.data.encode()) > self._max_bytes:
                return self._too_large(event, epoch, sequence, _TOO_LARGE.format(self._max_bytes))
            return self._failed(event, epoch, sequence, violation)
        is_json = violation is None or violation.reason != "invalid_json"
        time = rfc3339(event.received_ms)
        value, headers = self._write(kind.names, event, epoch_text(epoch), sequence, time, is_json)
        record = Record(kind.topic, self._record_key, value, headers, event.received_ms, None)
        return self._checked(record, event, epoch, sequence)

    def _checked(self, record: Record, event: Event, epoch: int, sequence: int) -> Record:
        """The record, or its dead letter if it is too large for the settings or for its topic."""
        if len(record.value) > self._max_bytes:
            return self._too_large(event, epoch, sequence, _TOO_LARGE.format(self._max_bytes))
        limit = self.limits.of(record.topic)
        if batch_bytes(record.key, record.value, record.headers) > limit:
            return self._too_large(event, epoch, sequence, _TOO_LARGE_FOR_TOPIC.format(record.topic, limit))
        return record

    def rejected(self, event: Event, epoch: int, sequence: int, error: str) -> Record:
        """The dead letter of a record that Kafka refused."""
        return self._failed(event, epoch, sequence, Violation("rejected", error))

    def _too_large(self, event: Event, epoch: int, sequence: int, error: str) -> Record:
        return self._failed(event, epoch, sequence, Violation("oversize", error))

    def _failed(self, event: Event, epoch: int, sequence: int, violation: Violation) -> Record:
        """A dead letter: with all of the data if it is there and the topic accepts it, else with its beginning."""
        data = event.data.encode()
        headers = failure_headers(violation.reason, violation.error)
        headers += event_headers(self._key, event, data, epoch, sequence)
        if self._rules.traceparent:
            headers.append((TRACE_HEADER, traceparent(self._key, epoch_text(epoch), sequence).encode()))
        topic, key = self._rules.dead_letters_topic, self._record_key
        excess = batch_bytes(key, data, headers) - self.limits.of(topic)
        if event.oversize is not None or excess > 0:
            data = prefix(data, min(MARKER_BYTES, max(0, len(data) - excess)))
        return Record(topic, key, data, headers, event.received_ms, violation.reason)

    def _learn(self, name: str) -> _Kind:
        check, invalid = _check_of(self._rules, name)
        topic = self._rules.topic_of(name, self._key.server)
        safe_bytes = min(self._max_bytes, self.limits.of(topic) * 100 // 101 - MAX_HEADER_BYTES)
        name_bytes = getsizeof(name) if len(name) > _SHORT else 0
        described = Described(self._rules.dataschema_of(name), self._rules.schema_ids.get(name, b""))
        names = Names(self._key, name, self._rules.type_prefix, described)
        kind = _Kind(check, invalid, topic, names, safe_bytes, name_bytes)
        if len(name) <= _REMEMBERED_LENGTH:
            if len(self._kinds) >= _REMEMBERED_NAMES:
                self._kinds.clear()
            self._kinds[name] = kind
        return kind


def _check_of(rules: Rules, name: str) -> tuple[Callable[[str], Violation | None] | None, Policy]:
    """How events of this name are checked (None: skipped), and what happens to invalid ones."""
    if not name or name in rules.connection_events or name in rules.skip:
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
