"""Sending dead letters again: each one at most once, whatever happened to the runs before this one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bridge.admin.dead_letters.rules import Stays, as_record
from bridge.admin.dead_letters.topic import DeadLetters, Identity, replayed_before
from bridge.clock import unix_ms
from bridge.core.records.dead_letter import DeadLetter
from bridge.core.records.rules import Record, Rules
from bridge.errors import BridgeError
from bridge.kafka.record_sender import Outcome, Outgoing


class Sending(Protocol):
    """What a replay sends through: see :class:`bridge.kafka.record_sender.Sender`."""

    def send(self, record: Outgoing, outcome: Outcome) -> None:
        """Send one record; its outcome is told later."""

    def settle(self) -> None:
        """Wait for all outcomes."""


@dataclass(slots=True)
class Report:
    """What became of the dead letters that were asked for."""

    sent: Counter[str] = field(default_factory=Counter)
    """Acknowledged by Kafka, by topic; of a dry run: what would be sent."""
    before: int = 0
    """Replayed by an earlier run."""
    repeats: int = 0
    """Dead letters that lie in their topic twice, with the same number: sent once."""
    stays: list[tuple[DeadLetter, Stays]] = field(default_factory=list)
    """What could not be sent, without its data, and why."""
    trouble: BridgeError | None = None
    """What ended the run before its end."""

    @property
    def is_good(self) -> bool:
        """Whether everything that was asked for is in the events topics now."""
        return not self.stays and self.trouble is None

    def stay(self, letter: DeadLetter, stays: Stays) -> None:
        """Count one that stays where it is."""
        self.stays.append((letter.without_data(), stays))


@dataclass(frozen=True, slots=True)
class Ground:
    """What a replay goes by: the rules of each server, the topics of events that exist, and all that could."""

    rules: Mapping[str, Rules]
    topics: frozenset[str]

    def record_of(self, letter: DeadLetter) -> Record | Stays:
        """The record that a letter becomes."""
        record = as_record(letter, self.rules)
        if isinstance(record, Record) and record.topic not in self.topics:
            return Stays(f"there is no topic {record.topic}", "the daemon creates it when it starts")
        return record


def replay(letters: DeadLetters, ground: Ground, sending: Sending | None) -> Report:
    """Send every letter that today's rules let through and that was not sent before; ``sending`` None: a dry run.

    Kafka's own account decides what was sent before, not one kept beside it: a run that was killed in the middle left
    no other. Raises ``Unreachable`` as long as nothing was sent; later trouble is in the report.
    """
    before = _before(letters, sorted(ground.topics))
    report, taken = Report(), set[Identity]()
    try:
        for _, letter in letters:
            identity = _identity(letter)
            if identity in before:
                report.before += 1
            elif identity in taken:
                report.repeats += 1
            elif _sent(letter, ground, sending, report):
                taken.add(identity)
        if sending is not None:
            sending.settle()
    except BridgeError as trouble:
        report.trouble = trouble
    return report


def _identity(letter: DeadLetter) -> Identity:
    return letter.key.record_key, letter.number


def _before(letters: DeadLetters, topics: Sequence[str]) -> set[Identity]:
    """One reading for the numbers alone: the letters themselves may be more than fits into memory."""
    candidates, oldest = set[Identity](), unix_ms()
    for _, letter in letters:
        candidates.add(_identity(letter))
        oldest = min(oldest, letter.received_ms)
    return replayed_before(letters.config, topics, candidates, oldest) if candidates else set()


def _sent(letter: DeadLetter, ground: Ground, sending: Sending | None, report: Report) -> bool:
    record = ground.record_of(letter)
    if isinstance(record, Stays):
        report.stay(letter, record)
        return False
    if sending is None:
        report.sent[record.topic] += 1
        return True
    # A clock that was ahead when the event came must not make Kafka refuse it.
    timestamp_ms = min(record.timestamp_ms, unix_ms())
    outgoing = Outgoing(record.topic, record.key, record.value, record.headers, timestamp_ms)
    sending.send(outgoing, partial(_note, report, letter.without_data(), record.topic))
    return True


def _note(report: Report, letter: DeadLetter, topic: str, refusal: str | None) -> None:
    if refusal is None:
        report.sent[topic] += 1
    else:
        report.stay(letter, Stays(f"Kafka refused it: {refusal}", f"see to the topic {topic}, then replay it again"))
