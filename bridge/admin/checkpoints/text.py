"""Checkpoints as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bridge.admin.checkpoints.edit import Edit
from bridge.cli.kafka_access import age, counted, moment
from bridge.clock import rfc3339
from bridge.core.checkpoint_log import CheckpointRecord, InvalidCheckpoint, StoredCheckpoint, lenient
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.dead_letter import Number
from bridge.core.terminal_text import columns, shortened, visible, visible_bytes
from bridge.sharding.invalid_checkpoints import repair_command, repair_effect, session_of

_ID = 24
"""Characters of an event id in a table."""
_RAW = 2000

# list


def list_lines(topic: str, found: Sequence[StoredCheckpoint], now_ms: int) -> Iterator[str]:
    """A line for each, under its server; then what the daemon would refuse, with the command that settles it."""
    good = [stored.valid for stored in found if stored.valid is not None]
    flaws = [flaw for stored in found for flaw in stored.invalid]
    yield f"{topic}: {counted(len(good), 'checkpoint')}" + (f", {len(flaws)} that cannot be gone by" if flaws else "")
    if good:
        head, *lines = columns([_HEAD, *(_row(one, now_ms) for one in good)], right=frozenset({1, 3}))
        yield ""
        yield head
        yield from _under_servers([one.key.server for one in good], lines)
    for flaw in flaws:
        yield ""
        yield from _flaw_lines(flaw)


_HEAD = ("STATE", "AGE", "EPOCH", "SEQUENCE", "AFTER ID", "SESSION")


def _under_servers(servers: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    last = None
    for server, line in zip(servers, lines, strict=True):
        if server != last:
            yield f"{visible(server)}/"
            last = server
        yield line


def _row(one: Checkpoint, now_ms: int) -> tuple[str, ...]:
    epoch, sequence, event_id = one.position
    when, said_id = age(now_ms - one.updated_ms), _said_id(event_id)
    return one.state, when, str(epoch), str(sequence), said_id, visible(one.key.session_id)


def _said_id(event_id: str) -> str:
    return visible(shortened(event_id, _ID)) if event_id else "-"


def _flaw_lines(flaw: InvalidCheckpoint) -> Iterator[str]:
    record = flaw.record
    key = visible_bytes(record.key) or "(an empty key)"
    yield f"BAD  {key} (partition {record.partition} offset {record.offset}): {visible(flaw.why)}"
    yield f"     this {repair_effect(flaw)}:"
    yield f"     {repair_command(flaw)}"


def list_document(topic: str, found: Sequence[StoredCheckpoint], now_ms: int) -> dict[str, Any]:
    """As `list_lines`."""
    good = [stored.valid for stored in found if stored.valid is not None]
    return {
        "topic": topic,
        "count": len(good),
        "checkpoints": [_document(one, now_ms) for one in good],
        "bad": [_flaw_document(flaw) for stored in found for flaw in stored.invalid],
    }


def _document(one: Checkpoint, now_ms: int | None = None) -> dict[str, Any]:
    epoch, sequence, event_id = one.position
    return {
        "server": one.key.server,
        "session": one.key.session_id,
        "state": one.state,
        "epoch": epoch,
        "sequence": sequence,
        "id": str(Number(epoch, sequence)),
        "last_event_id": event_id,
        "updated_at": rfc3339(one.updated_ms),
        **({} if now_ms is None else {"age_seconds": max(0, now_ms - one.updated_ms) / 1000}),
        "fingerprint": one.fingerprint,
    }


def _flaw_document(flaw: InvalidCheckpoint) -> dict[str, Any]:
    return {
        "partition": flaw.record.partition,
        "offset": flaw.record.offset,
        "key": flaw.record.key.decode("utf-8", "backslashreplace"),
        "key_hex": flaw.record.key.hex(),
        "why": flaw.why,
        "command": repair_command(flaw),
    }


# show


def shown_lines(topic: str, stored: StoredCheckpoint, now_ms: int) -> Iterator[str]:
    """All that stands about one session."""
    yield visible_bytes(stored.key)
    if stored.valid is not None:
        yield from columns(_facts(stored.valid, now_ms))
    for record in stored.records:
        yield ""
        yield f"  {topic} partition {record.partition} offset {record.offset}, written {moment(record.written_ms)} UTC:"
        yield from _members(record)
    for flaw in stored.invalid:
        yield ""
        yield from _flaw_lines(flaw)


def _facts(one: Checkpoint, now_ms: int) -> list[tuple[str, ...]]:
    epoch, sequence, event_id = one.position
    return [
        ("  state", one.state),
        ("  position", f"{Number(epoch, sequence)}: all up to it is in Kafka"),
        ("  resumes after", visible(event_id) or "(nothing: what comes from then on)"),
        ("  updated", f"{moment(one.updated_ms)} UTC, {age(now_ms - one.updated_ms)} ago"),
    ]


def _members(record: CheckpointRecord) -> Iterator[str]:
    members = lenient(record.value)
    if members:
        yield from columns([(f"    {visible(str(name))}", visible(str(value))) for name, value in members.items()])
    else:
        yield f"    {shortened(visible_bytes(record.value), _RAW)}"


def shown_document(topic: str, stored: StoredCheckpoint, now_ms: int) -> dict[str, Any]:
    """As `shown_lines`; the values of the records as they lie there."""
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
                "members": lenient(record.value),
            }
            for record in stored.records
        ],
        "bad": [_flaw_document(flaw) for flaw in stored.invalid],
    }


# set, reset


def changed_lines(topic: str, changes: Sequence[tuple[StoredCheckpoint, Edit]]) -> Iterator[str]:
    """What was and what is."""
    if not changes:
        yield f"{topic}: nothing to change"
    for before, edit in changes:
        yield visible_bytes(edit.key) or "(an empty key)"
        yield f"  was  {_said(before.valid) if before.valid is not None else _without(before)}"
        yield f"  is   {_said(edit.after) if edit.after is not None else _none_left(edit)}"
        for write in edit.writes:
            what = "a tombstone to" if write.value is None else "to"
            yield f"  written {what} {topic} partition {write.partition}: acknowledged"
        if edit.after is None and before.epoch is not None:
            yield f"  forgotten too: its epoch, {before.epoch}. With a clock that is set back before it, consumers"
            yield "  would take what comes for seen and drop it; `reset` without --forget keeps the epoch"


def _said(one: Checkpoint) -> str:
    epoch, sequence, event_id = one.position
    return f"{one.state}, {Number(epoch, sequence)}, resumes after {_said_id(event_id)}"


def _without(stored: StoredCheckpoint) -> str:
    return "nothing that can be gone by" if stored.records else "nothing"


def _none_left(edit: Edit) -> str:
    return "nothing" if session_of(edit.key) is None else "nothing: the session begins as a new one"


def changed_document(topic: str, changes: Sequence[tuple[StoredCheckpoint, Edit]]) -> dict[str, Any]:
    """As `changed_lines`."""
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
