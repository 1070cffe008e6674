"""The output of the dead-letters commands: tables and lines, and the JSON documents. Foreign text is made visible."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rich.console import RenderableType

from bridge.admin.dead_letters.replay import Report, Unsendable
from bridge.admin.dead_letters.topic import DeadLetters, Group, Kind
from bridge.admin.text import aligned, counted, size, table, timestamp
from bridge.clock import rfc3339
from bridge.core.records.dead_letter import DeadLetter, Place
from bridge.core.records.json_text import NotJson, indented
from bridge.core.records.numbers import EventSequence
from bridge.core.terminal_text import shortened, visible, visible_bytes
from bridge.kafka.reader import StoredRecord

_MAX_PAYLOAD = 4000
"""Characters of a payload without ``--full``: two screens."""
_MAX_NAME = 60
"""Characters of an event type in a table."""
_EXAMPLES = 5

# list


def group_parts(letters: DeadLetters, groups: Mapping[Kind, Group]) -> Iterator[RenderableType]:
    """One row for each session, reason and event type."""
    sessions = len({kind.key for kind in groups})
    count, bytes_ = sum(group.count for group in groups.values()), sum(group.size for group in groups.values())
    yield from _heading(letters, count, f" of {counted(sessions, 'session')}, {size(bytes_)}" if groups else "")
    if groups:
        made = table(
            "COUNT", "REASON", "BYTES", "FIRST (UTC)", "LAST (UTC)", "EVENT TYPE", "SESSION",
            right=("COUNT", "BYTES"), fold=("EVENT TYPE", "SESSION"),
        )  # fmt: skip
        for kind, group in groups.items():
            first, last = timestamp(group.first_ms)[5:], timestamp(group.last_ms)[5:]  # dead letters are kept for days
            names = _short(kind.reason), size(group.size), first, last, _short(kind.event), visible(str(kind.key))
            made.add_row(f"{group.count:,}", *names)
        yield made


def each_parts(letters: DeadLetters, found: Sequence[DeadLetter]) -> Iterator[RenderableType]:
    """One row for each dead letter."""
    yield from _heading(letters, len(found))
    if found:
        names = "ADDRESS", "ID", "RECEIVED (UTC)", "REASON", "EVENT TYPE", "SESSION"
        made = table(*names, fold=("EVENT TYPE", "SESSION"))
        for one in found:
            place, number, received = str(one.place), str(one.number), timestamp(one.received_ms)[5:]
            made.add_row(place, number, received, _short(one.reason), _short(one.event), visible(str(one.key)))
        yield made


def _short(text: str) -> str:
    return visible(shortened(text, _MAX_NAME)) or "-"


def _heading(letters: DeadLetters, count: int, more: str = "") -> Iterator[str]:
    yield f"{letters.topic}: {counted(count, 'dead letter')}{more}"
    yield from _foreign(letters)
    if count:
        yield ""


def _foreign(letters: DeadLetters) -> Iterator[str]:
    if letters.foreign:
        place, why = next(iter(letters.foreign.items()))
        number = counted(len(letters.foreign), "foreign record")
        yield f"{number}, not dead letters of mix-bridge (the first at {place}: {why})"


def groups_document(letters: DeadLetters, groups: Mapping[Kind, Group]) -> dict[str, Any]:
    """Return the document of ``list``."""
    return {
        **_head(letters, sum(group.count for group in groups.values())),
        "bytes": sum(group.size for group in groups.values()),
        "groups": [
            {
                "server": kind.key.server,
                "session": kind.key.session_id,
                "reason": kind.reason,
                "type": kind.event,
                "count": group.count,
                "first": rfc3339(group.first_ms),
                "last": rfc3339(group.last_ms),
                "bytes": group.size,
            }
            for kind, group in groups.items()
        ],
    }


def each_document(letters: DeadLetters, found: Sequence[DeadLetter]) -> dict[str, Any]:
    """Return the document of ``list --each``: everything except the data."""
    return {**_head(letters, len(found)), "dead_letters": [_letter(one) for one in found]}


def _head(letters: DeadLetters, count: int) -> dict[str, Any]:
    return {"topic": letters.topic, "count": count, "foreign": len(letters.foreign)}


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "address": str(letter.place),
        "id": str(letter.number),
        "server": letter.key.server,
        "session": letter.key.session_id,
        "reason": letter.reason,
        "error": letter.error,
        "type": letter.event,
        "last_event_id": letter.last_event_id,
        "received_at": rfc3339(letter.received_ms),
        "bytes": letter.size,
        "sha256": letter.sha256,
    }


# show


def missing_line(letters: DeadLetters, name: Place | EventSequence) -> str:
    """Return one line that explains why there is nothing to show."""
    if isinstance(name, Place) and name in letters.foreign:
        return f"{name} is not a dead letter of mix-bridge: {letters.foreign[name]}"
    return f"{letters.topic} has no dead letter {name} (`mix-bridge dead-letters list --each` lists them)"


def shown_lines(record: StoredRecord, letter: DeadLetter, *, full: bool) -> Iterator[str]:
    """One dead letter: its address, its headers, its payload."""
    yield f"{letter.place}  {letter.number}  {visible(str(letter.key))}"
    facts = [(visible(name), visible_bytes(value or b"")) for name, value in record.headers]
    yield from aligned([*facts, ("written", f"{timestamp(record.timestamp_ms)} UTC")])
    lack = letter.missing_part
    yield f"  cannot be replayed: {lack}" if lack else "  complete"
    text = letter.data.decode("utf-8", "backslashreplace") or "(no payload)"
    if letter.data:
        with suppress(NotJson):
            text = indented(text)
        text = visible(text, lines=True)
    yield ""
    yield text if full else shortened(text, _MAX_PAYLOAD)
    if len(text) > _MAX_PAYLOAD and not full:
        more = counted(len(text) - _MAX_PAYLOAD, "more character")
        yield f"({more}: --full prints all, --json the exact text)"
    yield ""


def shown_document(
    letters: DeadLetters, found: Sequence[tuple[StoredRecord, DeadLetter]], missing: Sequence[Place | EventSequence]
) -> dict[str, Any]:
    """Return the document of ``show``: the payload is text, or Base64 if it is not UTF-8."""
    return {
        "topic": letters.topic,
        "dead_letters": [
            {
                **_letter(letter),
                "lack": letter.missing_part,
                "headers": {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers},
                **_exact(letter.data),
            }
            for record, letter in found
        ],
        "missing": [str(name) for name in missing],
    }


def _exact(payload: bytes) -> dict[str, str]:
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(payload).decode()}


# replay


def replayed_lines(letters: DeadLetters, report: Report, *, dry_run: bool) -> Iterator[str]:
    """The counts, then each reason why dead letters could not be sent, with a few examples."""
    yield from _foreign(letters)
    selected = report.sent.total() + report.before + report.repeats + len(report.unsendable)
    if not selected and report.error is None:
        yield f"{letters.topic}: no such dead letter, nothing to send"
        return
    for topic, count in sorted(report.sent.items()):
        yield f"{count:>9,}  would be sent to {topic}" if dry_run else f"{count:>9,}  sent to {topic}: acknowledged"
    if report.before:
        yield f"{report.before:>9,}  sent by an earlier replay: not sent again"
    if report.repeats:
        yield f"{report.repeats:>9,}  more than once in {letters.topic} under the same number: sent once"
    if report.unsendable:
        yield f"{len(report.unsendable):>9,}  cannot be sent, and remain dead letters:"
    groups: dict[Unsendable, list[DeadLetter]] = defaultdict(list)
    for letter, reason in report.unsendable:
        groups[reason].append(letter)
    for (why, advice), some in sorted(groups.items(), key=lambda group: -len(group[1])):
        yield ""
        yield f"{len(some):>9,}  {visible(why)}"
        yield f"           {visible(advice)}"
        for one in some[:_EXAMPLES]:
            yield f"           {one.place}  {visible(str(one.key))}  {_short(one.event)}"
        if len(some) > _EXAMPLES:
            yield f"           and {len(some) - _EXAMPLES:,} more (--json lists all)"


def replayed_document(
    letters: DeadLetters, report: Report, missing: Sequence[Place | EventSequence], *, dry_run: bool
) -> dict[str, Any]:
    """Return the document of ``replay``."""
    return {
        "topic": letters.topic,
        "foreign": len(letters.foreign),
        "ok": report.is_good and not missing,
        "dry_run": dry_run,
        "sent": report.sent.total(),
        "sent_to": dict(sorted(report.sent.items())),
        "replayed_before": report.before,
        "repeats": report.repeats,
        "not_sent": [{**_letter(letter), "why": why.why, "advice": why.advice} for letter, why in report.unsendable],
        "missing": [str(name) for name in missing],
        "trouble": None if report.error is None else str(report.error),
    }
