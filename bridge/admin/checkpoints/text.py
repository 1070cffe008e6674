"""The output of the checkpoints commands: tables and lines, and the JSON documents. Foreign text is made visible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import RenderableType

from bridge.admin.checkpoints.edit import Edit
from bridge.admin.text import age, aligned, counted, table, timestamp
from bridge.clock import rfc3339
from bridge.core.checkpoint_log import InvalidCheckpoint, StoredCheckpoint
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.numbers import EventSequence, json_object
from bridge.core.terminal_text import shortened, visible, visible_bytes
from bridge.sharding.invalid_checkpoints import repair_command, repair_effect, session_of

_MAX_ID = 24
"""Characters of an event id in a table."""
_MAX_VALUE = 2000

# list


def list_parts(topic: str, found: Sequence[StoredCheckpoint], now_ms: int) -> Iterator[RenderableType]:
    """One row for each checkpoint, then the invalid ones with the command that repairs each."""
    valid = [stored.valid for stored in found if stored.valid is not None]
    invalid = [each for stored in found for each in stored.invalid]
    yield f"{topic}: {counted(len(valid), 'checkpoint')}" + (f", {len(invalid)} invalid" if invalid else "")
    if valid:
        yield ""
        numbers = ("AGE", "EPOCH", "SEQUENCE")
        made = table("STATE", *numbers, "LAST EVENT ID", "SESSION", right=numbers, fold=("SESSION",))
        for one in valid:
            epoch, sequence, event_id = one.position
            when = age(now_ms - one.updated_ms)
            made.add_row(one.state, when, str(epoch), str(sequence), _id_text(event_id), visible(str(one.key)))
        yield made
    yield from _invalid_lines(invalid)


def _id_text(event_id: str) -> str:
    return visible(shortened(event_id, _MAX_ID)) if event_id else "-"


def _invalid_lines(invalid: Iterable[InvalidCheckpoint]) -> Iterator[str]:
    for each in invalid:
        key = visible_bytes(each.record.key) or "(an empty key)"
        place = f"partition {each.record.partition} offset {each.record.offset}"
        yield ""
        yield f"BAD  {key} ({place}): {visible(each.why)}"
        yield f"     this {repair_effect(each)}:"
        yield f"     {repair_command(each)}"


def list_document(topic: str, found: Sequence[StoredCheckpoint], now_ms: int) -> dict[str, Any]:
    """Return the document of ``list``."""
    valid = [stored.valid for stored in found if stored.valid is not None]
    return {
        "topic": topic,
        "count": len(valid),
        "checkpoints": [_document(one, now_ms) for one in valid],
        "bad": [_invalid_document(each) for stored in found for each in stored.invalid],
    }


def _document(one: Checkpoint, now_ms: int | None = None) -> dict[str, Any]:
    epoch, sequence, event_id = one.position
    return {
        "server": one.key.server,
        "session": one.key.session_id,
        "state": one.state,
        "epoch": epoch,
        "sequence": sequence,
        "id": str(EventSequence(epoch, sequence)),
        "last_event_id": event_id,
        "updated_at": rfc3339(one.updated_ms),
        **({} if now_ms is None else {"age_seconds": max(0, now_ms - one.updated_ms) / 1000}),
        "fingerprint": one.fingerprint,
    }


def _invalid_document(invalid: InvalidCheckpoint) -> dict[str, Any]:
    return {
        "partition": invalid.record.partition,
        "offset": invalid.record.offset,
        "key": invalid.record.key.decode("utf-8", "backslashreplace"),
        "key_hex": invalid.record.key.hex(),
        "why": invalid.why,
        "command": repair_command(invalid),
    }


# show


def shown_lines(topic: str, stored: StoredCheckpoint, now_ms: int) -> Iterator[str]:
    """All records of one session."""
    yield visible_bytes(stored.key)
    if (one := stored.valid) is not None:
        epoch, sequence, event_id = one.position
        facts = [
            ("state", one.state),
            ("position", f"{EventSequence(epoch, sequence)}: everything up to it is in Kafka"),
            ("resumes after", visible(event_id) or "(no id: it continues with new events)"),
            ("updated", f"{timestamp(one.updated_ms)} UTC, {age(now_ms - one.updated_ms)} ago"),
        ]
        yield from aligned(facts)
    for record in stored.records:
        yield ""
        place = f"{topic} partition {record.partition} offset {record.offset}"
        yield f"  {place}, written {timestamp(record.written_ms)} UTC:"
        if members := json_object(record.value):
            yield from aligned([(visible(str(name)), visible(str(value))) for name, value in members.items()], indent=4)
        else:
            yield f"    {shortened(visible_bytes(record.value), _MAX_VALUE)}"
    yield from _invalid_lines(stored.invalid)


def shown_document(topic: str, stored: StoredCheckpoint, now_ms: int) -> dict[str, Any]:
    """Return the document of ``show``, with the values of the records as stored."""
    return {
        "topic": topic,
        "key": stored.key.decode("utf-8", "backslashreplace"),
        "checkpoint": None if stored.valid is None else _document(stored.valid, now_ms),
        "records": [
            {
                "partition": record.partition,
                "offset": record.offset,
                "written_at": rfc3339(record.written_ms),
                "value": record.value.decode("utf-8", "backslashreplace"),
                "members": json_object(record.value),
            }
            for record in stored.records
        ],
        "bad": [_invalid_document(each) for each in stored.invalid],
    }


# set, reset


def changed_lines(topic: str, changes: Sequence[tuple[StoredCheckpoint, Edit]]) -> Iterator[str]:
    """The old and the new position of each session."""
    if not changes:
        yield f"{topic}: nothing to change"
    for before, edit in changes:
        yield visible_bytes(edit.key) or "(an empty key)"
        without = "no valid checkpoint" if before.records else "nothing"
        none_left = "nothing" if session_of(edit.key) is None else "nothing: the session starts as a new one"
        yield f"  was  {without if before.valid is None else _position(before.valid)}"
        yield f"  is   {none_left if edit.after is None else _position(edit.after)}"
        for write in edit.writes:
            what = "a tombstone to" if write.value is None else "to"
            yield f"  written {what} {topic} partition {write.partition}: acknowledged"
        if edit.after is None and before.epoch is not None:
            yield f"  its epoch {before.epoch} is forgotten too. If the clock is set back below it, consumers drop new"
            yield "  events as already seen; `reset` without --forget keeps the epoch"


def _position(one: Checkpoint) -> str:
    epoch, sequence, event_id = one.position
    return f"{one.state}, {EventSequence(epoch, sequence)}, resumes after {_id_text(event_id)}"


def changed_document(topic: str, changes: Sequence[tuple[StoredCheckpoint, Edit]]) -> dict[str, Any]:
    """Return the document of ``set`` and ``reset``."""
    return {
        "topic": topic,
        "changed": [
            {
                "key": edit.key.decode("utf-8", "backslashreplace"),
                "before": None if before.valid is None else _document(before.valid),
                "after": None if edit.after is None else _document(edit.after),
                "written": [{"partition": write.partition, "tombstone": write.value is None} for write in edit.writes],
            }
            for before, edit in changes
        ],
    }
