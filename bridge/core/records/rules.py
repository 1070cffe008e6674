"""What record an event becomes: an event record, a dead letter, or nothing. Pure: same event, same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple, Protocol

from bridge.core.identity import SessionKey
from bridge.core.records.formats import WRITERS, Names
from bridge.core.records.headers import MARKER_BYTES, TEXT_BYTES, Reason, event_headers, failure_headers, prefix
from bridge.core.records.json_text import json_flaw
from bridge.core.stream.event import Event

Format = Literal["structured", "binary", "raw"]
Policy = Literal["publish", "dead_letter", "skip"]

CONNECTION_EVENTS = frozenset({"connected", "heartbeat"})
"""Events about the connection, not the session: never numbered, never move the cursor."""

_REMEMBERED_NAMES = 256  # the contract has 16; a server that invents a name for each event must not fill the memory
_REMEMBERED_LENGTH = 256


class Record(NamedTuple):
    """One record to produce. Its headers may be shared with other records: they are not to be changed."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int
    dead_letter: str | None
    """The reason when the record is a dead letter."""


class Validator(Protocol):
    """Says what is wrong with an event's data: None, or one line that holds nothing of the data.

    None promises that the text is JSON but for ``NaN`` and ``Infinity``. What is said of a text that is no JSON is not
    used.
    """

    def __call__(self, data: str, /) -> str | None:
        """Return the complaint, or None."""


@dataclass(frozen=True, slots=True)
class Route:
    """Events whose SSE name matches the pattern (of `fnmatch.fnmatchcase`) go to the topic; ``server`` narrows it."""

    match: str
    topic: str
    server: str | None = None

    def takes(self, name: str, server: str) -> bool:
        """Whether this event of this server goes here."""
        return self.server in (None, server) and fnmatchcase(name, self.match)


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what records events become.

    ``schema`` None: nothing is validated, every event type is known.
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
        """16 hex digits of what decides which events take a number and where they go: another one means a new epoch.

        The topics, because what a crash repeats under its old numbers may then meet newer numbers of the same epoch in
        the partition it now goes to, and a consumer drops it as seen. The size limit, because it decides between an
        event record and a dead letter.
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
        """The topic for events of this SSE name: the first route that takes it, else the events topic."""
        return next((route.topic for route in self.routes if route.takes(name, server)), self.events_topic)


class Violation(NamedTuple):
    """Why an event does not meet the rules: the reason, and one line without payload."""

    reason: Reason
    error: str


class _Kind(NamedTuple):
    """All that is the same for every event of one name in one session, worked out once."""

    judge: Callable[[str], Violation | None] | None
    """None: such events are skipped."""
    on_flaw: Policy
    topic: str
    names: Names


_record = tuple.__new__  # a NamedTuple's own constructor costs twice as much, and this runs for every event
_TOO_LARGE = "larger than events.max_bytes ({} bytes)"


class Encoder:
    """Turns one session's events into records. Used by one thread at a time."""

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
        """The record of this event under this number; None when it is skipped and takes no number."""
        name, data, own_id, _, received_ms, oversize = event
        kind = self._kinds.get(name) or self._learn(name)
        if kind.judge is None:
            return None
        if oversize is not None or len(name) > TEXT_BYTES or (own_id is not None and len(own_id) > TEXT_BYTES):
            return self._too_large(event, epoch, sequence)
        flaw = kind.judge(data)
        if flaw is not None and kind.on_flaw != "publish":
            return None if kind.on_flaw == "skip" else self._dead_letter(event, epoch, sequence, flaw)
        is_json = flaw is None or flaw.reason != "invalid_json"
        value, headers = self._write(kind.names, event, epoch, sequence, is_json)
        if len(value) > self._max_bytes:
            return self._too_large(event, epoch, sequence)
        return _record(Record, (kind.topic, self._record_key, value, headers, received_ms, None))

    def rejected(self, event: Event, epoch: int, sequence: int, error: str, *, cut: bool = False) -> Record:
        """The dead letter of a record that Kafka refused. ``cut``: refused for its size, so send its beginning only."""
        return self._failed(event, epoch, sequence, Violation("rejected", error), cut=cut)

    def _dead_letter(self, event: Event, epoch: int, sequence: int, flaw: Violation) -> Record:
        if len(event.data.encode()) > self._max_bytes:
            return self._too_large(event, epoch, sequence)
        return self._failed(event, epoch, sequence, flaw, cut=False)

    def _too_large(self, event: Event, epoch: int, sequence: int) -> Record:
        flaw = Violation("oversize", _TOO_LARGE.format(self._max_bytes))
        return self._failed(event, epoch, sequence, flaw, cut=True)

    def _failed(self, event: Event, epoch: int, sequence: int, flaw: Violation, *, cut: bool) -> Record:
        data = event.data.encode()
        headers = failure_headers(flaw.reason, flaw.error) + event_headers(self._key, event, data, epoch, sequence)
        value = prefix(data, MARKER_BYTES) if cut or event.oversize is not None else data
        topic = self._rules.dead_letters_topic
        return Record(topic, self._record_key, value, headers, event.received_ms, flaw.reason)

    def _learn(self, name: str) -> _Kind:
        judge, on_flaw = _judgement(self._rules, name)
        topic = self._rules.topic_of(name, self._key.server)
        kind = _Kind(judge, on_flaw, topic, Names(self._key, name, self._rules.type_prefix))
        if len(name) <= _REMEMBERED_LENGTH:
            if len(self._kinds) >= _REMEMBERED_NAMES:
                self._kinds.clear()
            self._kinds[name] = kind
        return kind


def _judgement(rules: Rules, name: str) -> tuple[Callable[[str], Violation | None] | None, Policy]:
    """How events of this name are judged (None: skipped), and what becomes of those that fail."""
    if not name or name in CONNECTION_EVENTS or name in rules.skip:
        return None, "skip"
    if rules.schema is None:
        return _judge_json, "publish"
    validator = rules.schema.get(name)
    if validator is not None:
        return _judge_schema(validator), rules.invalid
    if rules.unknown == "skip":
        return None, "skip"
    return (_judge_json if rules.unknown == "publish" else _judge_unknown), rules.unknown


def _judge_json(data: str) -> Violation | None:
    flaw = json_flaw(data)
    return None if flaw is None else Violation("invalid_json", flaw)


def _judge_unknown(_data: str) -> Violation | None:
    return Violation("unknown_event", "no schema for this event type")


def _judge_schema(validator: Validator) -> Callable[[str], Violation | None]:
    def judge(data: str) -> Violation | None:
        error = validator(data)
        if error is None and "NaN" not in data and "Infinity" not in data:
            return None
        return _judge_json(data) or (None if error is None else Violation("schema", error))

    return judge
