"""Reads the number of a record in the topics of events and dead letters, in every format. Pure.

Earlier versions wrote ``sequence`` without the epoch before it. A topic can hold both forms: all readers accept both.
The writers are :mod:`bridge.core.records.formats` and :mod:`bridge.core.records.record`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bridge.core.records.record import epoch_text, sequence_text

_VERSION = "1.0"
"""Of CloudEvents: what the attributes of another one mean is not known."""
_STRUCTURED = b"application/cloudevents+json"
_OWN_START = b'{"specversion":"1.0","source":"/mix/'
# As `formats.structured` writes them. Inside a JSON string a quote is escaped, so these cannot be part of a value.
_ID = b'","id":"'
_DATA = b',"data":'
_EPOCH_DIGITS, _SEQUENCE_DIGITS = 10, 12
_LARGEST = 10**12


class EventSequence(NamedTuple):
    """The number of an event within its session; as text its id, ``<epoch>:<number>``."""

    epoch: int
    sequence: int

    def __str__(self) -> str:
        return sequence_text(epoch_text(self.epoch), self.sequence)


class NumberedRecord(NamedTuple):
    """The number of a record, and what kind of record has it."""

    epoch: int
    sequence: int
    replayed: bool
    """Sent by ``dead-letters replay``."""
    dead_letter: bool


def number_of(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> NumberedRecord | None:
    """Return the number of an event record or a dead letter; None for any other record."""
    if value is None:
        return None
    named = dict(headers)
    if (named.get("content-type") or b"").startswith(_STRUCTURED):
        return _of_envelope(value)
    start = "ce_" if "ce_specversion" in named else "bridge."
    if start == "ce_" and named["ce_specversion"] != _VERSION.encode():
        return None
    number = number_in(named.get(f"{start}epoch"), named.get(f"{start}sequence"))
    if number is None or not number.sequence:
        return None
    return NumberedRecord(*number, named.get(f"{start}replayed") == b"true", "bridge.reason" in named)


def _of_envelope(value: bytes) -> NumberedRecord | None:
    """Read the bridge's own envelope without parsing its data, which may be a megabyte of any JSON."""
    if value.startswith(_OWN_START):
        at = value.find(_ID) + len(_ID)
        colon, end = at + _EPOCH_DIGITS, at + _EPOCH_DIGITS + 1 + _SEQUENCE_DIGITS
        data = value.find(_DATA, end)
        epoch, sequence = value[at:colon], value[colon + 1 : end]
        is_complete = value[colon : colon + 1] == b":" and value[end : end + 2] == b'",' and data >= 0
        if is_complete and epoch.isdigit() and sequence.isdigit() and value.find(b'"replayed"', 0, data) < 0:
            return NumberedRecord(int(epoch), int(sequence), False, False) if int(sequence) else None  # noqa: FBT003 - keywords cost half as much again
    return _of_members(_members(value))


def _members(value: bytes) -> Mapping[str, Any]:
    """Return the envelope's members, without the data if it is the last member."""
    for text in (value.partition(_DATA)[0] + b"}", value):
        members = json_object(text)
        if "sequence" in members:
            return members
    return {}


def _of_members(members: Mapping[str, Any]) -> NumberedRecord | None:
    number = number_in(members.get("epoch"), members.get("sequence"))
    if number is None or not number.sequence or members.get("specversion", _VERSION) != _VERSION:
        return None
    return NumberedRecord(*number, members.get("replayed") in (True, "true"), dead_letter=False)


def json_object(value: bytes) -> dict[str, Any]:
    """Return the members of a JSON object; none for any other value."""
    try:
        members = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def number_in(epoch: object, sequence: object) -> EventSequence | None:
    """Parse the attributes ``epoch`` and ``sequence``; None if one is invalid, or if they name different epochs."""
    if isinstance(epoch, bytes) and isinstance(sequence, bytes):
        epoch, sequence = epoch.decode("ascii", "replace"), sequence.decode("ascii", "replace")
    if not (isinstance(epoch, str) and isinstance(sequence, str)):
        return None
    epoch_value, number = digits(epoch), digits(sequence.removeprefix(f"{epoch}:"))
    return None if epoch_value is None or number is None else EventSequence(epoch_value, number)


def digits(text: object) -> int | None:
    """Parse an epoch or a number: up to 13 ASCII digits below 10**12; None for anything else."""
    if not isinstance(text, str | bytes) or not text.isdigit() or not text.isascii():
        return None
    return int(text) if len(text) <= len(str(_LARGEST)) and int(text) < _LARGEST else None
