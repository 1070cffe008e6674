"""Reads a record as a consumer that knows only the description of the records. Pure.

It uses none of the bridge's code: an error of the bridge's encoder must not hide itself in the demo's comparison.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_DECODER = json.JSONDecoder()
_STRUCTURED = b"application/cloudevents+json"
_TYPE_PREFIX = "mix."
_SEQUENCE = re.compile("[0-9]{10}:[0-9]{12}")

Headers = Sequence[tuple[str, bytes | None]]


class ConsumedRecord(NamedTuple):
    """One event as it arrived, from the events topic or from the dead letters."""

    session: str
    event: str
    """The SSE event name."""
    id: str
    """The SSE id; empty without one."""
    sequence: str
    """``<epoch>:<number>``: strings compare in the order of the events."""
    data: bytes
    """The server's data, byte for byte."""
    dead_letter: str = ""
    """The reason, if it is a dead letter."""


class NotUnderstood(ValueError):
    """A record that is not as described."""


def understand(key: bytes | None, value: bytes | None, headers: Headers) -> ConsumedRecord:
    """Read a structured CloudEvent or a dead letter. Raises NotUnderstood for anything else."""
    by_name = {name: content or b"" for name, content in headers}
    try:
        _, _, session = (key or b"").decode().partition("/")
        if "bridge.reason" in by_name:
            return _dead_letter(session, value or b"", by_name)
        if not by_name.get("content-type", b"").startswith(_STRUCTURED):
            raise NotUnderstood("neither a structured CloudEvent nor a dead letter")
        return _structured(session, (value or b"").decode())
    except (ValueError, KeyError, IndexError, RecursionError) as failure:
        raise NotUnderstood(f"{type(failure).__name__}: {failure}") from failure


def _dead_letter(session: str, value: bytes, headers: dict[str, bytes]) -> ConsumedRecord:
    event, event_id, reason = (headers[f"bridge.{name}"].decode() for name in ("event", "last_event_id", "reason"))
    sequence = _checked(headers["bridge.sequence"].decode(), headers["bridge.epoch"].decode())
    return ConsumedRecord(session, event, event_id, sequence, value, reason)


def _structured(session: str, envelope: str) -> ConsumedRecord:
    members = dict(_members(envelope))
    data = members.pop("data")
    attributes = {name: json.loads(text) for name, text in members.items()}
    if attributes["datacontenttype"] != "application/json":
        data = json.loads(data)  # data that is not JSON is a JSON string in the envelope
    event = attributes["type"].removeprefix(_TYPE_PREFIX)
    sequence = _checked(str(attributes["sequence"]), str(attributes["epoch"]))
    return ConsumedRecord(session, event, attributes.get("sseid", ""), sequence, data.encode())


def _checked(sequence: str, epoch: str) -> str:
    if not _SEQUENCE.fullmatch(sequence) or not sequence.startswith(f"{epoch}:"):
        raise NotUnderstood(f"sequence {sequence!r} in epoch {epoch!r}")
    return sequence


def _members(envelope: str) -> Iterator[tuple[str, str]]:
    """Yield the members of a JSON object, each value as its exact text.

    Parsing and encoding the data again would hide changes: order, escapes, numbers, whitespace.
    """
    at = _after_whitespace(envelope, 0)
    while envelope[at] in "{,":
        name, at = _DECODER.raw_decode(envelope, _after_whitespace(envelope, at + 1))
        start = _after_whitespace(envelope, _after_whitespace(envelope, at) + 1)  # after the colon
        _, end = _DECODER.raw_decode(envelope, start)
        at = _after_whitespace(envelope, end)
        yield name, envelope[start:end]
    if envelope[at] != "}":
        raise NotUnderstood("the envelope is not a JSON object")


def _after_whitespace(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at
