"""Replays dead letters under today's rules: each one at most once, also when earlier runs were killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.admin.dead_letters.topic import DeadLetters
from bridge.admin.kafka_access import KafkaAccess, read_all
from bridge.clock import unix_ms
from bridge.core.records.dead_letter import DeadLetter
from bridge.core.records.encoder import Encoder
from bridge.core.records.numbers import EventSequence, number_of
from bridge.core.records.record import Record
from bridge.core.records.rules import Rules
from bridge.core.stream.event import Event
from bridge.errors import BridgeError
from bridge.kafka.client import Outgoing
from bridge.kafka.record_sender import RecordSender
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.topic_reader import offset_ranges
from bridge.kafka.topics import plan
from bridge.mix.rules import rules_of

EventId = tuple[bytes, EventSequence]
"""A record's key and number: together they identify an event."""
_CLOCK_DIFFERENCE_MS = 24 * 3600 * 1000
"""The clocks of the bridge, of the replaying machine and of the brokers may differ by this much."""
_MARK = b'{"replayed":true,'


class Unsendable(NamedTuple):
    """Why a dead letter cannot be replayed, and what to do."""

    why: str
    advice: str


@dataclass(slots=True)
class Report:
    """The result of a replay."""

    sent: Counter[str] = field(default_factory=Counter)
    """Acknowledged records by topic; in a dry run, the records that would be sent."""
    before: int = 0
    repeats: int = 0
    """Second records in the dead-letters topic with the same number: sent once."""
    unsendable: list[tuple[DeadLetter, Unsendable]] = field(default_factory=list)
    """Dead letters that could not be sent, without their data, and why."""
    error: BridgeError | None = None

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


def replay(letters: DeadLetters, target: Target, sender: RecordSender | None) -> Report:
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
    """Return the ids of the dead letters that a replay has sent to these topics before.

    The dead letters are read once only for their numbers: their data may not fit into memory. A replayed record has the
    time of its event, so records older than the oldest dead letter need not be read.
    """
    candidates, oldest, found = set[EventId](), unix_ms(), set[EventId]()
    for _, letter in letters:
        candidates.add(_id_of(letter))
        oldest = min(oldest, letter.received_ms)
    since = oldest - _CLOCK_DIFFERENCE_MS
    for batch in read_all(letters.config, offset_ranges(letters.config, topics, since), "events") if candidates else ():
        for record in batch:
            numbered = number_of(record.value, record.headers)
            if numbered is not None and numbered.replayed and record.key is not None:
                event_id = record.key, EventSequence(*numbered[:2])
                found |= {event_id} & candidates
    return found


def _send(letter: DeadLetter, target: Target, sender: RecordSender | None, report: Report) -> bool:
    record = as_record(letter, target.rules)
    if isinstance(record, Record) and record.topic not in target.topics:
        record = Unsendable(f"there is no topic {record.topic}", "the daemon creates it when it starts")
    if isinstance(record, Unsendable):
        report.refuse(letter, record)
        return False
    if sender is None:
        report.sent[record.topic] += 1
        return True
    # Kafka refuses timestamps in the future: the clock may have been ahead when the event was received.
    timestamp_ms = min(record.timestamp_ms, unix_ms())
    topic, without_data = record.topic, letter.without_data()

    def note(refusal: str | None) -> None:
        if refusal is None:
            report.sent[topic] += 1
        else:
            advice = f"correct the topic {topic}, then replay it again"
            report.refuse(without_data, Unsendable(f"Kafka refused it: {refusal}", advice))

    sender.send(Outgoing(topic, record.key, record.value, record.headers, timestamp_ms), note)
    return True


def as_record(letter: DeadLetter, rules: Mapping[str, Rules]) -> Record | Unsendable:
    """Return the record to send, marked ``replayed``, with the letter's key, number and time; ``rules`` by server."""
    if letter.missing_part is not None:
        return Unsendable(letter.missing_part, "it cannot be replayed; the server may still have the event")
    server = letter.key.server
    if server not in rules:
        advice = f"add it: --set servers.{server}.url=URL (only its rules are used; the command does not connect to it)"
        return Unsendable(f"the settings have no server {server!r}", advice)
    try:
        data = letter.data.decode()
    except UnicodeDecodeError:
        return Unsendable("its data is not UTF-8", "the bridge did not write it")
    # The headers do not say whether the id was the event's own. If it is not empty, it nearly always was.
    event = Event(letter.event, data, letter.last_event_id or None, letter.last_event_id, letter.received_ms)
    record = Encoder(rules[server], letter.key).encode(event, letter.number.epoch, letter.number.sequence)
    if record is None:
        return Unsendable("the rules skip it", "see events.skip, events.unknown and events.invalid")
    if record.dead_letter is not None:
        return _refused(record, rules[server], letter.event)
    return marked(record, rules[server])


def _refused(record: Record, rules: Rules, event: str) -> Unsendable:
    error = dict(record.headers)["bridge.error"].decode()
    if record.dead_letter == "oversize":
        advice = "raise events.max_bytes"
    else:
        has_schema = rules.schema is None or event in rules.schema
        advice = f"set events.{'invalid' if has_schema else 'unknown'} = publish to publish it anyway"
    return Unsendable(f"still {record.dead_letter}: {error}", advice)


def marked(record: Record, rules: Rules) -> Record:
    """Return the record marked ``replayed`` in its format; `numbers.number_of` recognises the mark."""
    if rules.format == "structured":
        return record._replace(value=_MARK + record.value[1:])
    mark = "ce_replayed" if rules.format == "binary" else "bridge.replayed"
    return record._replace(headers=[*record.headers, (mark, b"true")])
