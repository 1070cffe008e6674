"""Encodes an event as a block of an event stream, and blocks as HTTP chunks. Pure."""

from __future__ import annotations

EVENT_STREAM_TYPE = "text/event-stream"
LAST_CHUNK = b"0\r\n\r\n"


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
