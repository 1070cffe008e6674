"""Replays dead letters: each one at most once, also when earlier runs were killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bridge.admin.dead_letters.rules import Unsendable, as_record
from bridge.admin.dead_letters.topic import DeadLetters, EventId, replayed_before
from bridge.admin.kafka_access import KafkaAccess
from bridge.clock import unix_ms
from bridge.core.records.dead_letter import DeadLetter
from bridge.core.records.record import Record
from bridge.core.records.rules import Rules
from bridge.errors import BridgeError
from bridge.kafka.record_sender import Outcome, Outgoing
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topics import plan
from bridge.mix.rules import rules_of


class Sender(Protocol):
    """Sends records: a :class:`bridge.kafka.record_sender.RecordSender`."""

    def send(self, record: Outgoing, outcome: Outcome) -> None:
        """Send one record; ``outcome`` is called later."""

    def settle(self) -> None:
        """Wait for all outcomes."""


@dataclass(slots=True)
class Report:
    """The result of a replay."""

    sent: Counter[str] = field(default_factory=Counter)
    """Acknowledged records by topic; in a dry run, the records that would be sent."""
    before: int = 0
    """Replayed by an earlier run."""
    repeats: int = 0
    """Second records in the dead-letters topic with the same number: sent once."""
    unsendable: list[tuple[DeadLetter, Unsendable]] = field(default_factory=list)
    """Dead letters that could not be sent, without their data, and why."""
    error: BridgeError | None = None
    """The error that ended the run early."""

    @property
    def is_good(self) -> bool:
        """Whether all selected dead letters are in the events topics now."""
        return not self.unsendable and self.error is None

    def refuse(self, letter: DeadLetter, why: Unsendable) -> None:
        """Count one that could not be sent."""
        self.unsendable.append((letter.without_data(), why))


@dataclass(frozen=True, slots=True)
class Target:
    """Where dead letters are replayed to: the rules of each server, and the existing topics of events."""

    rules: Mapping[str, Rules]
    topics: frozenset[str]
    max_message_bytes: int = 0
    """The smallest limit of these topics."""

    @classmethod
    def of(cls, access: KafkaAccess) -> Target:
        """Describe the topics of the settings. Raises `Unreachable`."""
        settings, topics = access.settings, access.settings.topics
        names = {topics.events, *(route.topic for route in topics.routes)}
        found = TopicAdmin(access.config).existing([each for each in plan(settings) if each.name in names])
        limit = min((each.max_message_bytes for each in found.values()), default=settings.events.max_bytes)
        return cls({name: rules_of(name, settings) for name in settings.servers}, frozenset(found), limit)

    def record_of(self, letter: DeadLetter) -> Record | Unsendable:
        """Return the record that a dead letter becomes."""
        record = as_record(letter, self.rules)
        if isinstance(record, Record) and record.topic not in self.topics:
            return Unsendable(f"there is no topic {record.topic}", "the daemon creates it when it starts")
        return record


def replay(letters: DeadLetters, target: Target, sender: Sender | None) -> Report:
    """Send every dead letter that today's rules accept and that was not sent before; without a sender, a dry run.

    The topics themselves show what was sent before: a run that was killed left no other account of it. Raises
    ``Unreachable`` while nothing was sent; a later error is in the report.
    """
    before = _replayed_before(letters, sorted(target.topics))
    report, accepted = Report(), set[EventId]()
    try:
        for _, letter in letters:
            event_id = _id_of(letter)
            if event_id in before:
                report.before += 1
            elif event_id in accepted:
                report.repeats += 1
            elif _send(letter, target, sender, report):
                accepted.add(event_id)
        if sender is not None:
            sender.settle()
    except BridgeError as error:
        report.error = error
    return report


def _id_of(letter: DeadLetter) -> EventId:
    return letter.key.record_key, letter.number


def _replayed_before(letters: DeadLetters, topics: Sequence[str]) -> set[EventId]:
    """Read the dead letters once only for their numbers: their data may not fit into memory."""
    candidates, oldest = set[EventId](), unix_ms()
    for _, letter in letters:
        candidates.add(_id_of(letter))
        oldest = min(oldest, letter.received_ms)
    return replayed_before(letters.config, topics, candidates, oldest) if candidates else set()


def _send(letter: DeadLetter, target: Target, sender: Sender | None, report: Report) -> bool:
    record = target.record_of(letter)
    if isinstance(record, Unsendable):
        report.refuse(letter, record)
        return False
    if sender is None:
        report.sent[record.topic] += 1
        return True
    # Kafka refuses timestamps in the future: the clock may have been ahead when the event was received.
    timestamp_ms = min(record.timestamp_ms, unix_ms())
    outgoing = Outgoing(record.topic, record.key, record.value, record.headers, timestamp_ms)
    sender.send(outgoing, partial(_note, report, letter.without_data(), record.topic))
    return True


def _note(report: Report, letter: DeadLetter, topic: str, refusal: str | None) -> None:
    if refusal is None:
        report.sent[topic] += 1
    else:
        why = Unsendable(f"Kafka refused it: {refusal}", f"correct the topic {topic}, then replay it again")
        report.refuse(letter, why)
