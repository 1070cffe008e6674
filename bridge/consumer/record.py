"""Reads a record of any of the bridge's formats as an `Event`. Pure.

It uses none of the code that writes records: an error there must not hide itself in the reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from confluent_kafka import Message

from bridge.consumer.envelope import split

Headers = Sequence[tuple[str, bytes | None]]

LIFECYCLE = "mix.bridge.session."
"""Prefix of the CloudEvents type of lifecycle records."""
_VERSION = "1.0"
_STRUCTURED = b"application/cloudevents+json"
_EPOCH, _NUMBER = re.compile("[0-9]{10}", re.ASCII), re.compile("[0-9]{1,12}", re.ASCII)


class NotAnEvent(ValueError):
    """A record that the bridge did not write, or that is no event; the message is one line without its data."""


class Where(NamedTuple):
    """The address of a record."""

    topic: str
    partition: int
    offset: int


def event_of(  # noqa: PLR0913 - the parts of a record
    where: Where | tuple[str, int, int],
    key: bytes | None,
    value: bytes | None,
    headers: Headers | None,
    *,
    type_prefix: str = "mix.",
    timestamp_ms: int = 0,
) -> Event:
    """Read an event, a dead letter or a lifecycle record in any format. Raises `NotAnEvent` for any other record.

    ``type_prefix``: the bridge's setting ``events.type_prefix``, removed from the type. ``timestamp_ms``: Kafka's
    timestamp, for a record without a time of its own.
    """
    if key is None:
        raise NotAnEvent("it has no key")
    if value is None:
        raise NotAnEvent("it has no value")
    named = {name: content or b"" for name, content in headers or ()}
    try:
        attributes, data = _attributes(value, named)
        return _event(Where(*where), _session(key), {"time": timestamp_ms, **attributes}, data, type_prefix)
    except NotAnEvent:
        raise
    except KeyError as missing:
        raise NotAnEvent(f"it has no {missing.args[0]}") from missing
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise NotAnEvent("it is not as docs/records.md describes") from error


def event_of_message(message: Message, type_prefix: str = "mix.") -> Event:
    """Read a message of a consumer that is no error, for programs that poll themselves. Raises `NotAnEvent`."""
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    named = [(name, _bytes(content)) for name, content in pairs]
    where = str(message.topic()), message.partition() or 0, message.offset() or 0
    key, value, timestamp_ms = _bytes(message.key()), _bytes(message.value()), message.timestamp()[1]
    return event_of(where, key, value, named, type_prefix=type_prefix, timestamp_ms=timestamp_ms)


def _bytes(content: str | bytes | None) -> bytes | None:
    return content.encode() if isinstance(content, str) else content


def _session(key: bytes) -> tuple[str, str]:
    server, slash, session = key.decode().partition("/")
    if not (server and slash and session):
        raise NotAnEvent("its key is not <server>/<session id>")
    return server, session


def _attributes(value: bytes, headers: Mapping[str, bytes]) -> tuple[Mapping[str, Any], bytes]:
    """Return the attributes under their CloudEvents names, and the data."""
    if headers.get("content-type", b"").startswith(_STRUCTURED):
        attributes, data = split(value)
        if data is None:
            raise KeyError("data")
        is_json = attributes.get("datacontenttype", "application/json") == "application/json"
        return attributes, data if is_json else str(json.loads(data)).encode()  # text is a JSON string in the envelope
    if "ce_specversion" in headers:
        return {name[3:]: text.decode() for name, text in headers.items() if name.startswith("ce_")}, value
    own = {name[7:]: text.decode() for name, text in headers.items() if name.startswith("bridge.")}
    if not own:
        raise NotAnEvent("it has neither the headers of a CloudEvent nor those of the bridge")
    names = {"event": "type", "received_at": "time", "last_event_id": "sseid"}
    return {names.get(name, name): text for name, text in own.items()}, value


def _event(where: Where, key: tuple[str, str], attributes: Mapping[str, Any], data: bytes, type_prefix: str) -> Event:
    if attributes.get("specversion", _VERSION) != _VERSION:
        raise NotAnEvent(f"it is no CloudEvent of version {_VERSION}")
    epoch, sequence = _sequence(attributes["epoch"], attributes["sequence"])
    event_id, kind, sse_id = attributes.get("id", sequence), attributes["type"], attributes.get("sseid")
    is_lifecycle = event_id.startswith(f"{sequence}:") and kind.startswith(LIFECYCLE)
    return Event(
        *key,
        kind if is_lifecycle else kind.removeprefix(type_prefix),
        epoch,
        int(sequence[11:]),
        sequence,
        event_id if is_lifecycle else sequence,
        _time(attributes["time"]),
        _text(sse_id),
        data,
        attributes.get("replayed") in (True, "true"),
        where.topic,
        where.partition,
        where.offset,
        _text(attributes.get("reason")),
        _text(attributes.get("error")),
    )


def _text(found: object) -> str | None:
    return None if found is None else str(found)


def _time(time: str | int) -> datetime:
    if isinstance(time, int):
        return datetime.fromtimestamp(time / 1000, UTC)
    return datetime.fromisoformat(time).astimezone(UTC)


def _sequence(epoch: str, sequence: str) -> tuple[int, str]:
    """Return the epoch and the text of the sequence. Version 1 of the bridge wrote the number without the epoch."""
    number = sequence.removeprefix(f"{epoch}:")
    if not (_EPOCH.fullmatch(epoch) and _NUMBER.fullmatch(number)):
        raise NotAnEvent("its epoch and sequence are not those of an event")
    return int(epoch), f"{epoch}:{int(number):012}"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, dead letter or lifecycle record. Thread rule: immutable."""

    server: str
    session: str
    type: str
    """The SSE event name, without the prefix of the CloudEvents type. Of a lifecycle record the whole CloudEvents type:
    ``mix.bridge.session.gap``."""
    epoch: int
    number: int
    sequence: str
    """``<epoch>:<number>`` in 10 and 12 digits: strings compare in the order of the session's events."""
    id: str
    """Equal to ``sequence``; a lifecycle record has a longer one, because it repeats the number that it follows."""
    time: datetime
    """When the bridge received it, in UTC. A repeat has its own."""
    sse_id: str | None
    """The event's own SSE id. A raw record or a dead letter has the last event id of the stream instead."""
    data: bytes
    """The server's data, byte for byte. Of a dead letter perhaps only its beginning."""
    replayed: bool
    """Whether ``mix-bridge dead-letters replay`` sent it."""
    topic: str
    partition: int
    offset: int
    dead_letter: str | None = None
    """The reason, if it is a dead letter: ``schema``, ``oversize``, ..."""
    error: str | None = None
    """What was wrong with it, on one line, if it is a dead letter."""

    @property
    def key(self) -> str:
        """The key of its record: ``<server>/<session id>``."""
        return f"{self.server}/{self.session}"

    @property
    def is_lifecycle(self) -> bool:
        """Whether it is a lifecycle record."""
        return self.id != self.sequence

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """Parse the data. Raises ValueError if it is not JSON."""
        return json.loads(self.data)
