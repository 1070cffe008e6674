"""Malformed and unusual events that careless clients read wrong, as raw bytes. Pure.

Each is one or more blocks of which a client that follows the standard dispatches exactly one event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

Render = Callable[[str, int], bytes]
"""From the id and the size to the bytes."""

_NAME = "content"


class Malformation(NamedTuple):
    """One kind of malformed event. ``size`` is in the unit of the kind: bytes, lines, levels, digits."""

    render: Render
    size: int = 0


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


MALFORMED_EVENTS: Mapping[str, Malformation] = {
    "bad_utf8": Malformation(
        lambda i, _: _block(i, b'{"type":"content","content":"\xff\xfe \xc3( \xe2\x82 \xed\xa0\x80"}')
    ),
    "bad_utf8_name": Malformation(lambda i, _: _block(i, _content("a bad name"), name=b"con\xfftent")),
    "bad_json": Malformation(lambda i, _: _block(i, b'{"type":"content","content":"never ends')),
    "huge": Malformation(lambda i, n: _block(i, _content("x" * max(1, n - len(_content(""))))), 20_000_000),
    "many_lines": Malformation(_many_lines, 1_000_000),
    "deep_json": Malformation(
        lambda i, n: _block(i, b'{"type":"content","content":' + b"[" * n + b"]" * n + b"}"), 100_000
    ),
    "huge_number": Malformation(
        lambda i, n: _block(i, b'{"type":"content","content":"n","n":%b,"e":1e%b}' % (b"9" * n, b"9" * 9)), 5000
    ),
    "duplicate_keys": Malformation(lambda i, _: _block(i, b'{"type":"content","content":"one","content":"two"}')),
    "lone_surrogate": Malformation(lambda i, _: _block(i, rb'{"type":"content","content":"\ud800 \udfff"}')),
    "nul_data": Malformation(lambda i, _: _block(i, b'{"type":"content","content":"a\0b"}')),
    "empty_data": Malformation(lambda i, _: b"id: %b\nevent: content\ndata\n\n" % i.encode()),
    "not_an_object": Malformation(lambda i, _: _block(i, b'"content"')),
    "no_name": Malformation(lambda i, _: b"id: %b\ndata: %b\n\n" % (i.encode(), _content("no name"))),
    "long_name": Malformation(lambda i, n: _block(i, _content("a long name"), name=b"n" * n), 10_000),
    "line_ends": Malformation(_line_ends),
    "odd_fields": Malformation(_odd_fields),
    "no_id": Malformation(lambda _, __: b"event: content\ndata: %b\n\n" % _content("no id")),
    "id_only": Malformation(_id_only),
    "empty_id": Malformation(lambda _, __: _with_id(b"")),
    "nul_id": Malformation(lambda i, _: _with_id(b"%b\0" % i.encode())),
    "crlf_id": Malformation(lambda i, _: _with_id(b"%b\r\ninjected" % i.encode())),
    "blank_id": Malformation(lambda i, _: _with_id(b" %b" % i.encode())),
    "control_id": Malformation(lambda i, _: _with_id(b"\x01%b\x7f" % i.encode())),
    "unicode_id": Malformation(lambda i, _: _with_id(f"größer als {i} 事".encode())),
    "long_id": Malformation(lambda i, n: _with_id(i.encode() + b"-" + b"9" * n), 100_000),
}
"""All kinds by name, with their default size."""


def malformed_event(kind: str, event_id: str, size: int | None = None) -> bytes:
    """Return the raw bytes of one event. KeyError for an unknown kind."""
    render, default = MALFORMED_EVENTS[kind]
    return render(event_id, default if size is None else size)
