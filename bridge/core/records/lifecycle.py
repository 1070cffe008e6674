"""Events in the life of a session's stream, as records of the lifecycle topic. Pure.

Such a record is produced only after everything before it is acknowledged, so it also states that every number up to its
own ``(epoch, sequence)`` is in Kafka. A crash may repeat it under another id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring as json_string
from typing import Literal, get_args

from bridge.clock import rfc3339
from bridge.core.identity import UNSENDABLE_ID, SessionKey
from bridge.core.records.formats import STRUCTURED_HEADERS, Names
from bridge.core.records.numbers import EventSequence, digits, json_object, number_in
from bridge.core.records.record import Record, epoch_text, prefix, sequence_text
from bridge.core.terminal_text import one_line

Kind = Literal["attached", "resumed", "gap", "reset", "unresumable", "ended"]

TYPE_PREFIX = "mix.bridge.session."
"""Prefix of the CloudEvents type: the bridge's own, since ``events.type_prefix`` applies to the server's events."""

# Lifecycle records must fit into every topic. An id may have 8 KiB, but a person recognises one
# that is cut. Bytes are limited too: one character can need six of them in JSON.
_ID_CHARACTERS = 256
_ID_BYTES = 512
_DETAIL_BYTES = 500
_CUT = "\u2026"


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """One event in the life of a session's stream.

    ``missing``: number of events that the server had and the bridge did not receive; None if unknown.
    """

    kind: Kind
    reason: str
    """A code, for programs."""
    detail: str
    """A sentence, for people, without any of an event's data."""
    from_last_event_id: str | None = None
    to_last_event_id: str | None = None
    missing: int | None = None


@dataclass(frozen=True, slots=True)
class WrittenLifecycleEvent:
    """A lifecycle event whose record was handed to Kafka's client: when, and behind which number."""

    event: LifecycleEvent
    unix_ms: int
    epoch: int
    sequence: int


class LifecycleWriter:
    """Turns the lifecycle events of one session into records. Thread rule: immutable, any thread."""

    def __init__(self, key: SessionKey, topic: str) -> None:
        self._record_key = key.record_key
        self._topic = topic
        self._names = {kind: Names(key, kind, TYPE_PREFIX) for kind in get_args(Kind)}

    def record(
        self, lifecycle_event: LifecycleEvent, epoch: int, sequence: int, unix_ms: int, new_epoch: int | None
    ) -> Record:
        """The record that follows ``(epoch, sequence)``; ``new_epoch`` if the next event starts another epoch.

        Smaller than 4 KiB for session ids of up to 512 letters (it holds the id three times).
        """
        epoch_digits = epoch_text(epoch)
        number = sequence_text(epoch_digits, sequence)
        data = json.dumps(_data(lifecycle_event, new_epoch), ensure_ascii=False, separators=(",", ":"))
        envelope = (
            f'{self._names[lifecycle_event.kind].json_start}{number}:{lifecycle_event.kind}:{unix_ms}",'
            f'"time":"{rfc3339(unix_ms)}","sequence":"{number}","epoch":"{epoch_digits}","data":{data}}}'
        )
        return Record(self._topic, self._record_key, envelope.encode(), STRUCTURED_HEADERS, unix_ms, None)


def _data(lifecycle_event: LifecycleEvent, new_epoch: int | None) -> dict[str, str | int | None]:
    data: dict[str, str | int | None] = {
        "reason": lifecycle_event.reason,
        "detail": prefix(one_line(lifecycle_event.detail).encode(), _DETAIL_BYTES).decode(),
        "from_last_event_id": _shown(lifecycle_event.from_last_event_id),
        "to_last_event_id": _shown(lifecycle_event.to_last_event_id),
        "missing": lifecycle_event.missing,
    }
    return data if new_epoch is None else data | {"new_epoch": epoch_text(new_epoch)}


def _shown(event_id: str | None) -> str | None:
    """The id, or its beginning and an ellipsis."""
    if event_id is None:
        return None
    if event_id == UNSENDABLE_ID:  # the id was too long to keep, and is unknown
        return _CUT
    shown = event_id if len(event_id) <= _ID_CHARACTERS else event_id[: _ID_CHARACTERS - 1]
    budget = _ID_BYTES - len(_CUT.encode())
    while len(json_string(shown).encode()) > budget:
        shown = shown[: len(shown) * 7 // 8]
    return shown if shown == event_id else shown + _CUT


@dataclass(frozen=True, slots=True)
class StoredLifecycleEvent:
    """A lifecycle record that was read back. Two equal ones in a row are one event that a crash repeated."""

    after: EventSequence
    """Every number up to this one is in Kafka."""
    kind: str
    ids: tuple[str | None, str | None]
    """``from_last_event_id`` and ``to_last_event_id``."""
    missing: int | None
    new_epoch: int | None


def decode(value: bytes | None) -> StoredLifecycleEvent | None:
    """Read a lifecycle record; None for any other record."""
    members = json_object(value or b"")
    after = number_in(members.get("epoch"), members.get("sequence"))
    kind, data = str(members.get("type")), members.get("data")
    if after is None or not kind.startswith(TYPE_PREFIX) or not isinstance(data, dict):
        return None
    ids = [
        text if isinstance(text, str) else None for text in map(data.get, ("from_last_event_id", "to_last_event_id"))
    ]
    missing = data.get("missing")
    is_count = isinstance(missing, int) and not isinstance(missing, bool) and missing >= 0
    return StoredLifecycleEvent(
        after,
        kind.removeprefix(TYPE_PREFIX),
        (ids[0], ids[1]),
        missing if is_count else None,
        digits(data.get("new_epoch")),
    )
