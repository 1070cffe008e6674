"""Events that trip careless readers, as the raw bytes that go out. Pure.

Each is one or more blocks that a right reader makes exactly one event of; ``right_reader`` says which.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

Render = Callable[[str, int], bytes]
"""(id, size) to the bytes."""

_NAME = "content"


class Poisoning(NamedTuple):
    """One kind. ``size`` is in its own unit: bytes, lines, levels, digits."""

    render: Render
    size: int = 0


def _block(event_id: str, data: bytes, *more: bytes, name: bytes = _NAME.encode()) -> bytes:
    return b"\n".join([b"id: " + event_id.encode(), b"event: " + name, *more, b"data: " + data, b"", b""])


def _saying(content: str) -> bytes:
    return json.dumps({"type": _NAME, "content": content}, ensure_ascii=False).encode()


def _with_id(raw_id: bytes) -> bytes:
    return b"id: %b\nevent: content\ndata: %b\n\n" % (raw_id, _saying("an odd id"))


def _many_lines(event_id: str, size: int) -> bytes:
    blanks = b"\ndata: " * max(0, size - 2)
    return _block(event_id, b'{"type": "content",' + blanks + b'\ndata: "content": "many lines"}')


def _line_ends(event_id: str, _: int) -> bytes:
    mixed = b"id: %b\r\nevent: content\rdata: {\r\ndata: %b\n\r\n" % (event_id.encode(), _saying("mixed")[1:])
    return b": all three line ends\r\r" + mixed


def _odd_fields(event_id: str, _: int) -> bytes:
    odd = (b"retry: 3x", b"retry: -5", b"\xef\xbb\xbfdata: no data", b"DATA: no data", b" data: no data", b"colonless")
    return _block(event_id, _saying("odd fields"), *odd, b": a comment", b"unknown: field")


def _id_only(event_id: str, _: int) -> bytes:
    """The event comes first: a reader that resumes from the lonely id behind it misses nothing."""
    return _block(event_id, _saying("before a block with only an id")) + b"id: %b-only\n\n" % event_id.encode()


POISONS: Mapping[str, Poisoning] = {
    "bad_utf8": Poisoning(
        lambda i, _: _block(i, b'{"type":"content","content":"\xff\xfe \xc3( \xe2\x82 \xed\xa0\x80"}')
    ),
    "bad_utf8_name": Poisoning(lambda i, _: _block(i, _saying("a bad name"), name=b"con\xfftent")),
    "bad_json": Poisoning(lambda i, _: _block(i, b'{"type":"content","content":"never ends')),
    "huge": Poisoning(lambda i, n: _block(i, _saying("x" * max(1, n - len(_saying(""))))), 20_000_000),
    "many_lines": Poisoning(_many_lines, 1_000_000),
    "deep_json": Poisoning(
        lambda i, n: _block(i, b'{"type":"content","content":' + b"[" * n + b"]" * n + b"}"), 100_000
    ),
    "huge_number": Poisoning(
        lambda i, n: _block(i, b'{"type":"content","content":"n","n":%b,"e":1e%b}' % (b"9" * n, b"9" * 9)), 5000
    ),
    "duplicate_keys": Poisoning(lambda i, _: _block(i, b'{"type":"content","content":"one","content":"two"}')),
    "lone_surrogate": Poisoning(lambda i, _: _block(i, rb'{"type":"content","content":"\ud800 \udfff"}')),
    "nul_data": Poisoning(lambda i, _: _block(i, b'{"type":"content","content":"a\0b"}')),
    "empty_data": Poisoning(lambda i, _: b"id: %b\nevent: content\ndata\n\n" % i.encode()),
    "not_an_object": Poisoning(lambda i, _: _block(i, b'"content"')),
    "no_name": Poisoning(lambda i, _: b"id: %b\ndata: %b\n\n" % (i.encode(), _saying("no name"))),
    "long_name": Poisoning(lambda i, n: _block(i, _saying("a long name"), name=b"n" * n), 10_000),
    "line_ends": Poisoning(_line_ends),
    "odd_fields": Poisoning(_odd_fields),
    "no_id": Poisoning(lambda _, __: b"event: content\ndata: %b\n\n" % _saying("no id")),
    "id_only": Poisoning(_id_only),
    "empty_id": Poisoning(lambda _, __: _with_id(b"")),
    "nul_id": Poisoning(lambda i, _: _with_id(b"%b\0" % i.encode())),
    "crlf_id": Poisoning(lambda i, _: _with_id(b"%b\r\ninjected" % i.encode())),
    "blank_id": Poisoning(lambda i, _: _with_id(b" %b" % i.encode())),
    "control_id": Poisoning(lambda i, _: _with_id(b"\x01%b\x7f" % i.encode())),
    "unicode_id": Poisoning(lambda i, _: _with_id(f"größer als {i} 事".encode())),
    "long_id": Poisoning(lambda i, n: _with_id(i.encode() + b"-" + b"9" * n), 100_000),
}
"""All kinds by name, with the size they have when none is given."""


def poison(kind: str, event_id: str, size: int | None = None) -> bytes:
    """The raw bytes of one; KeyError for an unknown kind."""
    render, usual = POISONS[kind]
    return render(event_id, usual if size is None else size)
