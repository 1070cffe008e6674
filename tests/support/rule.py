"""A consumer for the tests: the library's reader and rule, with the strict form of the numbers asserted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.consumer import Event, Rule, event_of
from tests.support.topics import Read


class Followed(NamedTuple):
    """One record as a consumer reads it, in any format. ``data`` is the server's data, byte for byte."""

    key: str
    epoch: int
    sequence: int
    """The number within the epoch."""
    event: str
    """The SSE event name; with the CloudEvents type's prefix where the format has one."""
    data: bytes
    replayed: bool
    record: Read

    @property
    def number(self) -> tuple[int, int]:
        """Epoch and number, for comparisons in tests."""
        return self.epoch, self.sequence

    @property
    def id(self) -> str:
        """The text of ``sequence``, which the rule compares. It is also the CloudEvents id."""
        return f"{self.epoch:010}:{self.sequence:012}"


@dataclass(slots=True)
class Follower:
    """The state of the rule. It takes the records of each topic-partition in order of offset; one thread."""

    accepted: list[Followed] = field(default_factory=list)
    repeats: list[Followed] = field(default_factory=list)
    replayed: dict[tuple[str, str], Followed] = field(default_factory=dict)
    """By key and id: a record that was replayed twice counts once."""
    _rule: Rule = field(default_factory=Rule)

    def take(self, record: Read) -> Followed | None:
        """Return the record if it is new; None for a repeat or a replayed record, which are kept apart."""
        event = _event(record)
        one = _followed(record, event)
        if one.replayed:
            self.replayed.setdefault((one.key, one.id), one)
            return None
        if not self._rule.accepts(event):
            self.repeats.append(one)
            return None
        self.accepted.append(one)
        return one

    def by_key(self) -> dict[str, list[Followed]]:
        """Return the accepted records per session, in order."""
        found: dict[str, list[Followed]] = defaultdict(list)
        for one in self.accepted:
            found[one.key].append(one)
        return dict(found)


def follow(records: Iterable[Read]) -> Follower:
    """Return a follower that has read all these records."""
    follower = Follower()
    for record in records:
        follower.take(record)
    return follower


def understand(record: Read) -> Followed:
    """Read a record of any of the three formats, or a dead letter, by its headers."""
    return _followed(record, _event(record))


def _event(record: Read) -> Event:
    # Tests look at the prefix of the type.
    return event_of(record[:3], record.key, record.value, record.headers, type_prefix="")


def _followed(record: Read, event: Event) -> Followed:
    _assert_strict(record, event.sequence)
    return Followed(event.key, event.epoch, event.number, event.type, event.data, event.replayed, record)


def _assert_strict(record: Read, sequence: str) -> None:
    """The library also reads the numbers of earlier versions; this version must write its own form only."""
    written = [record.header(name) for name in ("ce_sequence", "bridge.sequence")]
    if written == [None, None]:
        assert f'"sequence":"{sequence}"'.encode() in (record.value or b""), record
        assert f'"epoch":"{sequence[:10]}"'.encode() in (record.value or b""), record
    else:
        assert sequence in written, f"{written}, not {sequence}"
        assert sequence[:10] in {record.header("ce_epoch"), record.header("bridge.epoch")}
        assert record.header("ce_id") in {None, sequence}
