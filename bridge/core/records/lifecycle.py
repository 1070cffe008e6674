"""What happened to a session's stream, as records of the lifecycle topic. Pure.

Such a record is produced only when everything before it is acknowledged, so it also states that every number up to its
own ``(epoch, sequence)`` is in Kafka. A crash may repeat it, under another id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring as json_string
from typing import Literal, get_args

from bridge.clock import rfc3339
from bridge.core.identity import UNSENDABLE_ID, SessionKey
from bridge.core.records.formats import STRUCTURED_HEADERS, Names
from bridge.core.records.headers import epoch_text, one_line, prefix, sequence_text
from bridge.core.records.rules import Record

Kind = Literal["attached", "resumed", "gap", "reset", "unresumable", "ended"]

TYPE_PREFIX = "mix.bridge.session."
"""Of the CloudEvents type: the bridge's own name, whatever ``events.type_prefix`` says of the server's events."""

# Lifecycle records must be taken by every topic, whatever its limit: an id may be 8 KiB, and one that is cut still
# tells a person which it was. Bytes are limited too: one character can take six of them in JSON.
_ID_CHARACTERS = 256
_ID_BYTES = 512
_DETAIL_BYTES = 500
_CUT = "\u2026"


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """One thing that happened to a session's stream.

    ``missing``: events that the server had and the bridge did not get; None where that is not known.
    """

    kind: Kind
    reason: str
    """A code, for programs."""
    detail: str
    """A sentence, for people; holds nothing of an event's data."""
    from_last_event_id: str | None = None
    to_last_event_id: str | None = None
    missing: int | None = None


class LifecycleWriter:
    """Turns what happened to one session into records. Thread rule: never changes, any thread."""

    def __init__(self, key: SessionKey, topic: str) -> None:
        self._record_key = key.record_key
        self._topic = topic
        self._names = {kind: Names(key, kind, TYPE_PREFIX) for kind in get_args(Kind)}

    def record(
        self, lifecycle_event: LifecycleEvent, epoch: int, sequence: int, unix_ms: int, new_epoch: int | None
    ) -> Record:
        """The record that follows ``(epoch, sequence)``; ``new_epoch`` when the next event is the first of another.

        Smaller than 4 KiB with a session id of up to 512 letters (it holds that three times), whatever a server sends.
        """
        epoch_digits, digits = epoch_text(epoch), sequence_text(sequence)
        told = json.dumps(_told(lifecycle_event, new_epoch), ensure_ascii=False, separators=(",", ":"))
        envelope = (
            f'{self._names[lifecycle_event.kind].json_start}{epoch_digits}:{digits}:{lifecycle_event.kind}:{unix_ms}",'
            f'"time":"{rfc3339(unix_ms)}","sequence":"{digits}","epoch":"{epoch_digits}","data":{told}}}'
        )
        return Record(self._topic, self._record_key, envelope.encode(), STRUCTURED_HEADERS, unix_ms, None)


def _told(lifecycle_event: LifecycleEvent, new_epoch: int | None) -> dict[str, str | int | None]:
    told: dict[str, str | int | None] = {
        "reason": lifecycle_event.reason,
        "detail": prefix(one_line(lifecycle_event.detail).encode(), _DETAIL_BYTES).decode(),
        "from_last_event_id": _shown(lifecycle_event.from_last_event_id),
        "to_last_event_id": _shown(lifecycle_event.to_last_event_id),
        "missing": lifecycle_event.missing,
    }
    return told if new_epoch is None else told | {"new_epoch": epoch_text(new_epoch)}


def _shown(event_id: str | None) -> str | None:
    """The id, or its beginning and an ellipsis."""
    if event_id is None:
        return None
    if event_id == UNSENDABLE_ID:  # too long to have been kept: nothing of it is known
        return _CUT
    shown = event_id if len(event_id) <= _ID_CHARACTERS else event_id[: _ID_CHARACTERS - 1]
    budget = _ID_BYTES - len(_CUT.encode())
    while len(json_string(shown).encode()) > budget:
        shown = shown[: len(shown) * 7 // 8]
    return shown if shown == event_id else shown + _CUT
