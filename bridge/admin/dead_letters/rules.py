"""Applies today's rules to a dead letter: the record it becomes, or why it cannot be sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bridge.core.records.dead_letter import DeadLetter
from bridge.core.records.encoder import Encoder
from bridge.core.records.record import Record
from bridge.core.records.rules import Rules
from bridge.core.stream.event import Event

_MARK = b'{"replayed":true,'


class Unsendable(NamedTuple):
    """Why a dead letter cannot be replayed, and what to do."""

    why: str
    advice: str


def as_record(letter: DeadLetter, rules: Mapping[str, Rules]) -> Record | Unsendable:
    """Return the record to send, marked ``replayed``, with the letter's key, number and time; ``rules`` by server."""
    if letter.missing_part is not None:
        return Unsendable(letter.missing_part, "it cannot be replayed; the server may still have the event")
    server = letter.key.server
    if server not in rules:
        advice = f"add it: --set servers.{server}.url=URL (only its rules are used; the command does not connect to it)"
        return Unsendable(f"the settings have no server {server!r}", advice)
    try:
        data = letter.data.decode()
    except UnicodeDecodeError:
        return Unsendable("its data is not UTF-8", "the bridge did not write it")
    # The headers do not say whether the id was the event's own. If it is not empty, it nearly always was.
    event = Event(letter.event, data, letter.last_event_id or None, letter.last_event_id, letter.received_ms)
    record = Encoder(rules[server], letter.key).encode(event, letter.number.epoch, letter.number.sequence)
    if record is None:
        return Unsendable("the rules skip it", "see events.skip, events.unknown and events.invalid")
    if record.dead_letter is not None:
        return _refused(record, rules[server], letter.event)
    return marked(record, rules[server])


def _refused(record: Record, rules: Rules, event: str) -> Unsendable:
    error = dict(record.headers)["bridge.error"].decode()
    if record.dead_letter == "oversize":
        advice = "raise events.max_bytes"
    else:
        has_schema = rules.schema is None or event in rules.schema
        advice = f"set events.{'invalid' if has_schema else 'unknown'} = publish to publish it anyway"
    return Unsendable(f"still {record.dead_letter}: {error}", advice)


def marked(record: Record, rules: Rules) -> Record:
    """Return the record marked ``replayed`` in its format; `numbers.number_of` recognises the mark."""
    if rules.format == "structured":
        return record._replace(value=_MARK + record.value[1:])
    mark = "ce_replayed" if rules.format == "binary" else "bridge.replayed"
    return record._replace(headers=[*record.headers, (mark, b"true")])
