"""A dead letter under today's rules: the record it becomes, or why it stays where it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bridge.core.records.dead_letter import DeadLetter, Number
from bridge.core.records.rules import Encoder, Record, Rules
from bridge.core.stream.event import Event

_MARKED_START = b'{"replayed":true,'
_STRUCTURED = b"application/cloudevents+json"
_MARKS = {"ce_replayed": ("ce_epoch", "ce_sequence"), "bridge.replayed": ("bridge.epoch", "bridge.sequence")}
_DIGITS = re.compile(rb"[0-9]{1,18}")
# The envelope's id: what stands before it is ours, and quotes within it are escaped, so the first match is the one.
_ENVELOPE_ID = re.compile(rb'[{,]"id":"([0-9]{1,18}):([0-9]{1,18})"')


class Stays(NamedTuple):
    """A dead letter that cannot be replayed."""

    why: str
    advice: str


def as_record(letter: DeadLetter, rules: Mapping[str, Rules]) -> Record | Stays:
    """The record to send, marked ``replayed``, with the letter's own key, number and time; ``rules`` by server."""
    if letter.missing_part is not None:
        return Stays(letter.missing_part, "it cannot be replayed: the server may still have it")
    server = letter.key.server
    if server not in rules:
        hint = f"name it: --set servers.{server}.url=URL (its rules count, it is not connected to)"
        return Stays(f"the settings have no server {server!r}", hint)
    own = rules[server]
    try:
        data = letter.data.decode()
    except UnicodeDecodeError:
        return Stays("its data is not UTF-8", "the bridge did not write it")
    # Whether the id was the event's own is not kept; where it is not empty it nearly always was.
    event = Event(letter.event, data, letter.last_event_id or None, letter.last_event_id, letter.received_ms)
    record = Encoder(own, letter.key).encode(event, letter.number.epoch, letter.number.sequence)
    if record is None:
        return Stays("today's rules skip it", "see events.skip, events.unknown and events.invalid")
    if record.dead_letter is not None:
        return _still_dead(record, own, letter.event)
    return marked(record, own)


def _still_dead(record: Record, rules: Rules, event: str) -> Stays:
    error = dict(record.headers)["bridge.error"].decode()
    if record.dead_letter == "oversize":
        advice = "raise events.max_bytes"
    else:
        has_schema = rules.schema is None or event in rules.schema
        advice = f"set events.{'invalid' if has_schema else 'unknown'} = publish to have it all the same"
    return Stays(f"still {record.dead_letter}: {error}", advice)


def marked(record: Record, rules: Rules) -> Record:
    """The same record, marked ``replayed`` as its format does it."""
    if rules.format == "structured":
        return record._replace(value=_MARKED_START + record.value[1:])
    mark = "ce_replayed" if rules.format == "binary" else "bridge.replayed"
    return record._replace(headers=[*record.headers, (mark, b"true")])


def replayed_number(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Number | None:
    """The number of a record of an events topic that a replay sent, whatever its format; None for every other."""
    texts = {name: text or b"" for name, text in headers}
    if texts.get("content-type", b"").startswith(_STRUCTURED):  # else the value is the server's own text
        found = _ENVELOPE_ID.search(value) if value is not None and value.startswith(_MARKED_START) else None
        return None if found is None else Number(int(found[1]), int(found[2]))
    for mark, names in _MARKS.items():
        if texts.get(mark) == b"true":
            epoch, sequence = (texts.get(name, b"") for name in names)
            return (
                Number(int(epoch), int(sequence)) if _DIGITS.fullmatch(epoch) and _DIGITS.fullmatch(sequence) else None
            )
    return None
