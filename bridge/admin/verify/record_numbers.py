"""Reading back what the records of every topic say of themselves: whose number they are, or how far all is in Kafka."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from bridge.core.records.checkpoint import VERSION
from bridge.core.records.lifecycle import TYPE_PREFIX

_STRUCTURED = b"application/cloudevents+json"
_OWN_START = b'{"specversion":"1.0","source":"/mix/'
# As `core.formats` writes it. A quote inside a JSON string has a backslash before it: these cannot lie inside a value.
_ID = b'","id":"'
_DATA = b',"data":'
_EPOCH_DIGITS, _SEQUENCE_DIGITS = 10, 12
_LARGEST = 10**12


class Numbers(NamedTuple):
    """What a record of the event and dead-letter topics is: the number of one event of a session."""

    epoch: int
    sequence: int
    replayed: bool
    dead_letter: bool


class Statement(NamedTuple):
    """Everything up to ``(epoch, sequence)`` is in Kafka."""

    epoch: int
    sequence: int


class LifecycleEntry(NamedTuple):
    """A lifecycle record as far as the account of a session needs it."""

    stated: Statement
    kind: str
    place: tuple[str | None, str | None]
    """The ids it lies between: with ``stated`` and ``kind`` they tell a record that a crash repeated."""
    missing: int | None
    new_epoch: int | None


def numbers_of(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Numbers | None:
    """The numbers of an event record in any format or of a dead letter; None for a record that is not ours."""
    if value is None:
        return None
    named = dict(headers)
    if (named.get("content-type") or b"").startswith(_STRUCTURED):
        return _of_envelope(value)
    start = "ce_" if "ce_specversion" in named else "bridge."
    epoch, sequence = _digits(named.get(f"{start}epoch")), _digits(named.get(f"{start}sequence"))
    if epoch is None or not sequence:
        return None
    return Numbers(epoch, sequence, named.get(f"{start}replayed") == b"true", "bridge.reason" in named)


def _of_envelope(value: bytes) -> Numbers | None:
    """Without reading the data where the envelope is as we write it: the data may be a megabyte, and any JSON."""
    if value.startswith(_OWN_START):
        at = value.find(_ID) + len(_ID)
        colon, end = at + _EPOCH_DIGITS, at + _EPOCH_DIGITS + 1 + _SEQUENCE_DIGITS
        data = value.find(_DATA, end)
        epoch, sequence = value[at:colon], value[colon + 1 : end]
        is_whole = value[colon : colon + 1] == b":" and value[end : end + 2] == b'",' and data >= 0
        if is_whole and epoch.isdigit() and sequence.isdigit() and value.find(b'"replayed"', 0, data) < 0:
            return Numbers(int(epoch), int(sequence), False, False) if int(sequence) else None  # noqa: FBT003 - by name it costs half as much again
    return _of_members(_members(value))


def _members(value: bytes) -> Mapping[str, Any]:
    """The envelope's members, without the data if it comes last."""
    for text in (value.partition(_DATA)[0] + b"}", value):
        try:
            members = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(members, dict) and "sequence" in members:
            return members
    return {}


def _of_members(members: Mapping[str, Any]) -> Numbers | None:
    epoch, sequence = _digits(members.get("epoch")), _digits(members.get("sequence"))
    if epoch is None or not sequence:
        return None
    return Numbers(epoch, sequence, _is_true(members.get("replayed")), dead_letter=False)


def checkpoint_of(value: bytes) -> Statement | None:
    """What a checkpoint states; None where it is none that this version understands."""
    members = _json(value)
    epoch, sequence = members.get("epoch"), members.get("sequence")
    if members.get("version") != VERSION or not _is_number(epoch) or not _is_number(sequence):
        return None
    return Statement(epoch, sequence)


def lifecycle_of(value: bytes | None) -> LifecycleEntry | None:
    """What a lifecycle record says; None where it is none."""
    members = _json(value or b"")
    epoch, sequence = _digits(members.get("epoch")), _digits(members.get("sequence"))
    kind, told = str(members.get("type")), members.get("data")
    if epoch is None or sequence is None or not kind.startswith(TYPE_PREFIX) or not isinstance(told, dict):
        return None
    missing = told.get("missing")
    return LifecycleEntry(
        Statement(epoch, sequence),
        kind.removeprefix(TYPE_PREFIX),
        (_text(told.get("from_last_event_id")), _text(told.get("to_last_event_id"))),
        missing if _is_number(missing) else None,
        _digits(told.get("new_epoch")),
    )


def _json(value: bytes) -> Mapping[str, Any]:
    try:
        members = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _digits(text: object) -> int | None:
    if not isinstance(text, str | bytes) or not text.isdigit() or not text.isascii():
        return None
    return int(text) if len(text) <= len(str(_LARGEST)) and int(text) < _LARGEST else None


def _is_true(value: object) -> bool:
    return value is True or value == "true"


def _is_number(number: object) -> TypeGuard[int]:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _LARGEST


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
