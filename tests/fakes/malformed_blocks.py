"""Malformed and unusual events, each with the event or dead letter that it must become."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.fakes.faulty_feed import Sent

MIB = 2**20
KEPT = 64 * 1024
"""Bytes of oversize data in a dead letter that its topic does not take whole."""
WHOLE = 1_000_000
"""Below this size the dead-letters topic takes the data whole, with headers and key: 1,048,588 bytes by default."""
OVERSIZE = "oversize"


def event(id_: str, data: bytes, **more: Any) -> Sent:
    """Return one event. ``data`` is what is sent; ``meant``, if given, is what a client must dispatch."""
    name, meant = more.pop("name", "content"), more.pop("meant", data)
    wire = more.pop("wire", None) or b"id: %b\nevent: %b\ndata: %b\n\n" % (id_.encode(), name.encode(), data)
    return Sent(wire, id_, name, meant, **more)


def content(text: str) -> bytes:
    """Return the data of a valid ``content`` event."""
    return json.dumps({"type": "content", "content": text}, ensure_ascii=False).encode()


def with_more(more: bytes) -> bytes:
    """Return the data of a valid ``content`` event with one more member."""
    return b'{"type":"content","content":"x","more":%b}' % more


def bad_utf8() -> Iterator[Sent]:
    """Yield bytes that are not UTF-8, in data, names and ids: U+FFFD replaces them as the standard requires."""
    for wrong, read in (
        (b"\xff", 1),
        (b"\xc3(", 1),
        (b"\xe2\x82", 1),
        (b"\xed\xa0\x80", 3),
        (b"\xf0\x9f\x98", 1),
        (b"\xc0\xaf", 2),
    ):
        rest = b"(" if wrong.endswith(b"(") else b""
        yield event(
            f"u{wrong.hex()}", with_more(b'"%b"' % wrong), meant=with_more(b'"%b%b"' % ("\ufffd".encode() * read, rest))
        )
    yield event("un", content("name"), name="n\ufffd", wire=b"id: un\nevent: n\xff\ndata: %b\n\n" % content("name"))
    yield event("u\ufffd", content("id"), wire=b"id: u\xff\nevent: content\ndata: %b\n\n" % content("id"))


def bad_json() -> Iterator[Sent]:
    """Yield data that looks like JSON and is not, and data that does not look like JSON and is."""
    broken = (
        b"", b"{", b"nothing", b'{"type":"content","content":"a" "b"}', b'{"type":"content","content":"\\x"}',
        b'{"type":"content","content":NaN}', b'{"type":"content","content":"x","n":Infinity}', b"{} {}",
        b'{"type":"content","content":"x","n":01}', b'{"type":"content","content":"x\0y"}', b"'single'",
        b'{"type":"content","content":"x",}', b"\xef\xbb\xbf{}", b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 501 + b"]" * 501,
    )  # fmt: skip
    for number, data in enumerate(broken):
        yield event(f"b{number}", data, reason="invalid_json")
    for number, more in enumerate(
        (
            b"1e400", b"-0", b"1E+9999999", b"9" * 5000, b"0." + b"9" * 100_000, b"1.0000000000000000000000001",
            b"[1e-400]", b"[" * 400 + b"]" * 400, b'{"a":1,"a":2,"a":3}', b'"\\ud800"', b'"\\u0000"',
            '"\u2028\u2029\u0085\ufeff\U0010ffff"'.encode(), b'"\x7f"', b'""', b" \t [ ] ",
        )
    ):  # fmt: skip
        yield event(f"j{number}", with_more(more))
    yield event("jd", b'{"type":"content","type":"content","content":"1","content":"2"}')
    for number, data in enumerate((b"{}", b"[]", b"null", b"7", b'"text"', b'{"type":"content","content":7}')):
        yield event(f"s{number}", data, reason="schema")


def unusual_framing() -> Iterator[Sent]:
    """Yield line ends, lines and fields of every kind."""
    text = content("lines")
    yield event("f1", text, wire=b"id: f1\r\nevent: content\r\ndata: %b\r\n\r\n" % text)
    yield event("f2", text, wire=b"id: f2\revent: content\rdata: %b\r\r" % text)
    yield event("f3", text, wire=b"id: f3\nevent: content\rdata: %b\r\n\n" % text)
    yield event("f4", text, wire=b"id:f4\nevent:content\ndata:%b\nretry: 99999999999999999999\nretry: -1\n\n" % text)
    yield event(
        "f5", text, wire=b"DATA: x\nnonsense\n data: x\n: c\nid: f5\nevent: content\ndata: %b\nid2: 7\n\n" % text
    )
    yield event("f6", text, wire=b"event: wrong\nid: wrong\nid: f6\nevent: content\ndata: %b\n\n" % text)
    yield event(
        "f7",
        b'{"type":\n"content",\n"content":"x"}',
        wire=b'id: f7\nevent: content\ndata:{"type":\ndata:"content",\ndata: "content":"x"}\n\n',
    )
    yield event("f8", b"{}", name="message", wire=b"id: f8\nevent:\ndata: {}\n\n")
    yield event("f9", b"\n", reason="invalid_json", wire=b"id: f9\nevent: content\ndata\ndata\n\n")
    yield Sent(b"\n\n\r\n\r: only a comment\n\n", None, None, b"")
    yield Sent(b"id: f10\n\n", "f10", None, b"")
    yield Sent(b'id: f11\nevent: heartbeat\ndata: {"type":"heartbeat"}\n\n', "f11", None, b"")
    yield event("f12", b"{}", name="\U0001f4a5 \x1b[2J")
    yield event("f13", b"{}", name="n" * 5000)
    yield event(
        "f14", b"{}", name="n" * 8192, reason=OVERSIZE, wire=b"id: f14\nevent: %b\ndata: {}\n\n" % (b"n" * 100_000)
    )


def unusual_ids() -> Iterator[Sent]:
    """Yield ids that are ignored, and unusual ids that an HTTP header can contain."""
    yield Sent(b"id: a\0b\nevent: content\ndata: %b\n\n" % content("NUL"), None, "content", content("NUL"))
    yield Sent(b"id: i1\nid: \0\nevent: content\ndata: %b\n\n" % content("two"), "i1", "content", content("two"))
    for id_ in (
        "007",
        "-1",
        "1e3",
        "a:b,c;d=\"e\" 'f' %00 \\",
        "\u043a\u043b\u044e\u0447/\U0001f511",
        "x" * 8000,
        "tab\tin it",
    ):
        yield event(id_, content(f"id {id_[:20]}"))


def giants(size: int) -> Iterator[Sent]:
    """Yield events of this size in one line and in a million lines, and comments and fields of this size."""
    yield giant("g1", size)
    wide = '{"type":"content","content":"' + "\u20ac" * (size // 3)
    yield oversize("g2", wide.encode())
    yield oversize("g3", b"\n".join([b"x"] * 1_000_000), b"data:x\n" * 1_000_000)
    yield oversize("g4", b"\n" * 999_999, b"data\n" * 1_000_000)
    blanks = b'{"type":"content",\n' + b"\n" * 800_000 + b'"content":"x"}'
    yield event(
        "g5",
        blanks,
        wire=b'id: g5\nevent: content\ndata:{"type":"content",\n%bdata:"content":"x"}\n\n' % (b"data\n" * 800_000),
    )
    # Ignored lines do not count. An id or a retry of this size makes the block too large, and its event a dead letter.
    for number, (line, reason) in enumerate(
        ((b": %b", None), (b"what: %b", None), (b"%b", None), (b"id: a\0%b", OVERSIZE), (b"retry: x%b", OVERSIZE))
    ):
        data = content(f"beside {number}")
        wire = b"%b\nid: h%d\nevent: content\ndata: %b\n\n" % (line % (b"c" * size), number, data)
        yield event(f"h{number}", data, reason=reason, wire=wire)
    yield event("i1", with_more(b'"%b"' % (b"j" * (890 * 1024))))
    yield oversize("i2", with_more(b'"%b"' % (b"m" * (901 * 1024))))
    yield oversize("i3", b"n" * (901 * 1024))


def giant(id_: str, size: int) -> Sent:
    """Return a valid event of this many bytes in one line."""
    return oversize(id_, with_more(b'"%b"' % (b"x" * size)))


def giants_in_a_row(size: int, count: int) -> Iterator[Sent]:
    """Yield valid events of this many bytes, each followed by an ordinary one."""
    data = with_more(b'"%b"' % (b"x" * size))
    block = b"event: content\ndata: %b\n" % data
    for number in range(count):
        yield event(
            f"g{number}",
            data,
            wire=b"id: g%d\n\n" % number,
            meant=data[:KEPT],
            reason=OVERSIZE,
            full=data,
            before=block,
        )
        yield event(f"s{number}", content(f"{number}"))


def oversize(id_: str, data: bytes, lines: bytes | None = None) -> Sent:
    """Return an event that becomes a dead letter: whole where its topic takes it, else its beginning."""
    kept = data if len(data) < WHOLE else data[:KEPT].decode("utf-8", "ignore").encode()
    wire = b"id: %b\nevent: content\n%b\n" % (id_.encode(), lines or b"data: %b\n" % data)
    return event(id_, data, meant=kept, reason=OVERSIZE, wire=wire, full=data)


def unsendable_ids() -> Iterator[Sent]:
    """Yield ids that no HTTP header can contain unchanged."""
    for number, id_ in enumerate(("\x01", " leading", "trailing ", "\x7f", "a\x0bb", "\x1b[2J")):
        data = content(f"unsendable {number}")
        yield event(id_, data, wire=b"id:%b\nevent: content\ndata: %b\n\n" % (b" " + id_.encode(), data))


def long_ids() -> Iterator[Sent]:
    """Yield ids that servers refuse in a header. Above 8 KiB the event becomes a dead letter, whose header is cut."""
    for size, reason in ((8 * 1024, None), (9000, OVERSIZE), (60_000, OVERSIZE), (1_000_000, OVERSIZE)):
        yield event("x" * size, content(f"id of {size}"), reason=reason)
