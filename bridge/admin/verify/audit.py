"""Reads everything that ``mix-bridge verify`` judges: statements first, then events and dead letters to fixed ends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bridge.admin.verify.accounts import Layout, Ledger, Place
from bridge.admin.verify.record_numbers import checkpoint_of, lifecycle_of, numbers_of
from bridge.clock import unix_ms
from bridge.errors import SettingsError
from bridge.kafka.config import client_config
from bridge.kafka.reader import StoredRecord
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topic_reader import OffsetRange, offset_ranges, read
from bridge.kafka.topics import plan
from bridge.settings import Settings

Progress = Callable[[str, int, int], None]
"""(what is read, offsets passed, offsets in all)."""


@dataclass(frozen=True, slots=True)
class TopicRead:
    """One topic as it was read."""

    name: str
    role: str
    """``events``, ``dead_letters``, ``checkpoints`` or ``lifecycle``."""
    partitions: int
    """0: it does not exist, or may not be seen."""
    records: int
    foreign: int
    is_cut: bool
    """Whether older records of it are gone, or were left out."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was read."""

    ledger: Ledger
    topics: tuple[TopicRead, ...]


def audit(settings: Settings, only: frozenset[bytes] | None, since_ms: int | None, progress: Progress) -> Audit:
    """Read all topics of the settings. Raises ``SettingsError``, ``Unreachable``, ``FatalFault``.

    ``since_ms`` leaves older events, dead letters and gaps aside, but no statement.
    """
    reading = _Reading(settings, Ledger(only), progress)
    reading.read_statements(since_ms or 0)
    reading.read_events(since_ms)
    return Audit(reading.ledger, tuple(reading.topics()))


class _Reading:
    """Thread rule: one thread."""

    def __init__(self, settings: Settings, ledger: Ledger, progress: Progress) -> None:
        if not settings.kafka.bootstrap_servers:
            raise SettingsError.of("kafka.bootstrap_servers", "is empty; allowed: host:port, more after commas")
        topics = settings.topics
        self.ledger = ledger
        self._settings = settings
        self._progress = progress
        self._config = client_config(settings.kafka, "mix-bridge-verify")
        self._roles = {topics.events: "events"}
        self._roles |= {route.topic: "events" for route in topics.routes}
        self._roles |= {topics.dead_letters: "dead_letters"}
        self._roles |= {topics.checkpoints: "checkpoints", topics.lifecycle: "lifecycle"}
        self._offset_ranges: dict[str, list[OffsetRange]] = {topic: [] for topic in self._roles}
        self._records: Counter[str] = Counter()

    def topics(self) -> list[TopicRead]:
        """Each as it was read."""
        return [
            TopicRead(
                name,
                role,
                len(self._offset_ranges[name]),
                self._records[name],
                self.ledger.foreign[name],
                any(each.is_cut for each in self._offset_ranges[name]) and role != "checkpoints",
            )
            for name, role in self._roles.items()
        ]

    def read_statements(self, told_from_ms: int) -> None:
        """Checkpoints and lifecycle, to ends that are fixed before those of the events."""
        topics = self._settings.topics
        for batch in self._all("positions", self._fix([topics.checkpoints, topics.lifecycle])):
            for record in batch:
                if record.topic == topics.lifecycle:
                    is_told = record.timestamp_ms >= told_from_ms
                    self.ledger.happened(record.topic, record.key, lifecycle_of(record.value), is_told=is_told)
                    continue
                stated = None if record.value is None else checkpoint_of(record.value)
                self.ledger.checkpoint(record.topic, record.key, stated, tombstone=record.value is None)

    def read_events(self, since_ms: int | None) -> None:
        """Events and dead letters."""
        data = [topic for topic, role in self._roles.items() if role in {"events", "dead_letters"}]
        fixed = self._fix(data, since_ms)
        if not any(self._offset_ranges.values()):
            raise SettingsError.of(
                "namespace",
                f"none of the topics exists, or may be seen ({', '.join(self._roles)}): name the namespace, or the"
                " topics, that the daemon was run with",
            )
        counts = {topic: len(self._offset_ranges[topic]) for topic in data if self._offset_ranges[topic]}
        self.ledger.lay_out(Layout(counts, self._horizons(fixed, since_ms)))
        places = {(each.topic, each.partition): Place(each.topic, each.partition) for each in fixed}
        take = self.ledger.take
        for batch in self._all("events", fixed):
            for topic, partition, _, key, value, headers, timestamp_ms in batch:
                take(places[topic, partition], key, timestamp_ms, numbers_of(value, headers))

    def _fix(self, topics: Sequence[str], since_ms: int | None = None) -> list[OffsetRange]:
        fixed = offset_ranges(self._config, topics, since_ms)
        for each in fixed:
            self._offset_ranges[each.topic].append(each)
        return fixed

    def _all(self, what: str, fixed: Sequence[OffsetRange]) -> Iterator[list[StoredRecord]]:
        total = sum(each.end - each.start for each in fixed)
        self._progress(what, 0, total)
        for batch in read(self._config, fixed, progress=lambda _, passed: self._progress(what, passed, total)):
            self._records.update(record.topic for record in batch)
            yield batch
        self._progress(what, total, total)

    def _horizons(self, fixed: Sequence[OffsetRange], since_ms: int | None) -> dict[Place, float]:
        """For each place without its beginning the time behind which all is there: that of its first record."""
        cut = {Place(each.topic, each.partition): each for each in fixed if each.is_cut}
        horizons: dict[Place, float] = {
            Place(record.topic, record.partition): record.timestamp_ms
            for batch in read(self._config, list(cut.values()), heads_only=True)
            for record in batch
        }
        emptied = self._horizons_of_emptied({place.topic for place in cut if cut[place].is_emptied})
        young = math.inf if since_ms is None else since_ms  # where a time leaves nothing, nothing is younger than it
        return {place: emptied[place.topic] if cut[place].is_emptied else young for place in cut} | horizons

    def _horizons_of_emptied(self, topics: AbstractSet[str]) -> dict[str, float]:
        """The same for places that Kafka has removed all records from.

        One of the events topic may have had anything. An idle one of the others is not to explain every loss: time
        alone has removed what is older than the topic's retention.
        """
        others = [each for each in plan(self._settings) if each.name in topics - {self._settings.topics.events}]
        found = TopicAdmin(self._config).existing(others) if others else {}
        ages = {name: int((topic.config or {}).get("retention.ms", "-1")) for name, topic in found.items()}
        kept = {name: float(unix_ms() - age) for name, age in ages.items() if age >= 0}
        return dict.fromkeys(topics, math.inf) | kept
