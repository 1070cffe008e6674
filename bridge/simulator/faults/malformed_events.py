"""Malformed and unusual events that careless clients read wrong, as raw bytes. Pure.

Each is one or more blocks of which a client that follows the standard dispatches exactly one event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

Render = Callable[[str, int], bytes]
"""From the id and the size to the bytes. The size is in the unit of the kind: bytes, lines, levels, digits."""

_NAME = "content"


def _block(event_id: str, data: bytes, *more: bytes, name: bytes = _NAME.encode()) -> bytes:
    return b"\n".join([b"id: " + event_id.encode(), b"event: " + name, *more, b"data: " + data, b"", b""])


def _content(content: str) -> bytes:
    return json.dumps({"type": _NAME, "content": content}, ensure_ascii=False).encode()


def _with_id(raw_id: bytes) -> bytes:
    return b"id: %b\nevent: content\ndata: %b\n\n" % (raw_id, _content("an odd id"))


def _many_lines(event_id: str, size: int) -> bytes:
    blanks = b"\ndata: " * max(0, size - 2)
    return _block(event_id, b'{"type": "content",' + blanks + b'\ndata: "content": "many lines"}')


def _line_ends(event_id: str, _: int) -> bytes:
    mixed = b"id: %b\r\nevent: content\rdata: {\r\ndata: %b\n\r\n" % (event_id.encode(), _content("mixed")[1:])
    return b": all three line ends\r\r" + mixed


def _odd_fields(event_id: str, _: int) -> bytes:
    odd = (b"retry: 3x", b"retry: -5", b"\xef\xbb\xbfdata: no data", b"DATA: no data", b" data: no data", b"colonless")
    return _block(event_id, _content("odd fields"), *odd, b": a comment", b"unknown: field")


def _id_only(event_id: str, _: int) -> bytes:
    """The event is first: a client that resumes from the id in the second block misses nothing."""
    return _block(event_id, _content("before a block with only an id")) + b"id: %b-only\n\n" % event_id.encode()


MALFORMED_EVENTS: Mapping[str, Render] = {
    "bad_utf8": lambda i, _: _block(i, b'{"type":"content","content":"\xff\xfe \xc3( \xe2\x82 \xed\xa0\x80"}'),
    "bad_utf8_name": lambda i, _: _block(i, _content("a bad name"), name=b"con\xfftent"),
    "bad_json": lambda i, _: _block(i, b'{"type":"content","content":"never ends'),
    "huge": lambda i, n: _block(i, _content("x" * max(1, n - len(_content(""))))),
    "many_lines": _many_lines,
    "deep_json": lambda i, n: _block(i, b'{"type":"content","content":' + b"[" * n + b"]" * n + b"}"),
    "huge_number": lambda i, n: _block(i, b'{"type":"content","content":"n","n":%b,"e":1e%b}' % (b"9" * n, b"9" * 9)),
    "duplicate_keys": lambda i, _: _block(i, b'{"type":"content","content":"one","content":"two"}'),
    "lone_surrogate": lambda i, _: _block(i, rb'{"type":"content","content":"\ud800 \udfff"}'),
    "nul_data": lambda i, _: _block(i, b'{"type":"content","content":"a\0b"}'),
    "empty_data": lambda i, _: b"id: %b\nevent: content\ndata\n\n" % i.encode(),
    "not_an_object": lambda i, _: _block(i, b'"content"'),
    "no_name": lambda i, _: b"id: %b\ndata: %b\n\n" % (i.encode(), _content("no name")),
    "long_name": lambda i, n: _block(i, _content("a long name"), name=b"n" * n),
    "line_ends": _line_ends,
    "odd_fields": _odd_fields,
    "no_id": lambda _, __: b"event: content\ndata: %b\n\n" % _content("no id"),
    "id_only": _id_only,
    "empty_id": lambda _, __: _with_id(b""),
    "nul_id": lambda i, _: _with_id(b"%b\0" % i.encode()),
    "crlf_id": lambda i, _: _with_id(b"%b\r\ninjected" % i.encode()),
    "blank_id": lambda i, _: _with_id(b" %b" % i.encode()),
    "control_id": lambda i, _: _with_id(b"\x01%b\x7f" % i.encode()),
    "unicode_id": lambda i, _: _with_id(f"größer als {i} 事".encode()),
    "long_id": lambda i, n: _with_id(i.encode() + b"-" + b"9" * n),
}
"""All kinds by name."""
_DEFAULT_SIZES = {
    "huge": 20_000_000,
    "many_lines": 1_000_000,
    "deep_json": 100_000,
    "huge_number": 5000,
    "long_name": 10_000,
    "long_id": 100_000,
}


def malformed_event(kind: str, event_id: str, size: int | None = None) -> bytes:
    """Return the raw bytes of one event. KeyError for an unknown kind."""
    return MALFORMED_EVENTS[kind](event_id, _DEFAULT_SIZES.get(kind, 0) if size is None else size)
