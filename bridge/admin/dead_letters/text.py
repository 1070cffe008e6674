"""Dead letters as people and programs read them. What strangers wrote is made visible, never acted on."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bridge.cli.kafka_access import counted, moment, size
from bridge.clock import rfc3339
from bridge.core.records.dead_letter import DeadLetter, Group, Kind, Number, Place
from bridge.core.records.json_text import NotJson, indented
from bridge.core.terminal_text import columns, shortened, visible, visible_bytes

if TYPE_CHECKING:
    from bridge.admin.dead_letters.replay import Report
    from bridge.admin.dead_letters.rules import Stays
    from bridge.admin.dead_letters.topic import DeadLetters
    from bridge.kafka.reader import StoredRecord

_SHOWN = 4000
"""Characters of a payload that are shown unasked: two screens."""
_NAME = 60
"""Characters of an event type in a table."""
_EXAMPLES = 5

# list


def group_lines(letters: DeadLetters, groups: Mapping[Kind, Group]) -> Iterator[str]:
    """By session, a line for each reason and event type."""
    sessions = len({kind.key for kind in groups})
    count, bytes_ = sum(group.count for group in groups.values()), sum(group.size for group in groups.values())
    of = f" of {counted(sessions, 'session')}, {size(bytes_)}" if groups else ""
    yield f"{letters.topic}: {counted(count, 'dead letter')}{of}"
    yield from _foreign(letters)
    if not groups:
        return
    rows = [("COUNT", "REASON", "BYTES", "FIRST (UTC)", "LAST (UTC)", "EVENT TYPE")]
    rows += [
        (
            f"{group.count:,}",
            _short(kind.reason),
            size(group.size),
            _brief(group.first_ms),
            _brief(group.last_ms),
            _short(kind.event),
        )
        for kind, group in groups.items()
    ]
    yield from _under_sessions([kind.key for kind in groups], columns(rows, right=frozenset({0, 2})))


def each_lines(letters: DeadLetters, found: Sequence[DeadLetter]) -> Iterator[str]:
    """By session, a line for each dead letter."""
    yield f"{letters.topic}: {counted(len(found), 'dead letter')}"
    yield from _foreign(letters)
    if not found:
        return
    rows = [("ADDRESS", "ID", "RECEIVED (UTC)", "REASON", "EVENT TYPE")]
    rows += [
        (str(one.place), str(one.number), _brief(one.received_ms), _short(one.reason), _short(one.event))
        for one in found
    ]
    yield from _under_sessions([one.key for one in found], columns(rows))


def _under_sessions(keys: Sequence[object], lines: Sequence[str]) -> Iterator[str]:
    """The first line is the head; then a line for each key, under the key where it changes."""
    yield ""
    yield lines[0]
    last: object = None
    for key, line in zip(keys, lines[1:], strict=True):
        if key != last:
            yield visible(str(key))
            last = key
        yield line


def _brief(unix_milliseconds: int) -> str:
    """Without the year: dead letters are younger than that."""
    return moment(unix_milliseconds)[5:]


def _short(text: str) -> str:
    return visible(shortened(text, _NAME)) or "-"


def _foreign(letters: DeadLetters) -> Iterator[str]:
    if letters.foreign:
        place, why = next(iter(letters.foreign.items()))
        yield f"{counted(len(letters.foreign), 'record')} there are no dead letters of mix-bridge (at {place}: {why})"


def groups_document(letters: DeadLetters, groups: Mapping[Kind, Group]) -> dict[str, Any]:
    """As `group_lines`."""
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
    """As `each_lines`, with all that is known of each but its data."""
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


def not_among(names: Sequence[Place | Number], found: Sequence[DeadLetter]) -> list[Place | Number]:
    """The names that nothing was found for."""
    there = {letter.place for letter in found} | {letter.number for letter in found}
    return [name for name in names if name not in there]


def no_such(letters: DeadLetters, name: Place | Number) -> str:
    """One line: why there is nothing to show."""
    if isinstance(name, Place) and name in letters.foreign:
        return f"{name} is no dead letter of mix-bridge: {letters.foreign[name]}"
    return f"{letters.topic} has no dead letter {name} (`mix-bridge dead-letters list --each` lists what it has)"


def shown_lines(record: StoredRecord, letter: DeadLetter, *, full: bool) -> Iterator[str]:
    """One dead letter: where it lies, its headers, its payload."""
    yield f"{letter.place}  {letter.number}  {visible(str(letter.key))}"
    rows = [(f"  {visible(name)}", visible_bytes(value or b"")) for name, value in record.headers]
    yield from columns([*rows, ("  written", f"{moment(record.timestamp_ms)} UTC")])
    lack = letter.missing_part
    yield f"  cannot be replayed: {lack}" if lack else "  all of it is here"
    text = _payload(letter.data)
    yield ""
    yield text if full else shortened(text, _SHOWN)
    if len(text) > _SHOWN and not full:
        left = len(text) - _SHOWN
        yield f"({counted(left, 'more character')}: --full shows all, --json the exact text)"
    yield ""


def _payload(payload: bytes) -> str:
    if not payload:
        return "(no payload)"
    text = payload.decode("utf-8", "backslashreplace")
    with suppress(NotJson):  # then it is shown as it is
        text = indented(text)
    return visible(text, lines=True)


def shown_document(
    letters: DeadLetters, found: Sequence[tuple[StoredRecord, DeadLetter]], missing: Sequence[Place | Number]
) -> dict[str, Any]:
    """All of each: headers, and the payload as text, or in Base64 where it is not UTF-8."""
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
    """The counts, and why what stays stays, with a few of each kind."""
    asked = report.sent.total() + report.before + report.repeats + len(report.stays)
    if not asked and report.trouble is None:
        yield f"{letters.topic}: no such dead letter, nothing to send"
        return
    for topic, count in sorted(report.sent.items()):
        yield f"{count:>9,}  {'would be sent to' if dry_run else 'sent to'} {topic}" + (
            "" if dry_run else ": acknowledged"
        )
    if report.before:
        yield f"{report.before:>9,}  sent by an earlier replay: not sent again"
    if report.repeats:
        yield f"{report.repeats:>9,}  twice in {letters.topic}, under one number: sent once"
    if report.stays:
        yield f"{len(report.stays):>9,}  cannot be sent, and stay where they are:"
    for (why, advice), some in _by_reason(report.stays):
        yield ""
        yield f"{len(some):>9,}  {visible(why)}"
        yield f"           {visible(advice)}"
        for one in some[:_EXAMPLES]:
            yield f"           {one.place}  {visible(str(one.key))}  {_short(one.event)}"
        if len(some) > _EXAMPLES:
            yield f"           and {len(some) - _EXAMPLES:,} more (--json lists all)"


def _by_reason(stays: Sequence[tuple[DeadLetter, Stays]]) -> list[tuple[Stays, list[DeadLetter]]]:
    groups: dict[Stays, list[DeadLetter]] = defaultdict(list)
    for letter, why in stays:
        groups[why].append(letter)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def replayed_document(letters: DeadLetters, report: Report, *, dry_run: bool) -> dict[str, Any]:
    """What became of each that could not be sent, and how many could."""
    return {
        "topic": letters.topic,
        "ok": report.is_good,
        "dry_run": dry_run,
        "sent": report.sent.total(),
        "sent_to": dict(sorted(report.sent.items())),
        "replayed_before": report.before,
        "repeats": report.repeats,
        "not_sent": [{**_letter(letter), "why": stays.why, "advice": stays.advice} for letter, stays in report.stays],
        "trouble": None if report.trouble is None else str(report.trouble),
    }
