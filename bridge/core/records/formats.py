"""The three forms of an event record: CloudEvents 1.0 structured and binary (Kafka protocol binding 1.0.2), and raw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json.encoder import encode_basestring as json_string
from urllib.parse import quote

from bridge.core.identity import SessionKey
from bridge.core.records.headers import Headers, event_headers, sequence_text
from bridge.core.stream.event import Event

STRUCTURED_HEADERS: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_JSON, _TEXT = "application/json", "text/plain"


class Names:
    """The attributes that all events of one name in one session share. Immutable: any thread reads them."""

    __slots__ = ("binary", "json_start", "key", "text_start")

    def __init__(self, key: SessionKey, name: str, type_prefix: str) -> None:
        self.key = key
        source = f"/mix/{quote(key.server, safe='')}/sessions/{quote(key.session_id, safe='')}"
        start = (
            f'{{"specversion":"1.0","source":{json_string(source)},"type":{json_string(type_prefix + name)},'
            f'"subject":{json_string(key.session_id)},"datacontenttype":"'
        )
        self.json_start = f'{start}{_JSON}","id":"'
        self.text_start = f'{start}{_TEXT}","id":"'
        self.binary: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_source", source.encode()),
            ("ce_type", f"{type_prefix}{name}".encode()),
            ("ce_subject", key.session_id.encode()),
        ]


Writer = Callable[[Names, Event, str, int, str, bool], tuple[bytes, Headers]]
"""(names, event, epoch in 10 digits, sequence, time, whether the data is JSON) -> value and headers."""


def structured(  # noqa: PLR0913, PLR0917 - a Writer, called by position
    names: Names,
    event: Event,
    epoch: str,
    sequence: int,
    time: str,
    is_json: bool,  # noqa: FBT001
) -> tuple[bytes, Headers]:
    """The JSON envelope. JSON data is embedded unchanged: parsing and encoding it would alter it."""
    number = f"{epoch}:{sequence:012}"  # `sequence_text`: a call for each event would cost 0.1 us
    own_id = "" if event.id is None else f',"sseid":{json_string(event.id)}'
    start, data = (names.json_start, event.data) if is_json else (names.text_start, json_string(event.data))
    envelope = f'{start}{number}","time":"{time}","sequence":"{number}","epoch":"{epoch}"{own_id},"data":{data}}}'
    return envelope.encode(), STRUCTURED_HEADERS


def binary(  # noqa: PLR0913, PLR0917 - a Writer, called by position
    names: Names,
    event: Event,
    epoch: str,
    sequence: int,
    time: str,
    is_json: bool,  # noqa: FBT001
) -> tuple[bytes, Headers]:
    """The data itself, attributes as ``ce_`` headers in UTF-8."""
    number = sequence_text(epoch, sequence).encode()
    headers = [
        *names.binary,
        ("ce_id", number),
        ("ce_time", time.encode()),
        ("ce_sequence", number),
        ("ce_epoch", epoch.encode()),
        ("content-type", (_JSON if is_json else _TEXT).encode()),
    ]
    if event.id is not None:
        headers.append(("ce_sseid", event.id.encode()))
    return event.data.encode(), headers


def raw(
    names: Names,
    event: Event,
    epoch: str,
    sequence: int,
    _time: str,
    _is_json: bool,  # noqa: FBT001
) -> tuple[bytes, Headers]:
    """The data itself, with ``bridge.*`` headers for its origin."""
    data = event.data.encode()
    return data, event_headers(names.key, event, data, int(epoch), sequence)


WRITERS: Mapping[str, Writer] = {"structured": structured, "binary": binary, "raw": raw}
