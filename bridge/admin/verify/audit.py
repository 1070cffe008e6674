"""Reads everything that ``mix-bridge verify`` judges: first the statements, then events and dead letters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.admin.kafka_access import KafkaAccess, Progress
from bridge.admin.verify.accounts import Ledger, Place
from bridge.clock import unix_ms
from bridge.core.records import lifecycle
from bridge.core.records.checkpoint import VERSION
from bridge.core.records.numbers import EventSequence, number_of
from bridge.errors import SettingsError, Unreachable
from bridge.kafka.reader import StoredRecord
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topic_reader import OffsetRange, offset_ranges, read
from bridge.kafka.topics import plan


@dataclass(frozen=True, slots=True)
class TopicRead:
    """One topic that was read."""

    name: str
    role: str
    """``events``, ``dead_letters``, ``checkpoints`` or ``lifecycle``."""
    partitions: int
    """0: it does not exist, or is not visible."""
    records: int
    foreign: int
    is_cut: bool
    """Whether older records were removed, or excluded by ``--since``."""
    is_compacted: bool = False
    """Whether Kafka removes records that a newer one of their key follows: for consumers they are lost."""


def audit(access: KafkaAccess, only: frozenset[bytes] | None, since_ms: int | None, progress: Progress) -> Audit:
    """Read all topics; ``since_ms`` excludes no statement. Raises ``SettingsError``, ``Unreachable``, `FatalFault`."""
    reading = Audit(access, Ledger(only), progress)
    reading.read(since_ms)
    return reading


class Audit:
    """The topics and what was read from them. Thread rule: one thread."""

    def __init__(self, access: KafkaAccess, ledger: Ledger, progress: Progress) -> None:
        topics = access.settings.topics
        self.ledger = ledger
        self._settings = access.settings
        self._progress = progress
        self._config = access.config
        self._roles = {topics.events: "events", **{route.topic: "events" for route in topics.routes}}
        self._roles |= {topics.dead_letters: "dead_letters"}
        self._roles |= {topics.checkpoints: "checkpoints", topics.lifecycle: "lifecycle"}
        self._offset_ranges: dict[str, list[OffsetRange]] = {topic: [] for topic in self._roles}
        self._records: Counter[str] = Counter()

    def topics(self, *, is_loss: bool) -> tuple[TopicRead, ...]:
        """Return each topic that was read; after a loss, also whether it is compacted, if Kafka says it."""
        compacted: set[str] = set()
        if is_loss:
            data = [each for each in plan(self._settings) if not each.compacted]
            with suppress(Unreachable):  # the verdict counts more; an embedded Kafka describes no topics
                existing = TopicAdmin(self._config).existing(data)
                compacted = {name for name, topic in existing.items() if topic.is_compacted}
        found = []
        for name, role in self._roles.items():
            ranges, foreign = self._offset_ranges[name], self.ledger.foreign[name]
            is_cut = any(each.is_cut for each in ranges) and role != "checkpoints"
            found.append(TopicRead(name, role, len(ranges), self._records[name], foreign, is_cut, name in compacted))
        return tuple(found)

    def read(self, since_ms: int | None) -> None:
        """Read the statements, whose end offsets are fixed before those of the events, then events and dead letters."""
        topics, ledger = self._settings.topics, self.ledger
        for batch in self._read("positions", self._fix([topics.checkpoints, topics.lifecycle])):
            for record in batch:
                if record.topic == topics.lifecycle:
                    is_reported = record.timestamp_ms >= (since_ms or 0)
                    event = lifecycle.decode(record.value)
                    ledger.add_lifecycle(record.topic, record.key, event, is_reported=is_reported)
                else:
                    stated, is_tombstone = _stated(record.value), record.value is None
                    ledger.add_checkpoint(record.topic, record.key, stated, tombstone=is_tombstone)
        data = [topic for topic, role in self._roles.items() if role in {"events", "dead_letters"}]
        fixed = self._fix(data, since_ms)
        if not any(self._offset_ranges.values()):
            raise SettingsError.of(
                "namespace",
                f"none of the topics exists or is visible ({', '.join(self._roles)}); allowed: the namespace and topics"
                " of the daemon's settings",
            )
        counts = {topic: len(self._offset_ranges[topic]) for topic in data if self._offset_ranges[topic]}
        ledger.set_layout(counts, self._horizons(fixed, since_ms))
        places = {(each.topic, each.partition): Place(each.topic, each.partition) for each in fixed}
        for batch in self._read("events", fixed):
            for topic, partition, _, key, value, headers, timestamp_ms in batch:
                ledger.add(places[topic, partition], key, timestamp_ms, number_of(value, headers))

    def _fix(self, topics: Sequence[str], since_ms: int | None = None) -> list[OffsetRange]:
        fixed = offset_ranges(self._config, topics, since_ms)
        for each in fixed:
            self._offset_ranges[each.topic].append(each)
        return fixed

    def _read(self, what: str, fixed: Sequence[OffsetRange]) -> Iterator[list[StoredRecord]]:
        total = sum(each.end - each.start for each in fixed)
        self._progress(what, 0, total)
        for batch in read(self._config, fixed, progress=lambda _, passed: self._progress(what, passed, total)):
            self._records.update(record.topic for record in batch)
            yield batch
        self._progress(what, total, total)

    def _horizons(self, fixed: Sequence[OffsetRange], since_ms: int | None) -> dict[Place, float]:
        """For each place without its beginning: the time of its first record."""
        cut = {Place(each.topic, each.partition): each for each in fixed if each.is_cut}
        horizons: dict[Place, float] = {
            Place(record.topic, record.partition): record.timestamp_ms
            for batch in read(self._config, list(cut.values()), heads_only=True)
            for record in batch
        }
        emptied = self._horizons_of_emptied({place.topic for place in cut if cut[place].is_emptied})
        excluded = math.inf if since_ms is None else since_ms  # `--since` excluded everything: all of it is older
        return {place: emptied[place.topic] if cut[place].is_emptied else excluded for place in cut} | horizons

    def _horizons_of_emptied(self, topics: AbstractSet[str]) -> dict[str, float]:
        """The horizons of places from which Kafka has removed all records.

        A place of the events topic may have contained anything. An idle place of another topic must not explain every
        loss: only records older than the topic's retention can have been removed from it.
        """
        others = [each for each in plan(self._settings) if each.name in topics - {self._settings.topics.events}]
        found = TopicAdmin(self._config).existing(others) if others else {}
        ages = {name: int((topic.config or {}).get("retention.ms", "-1")) for name, topic in found.items()}
        kept = {name: float(unix_ms() - age) for name, age in ages.items() if age >= 0}
        return dict.fromkeys(topics, math.inf) | kept


class _Statement(BaseModel):
    """The members of a checkpoint that count here. Decoding all of it would take five times as long."""

    model_config = ConfigDict(extra="ignore", strict=True)

    version: Annotated[int, Field(ge=1, le=VERSION)]
    epoch: Annotated[int, Field(ge=0, lt=10**10)]
    sequence: Annotated[int, Field(ge=0, lt=10**12)]


def _stated(value: bytes | None) -> EventSequence | None:
    try:
        found = _Statement.model_validate_json(value or b"")
    except ValidationError:
        return None
    return EventSequence(found.epoch, found.sequence)
