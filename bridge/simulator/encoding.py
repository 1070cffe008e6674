"""Encodes an event as a block of an event stream and blocks as HTTP chunks, and parses a stream. Pure.

The parser is written from the standard (WHATWG HTML, section 9.2.6), independently of the bridge's own: the journal of
raw events is made with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

EVENT_STREAM_TYPE = "text/event-stream"
LAST_CHUNK = b"0\r\n\r\n"
_LINE_END = re.compile(rb"\r\n|\n|\r")


def event_block(name: str, data: bytes, event_id: str | None = None, retry_ms: int | None = None) -> bytes:
    """Encode one complete block of an event stream (WHATWG HTML, section 9.2.5): id, event, retry, data.

    ``data`` may have several lines, separated by LF. It must not contain CR, which the format cannot carry.
    """
    lines = [b"event: " + name.encode(), b"data: " + data.replace(b"\n", b"\ndata: "), b"", b""]
    if retry_ms is not None:
        lines.insert(1, b"retry: %d" % retry_ms)
    if event_id is not None:
        lines.insert(0, b"id: " + event_id.encode())
    return b"\n".join(lines)


def http_chunk(payload: bytes) -> bytes:
    """Encode ``payload`` as one chunk of the chunked transfer coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def http_chunks(blocks: list[bytes], per_chunk: int) -> list[bytes]:
    """Encode the blocks as chunks of up to ``per_chunk`` blocks each."""
    return [http_chunk(b"".join(blocks[at : at + per_chunk])) for at in range(0, len(blocks), per_chunk)]


def payload_of(chunk: bytes) -> bytes:
    """Return the payload of a chunk that ``http_chunk`` made."""
    return chunk[chunk.index(b"\r\n") + 2 : -2]


class Dispatched(NamedTuple):
    """One event as a client dispatches it."""

    id: str | None
    """The id in its own block; None without one."""
    event: str
    data: bytes


def dispatched(raw: bytes) -> list[Dispatched]:
    """Return the events of complete blocks. A block that no empty line ends is discarded."""
    return list(_events(_LINE_END.split(raw)[:-1]))


def _events(lines: list[bytes]) -> Iterator[Dispatched]:
    event_id, name, data = None, "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Dispatched(event_id, name or "message", "\n".join(data).encode())
            event_id, name, data = None, "", []
            continue
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode(errors="replace")
        if field == b"data":
            data.append(text)
        elif field == b"event":
            name = text
        elif field == b"id" and "\0" not in text:
            event_id = text
