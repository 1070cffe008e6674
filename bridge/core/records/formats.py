"""The three forms of an event record: CloudEvents 1.0 structured and binary (Kafka protocol binding 1.0.2), and raw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from json.encoder import encode_basestring as json_string
from urllib.parse import quote

from bridge.core.identity import SessionKey
from bridge.core.records.record import Headers, event_headers, sequence_text
from bridge.core.stream.event import Event

STRUCTURED_HEADERS: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
_JSON, _TEXT = "application/json", "text/plain"
TRACE_HEADER = "traceparent"
_TRACE_BYTES, _SPAN_BYTES = 16, 8
SCHEMA_ID_HEADER = "__value_schema_id"
"""The header in which Confluent's serializers put the id of a value's schema."""
_TWELVE_DIGITS = 10**12


class Described:
    """Where the schema of an event's data is: the attribute ``dataschema``, and the id in a schema registry."""

    __slots__ = ("attributes", "headers", "member")

    def __init__(self, dataschema: str = "", schema_id: bytes = b"") -> None:
        """``schema_id``: the value of the header; both may be empty."""
        self.member = f',"dataschema":{json_string(dataschema)}' if dataschema else ""
        self.attributes: Headers = [("ce_dataschema", dataschema.encode())] if dataschema else []
        self.headers: Headers = [(SCHEMA_ID_HEADER, schema_id)] if schema_id else []


NOT_DESCRIBED = Described()


class Names:
    """The attributes that all events of one name in one session share. Immutable: any thread reads them."""

    __slots__ = ("binary", "json_start", "key", "raw", "text_start")

    def __init__(self, key: SessionKey, name: str, type_prefix: str, described: Described = NOT_DESCRIBED) -> None:
        self.key = key
        self.raw = described.headers
        source = f"/mix/{quote(key.server, safe='')}/sessions/{quote(key.session_id, safe='')}"
        start = (
            f'{{"specversion":"1.0","source":{json_string(source)},"type":{json_string(type_prefix + name)},'
            f'"subject":{json_string(key.session_id)}{described.member},"datacontenttype":"'
        )
        self.json_start = f'{start}{_JSON}","id":"'
        self.text_start = f'{start}{_TEXT}","id":"'
        self.binary: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_source", source.encode()),
            ("ce_type", f"{type_prefix}{name}".encode()),
            ("ce_subject", key.session_id.encode()),
            *described.attributes,
            *described.headers,
        ]


Writer = Callable[[Names, Event, str, int, str, bool], tuple[bytes, Headers]]
"""(names, event, epoch in 10 digits, sequence, time, whether the data is JSON) -> value and headers."""
_Rest = tuple[str, bool]
"""Time, and whether the data is JSON."""


def structured(  # noqa: PLR0913, PLR0917 - a Writer, called by position
    names: Names,
    event: Event,
    epoch: str,
    sequence: int,
    time: str,
    is_json: bool,  # noqa: FBT001
    extension: str = "",
) -> tuple[bytes, Headers]:
    """The JSON envelope. JSON data is embedded unchanged: parsing and encoding it would alter it."""
    _, data, own_id, _, _, _ = event  # each attribute of a NamedTuple costs as much
    # `sequence_text`, without a call for each event, and without a format, which costs 0.07 us more.
    number = f"{epoch}:{str(_TWELVE_DIGITS + sequence)[1:]}"
    sse_id = "" if own_id is None else f',"sseid":{json_string(own_id)}'
    start, data = (names.json_start, data) if is_json else (names.text_start, json_string(data))
    return (
        f'{start}{number}","time":"{time}","sequence":"{number}","epoch":"{epoch}"{sse_id}{extension},"data":{data}}}'
    ).encode(), STRUCTURED_HEADERS


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


def raw(names: Names, event: Event, epoch: str, sequence: int, *_: object) -> tuple[bytes, Headers]:
    """The data itself, with ``bridge.*`` headers for its origin."""
    data = event.data.encode()
    headers = event_headers(names.key, event, data, int(epoch), sequence)
    return data, headers + names.raw if names.raw else headers


def traceparent(key: SessionKey, epoch: str, number: int) -> str:
    """The W3C trace context of one event: version 00, the trace id, the span id, and the flag *sampled*.

    All events of one epoch of a session are one trace; each event is one span. A repeat has the same value. The bridge
    sends no spans: the value lets a consumer's own spans refer to the event that caused them.

    ``epoch``: 10 digits. The ids are digests; one of zeros only, which is invalid, has a probability of 2**-64.
    """
    origin = f"{key}:{epoch}"
    trace = blake2b(origin.encode(), digest_size=_TRACE_BYTES).hexdigest()
    span = blake2b(f"{origin}:{number}".encode(), digest_size=_SPAN_BYTES).hexdigest()
    return f"00-{trace}-{span}-01"


def _traced_structured(names: Names, event: Event, epoch: str, sequence: int, *rest: *_Rest) -> tuple[bytes, Headers]:
    parent = traceparent(names.key, epoch, sequence)
    value, headers = structured(names, event, epoch, sequence, *rest, f',"{TRACE_HEADER}":"{parent}"')
    return value, [*headers, (TRACE_HEADER, parent.encode())]


def _traced(write: Writer, attribute: str | None) -> Writer:
    def write_traced(names: Names, event: Event, epoch: str, sequence: int, *rest: *_Rest) -> tuple[bytes, Headers]:
        value, headers = write(names, event, epoch, sequence, *rest)
        parent = traceparent(names.key, epoch, sequence).encode()
        headers.extend((name, parent) for name in (attribute, TRACE_HEADER) if name is not None)
        return value, headers

    return write_traced


WRITERS: Mapping[str, Writer] = {"structured": structured, "binary": binary, "raw": raw}
TRACED_WRITERS: Mapping[str, Writer] = {
    "structured": _traced_structured,
    "binary": _traced(binary, f"ce_{TRACE_HEADER}"),
    "raw": _traced(raw, None),
}
"""With the trace context, as the attribute of CloudEvents' extension for distributed tracing and as a plain header."""
