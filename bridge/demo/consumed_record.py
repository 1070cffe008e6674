"""A record as a consumer understands it that knows nothing but the description of the records. Pure.

None of the bridge's own code is used here: what the demo counts must not be what the bridge believes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_DECODER = json.JSONDecoder()
_BLANKS = " \t\r\n"
_STRUCTURED = b"application/cloudevents+json"
_TYPE_PREFIX = "mix."

Headers = Sequence[tuple[str, bytes | None]]


class ConsumedRecord(NamedTuple):
    """One event as it arrived: from the events topic, or from the dead letters."""

    session: str
    event: str
    """The SSE event name."""
    id: str
    """The SSE id; empty when it has none."""
    epoch: int
    sequence: int
    data: bytes
    """The server's data, byte for byte."""
    dead_letter: str = ""
    """The reason when it is a dead letter."""


class NotUnderstood(ValueError):
    """A record that is not as described."""


def understand(key: bytes | None, value: bytes | None, headers: Headers) -> ConsumedRecord:
    """Read a structured CloudEvent or a dead letter; raises NotUnderstood for anything else."""
    named = {name: text or b"" for name, text in headers}
    try:
        _, _, session = (key or b"").decode().partition("/")
        if "bridge.reason" in named:
            return _dead_letter(session, value or b"", named)
        if not named.get("content-type", b"").startswith(_STRUCTURED):
            raise NotUnderstood("neither a structured CloudEvent nor a dead letter")
        return _structured(session, (value or b"").decode())
    except (ValueError, KeyError, IndexError, RecursionError) as wrong:
        raise NotUnderstood(f"{type(wrong).__name__}: {wrong}") from wrong


def _dead_letter(session: str, value: bytes, headers: dict[str, bytes]) -> ConsumedRecord:
    return ConsumedRecord(
        session,
        headers["bridge.event"].decode(),
        headers["bridge.last_event_id"].decode(),
        int(headers["bridge.epoch"]),
        int(headers["bridge.sequence"]),
        value,
        headers["bridge.reason"].decode(),
    )


def _structured(session: str, envelope: str) -> ConsumedRecord:
    members = dict(_members(envelope))
    told = {name: json.loads(text) for name, text in members.items() if name != "data"}
    data = members["data"]
    if told["datacontenttype"] != "application/json":
        data = json.loads(data)  # text that is no JSON stands in the envelope as a JSON string
    return ConsumedRecord(
        session,
        told["type"].removeprefix(_TYPE_PREFIX),
        told.get("sseid", ""),
        int(told["epoch"]),
        int(told["sequence"]),
        data.encode(),
    )


def _members(envelope: str) -> Iterator[tuple[str, str]]:
    """The members of a JSON object, each value as the very text that stands there.

    Parsing and writing the data again would hide what was done to it: order, escapes, numbers, blanks.
    """
    at = _past_blanks(envelope, 0)
    while envelope[at] in "{,":
        name, at = _DECODER.raw_decode(envelope, _past_blanks(envelope, at + 1))
        start = _past_blanks(envelope, _past_blanks(envelope, at) + 1)  # past the colon
        _, end = _DECODER.raw_decode(envelope, start)
        at = _past_blanks(envelope, end)
        yield name, envelope[start:end]
    if envelope[at] != "}":
        raise NotUnderstood("the envelope is no JSON object")


def _past_blanks(text: str, at: int) -> int:
    while text[at] in _BLANKS:
        at += 1
    return at
