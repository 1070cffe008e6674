"""A consumer that follows the rule of docs/guarantees.md, written without the bridge's own code.

The rule: keep the highest ``sequence`` per key and topic-partition, and drop a record that is not above it. Records
marked ``replayed`` are deduplicated by their id instead.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.support.topics import Read

_DECODER = json.JSONDecoder()
_BLANKS = " \t\r\n"
_STRUCTURED = "application/cloudevents+json"


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
    _highest: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def take(self, record: Read) -> Followed | None:
        """Return the record if it is new; None for a repeat or a replayed record, which are kept apart."""
        one = understand(record)
        if one.replayed:
            self.replayed.setdefault((one.key, one.id), one)
            return None
        place = (one.key, record.topic, record.partition)
        if one.id <= self._highest.get(place, ""):
            self.repeats.append(one)
            return None
        self._highest[place] = one.id
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
    assert record.key is not None, f"a record without a key: {record}"
    assert record.value is not None, f"a record without a value: {record}"
    if (record.header("content-type") or "").startswith(_STRUCTURED):
        return _structured(record, record.value)
    prefix = "ce_" if record.header("ce_specversion") else "bridge."
    attributes = {name: record.header(prefix + name) for name in ("epoch", "sequence", "replayed")}
    attributes["id"] = record.header("ce_id") or attributes["sequence"]
    attributes["type"] = record.header("ce_type" if prefix == "ce_" else "bridge.event")
    return _followed(record, attributes, record.value)


def _structured(record: Read, value: bytes) -> Followed:
    members = dict(members_of(value.decode()))
    attributes = {name: json.loads(text) for name, text in members.items() if name != "data"}
    data = members["data"]
    if attributes["datacontenttype"] != "application/json":
        data = json.loads(data)  # the envelope holds text that is not JSON as a JSON string
    return _followed(record, attributes, data.encode())


def _followed(record: Read, attributes: Mapping[str, Any], data: bytes) -> Followed:
    epoch, sequence = attributes["epoch"], attributes["sequence"]
    assert record.key is not None
    assert re.fullmatch("[0-9]{10}", epoch), f"epoch {epoch!r} is not 10 digits"
    assert re.fullmatch(f"{epoch}:[0-9]{{12}}", sequence), f"sequence {sequence!r} is not {epoch}: and 12 digits"
    assert attributes.get("id", sequence).startswith(sequence), f"id {attributes['id']!r} with sequence {sequence!r}"
    return Followed(
        key=record.key.decode(),
        epoch=int(epoch),
        sequence=int(sequence.removeprefix(f"{epoch}:")),
        event=str(attributes["type"]),
        data=data,
        replayed=attributes.get("replayed") in {"true", True},
        record=record,
    )


def members_of(envelope: str) -> Iterator[tuple[str, str]]:
    """Yield the members of a JSON object, each value as its exact text with the blanks around it.

    Parsing the data and writing it again would hide changes by the bridge: order, escapes, numbers, blanks.
    """
    at = _past_blanks(envelope, 0)
    assert envelope[at] == "{", "not a JSON object"
    while True:
        name, at = _DECODER.raw_decode(envelope, _past_blanks(envelope, at + 1))
        start = _past_blanks(envelope, at) + 1
        assert envelope[start - 1] == ":", "no colon after a member's name"
        _, end = _DECODER.raw_decode(envelope, _past_blanks(envelope, start))
        at = _past_blanks(envelope, end)
        yield name, envelope[start:at]
        if envelope[at] == "}":
            assert not envelope[at + 1 :].strip(_BLANKS), "something behind the envelope"
            return
        assert envelope[at] == ",", "no comma between members"


def _past_blanks(text: str, at: int) -> int:
    while text[at] in _BLANKS:
        at += 1
    return at
