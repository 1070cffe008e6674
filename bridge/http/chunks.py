"""Decodes the chunked transfer coding (RFC 9112, section 7.1), many chunks at a time.

http.client needs several calls per chunk. With one event per chunk, that takes longer than parsing the event. Here one
receive may hold hundreds of chunks, and each needs one search and one slice.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

_SIZE_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_SIZES: Final = {spelling % size: size for spelling in (b"%x", b"%X") for size in range(1, 4096)}
"""The size lines of small chunks, without extensions."""
_FEW: Final = 3
"""Chunks that are decoded one by one."""
_LONGEST_SIZE_LINE: Final = 4096
"""Bytes. Extensions may have any length but are not used; without a limit a server could fill the memory."""


class Framing(Enum):
    """The state of the coding."""

    OPEN = auto()
    ENDED = auto()
    """The last chunk has come. Trailers after it are ignored."""
    BROKEN = auto()
    """The bytes are not a chunk. Everything before them was returned."""


class ChunkDecoder:
    """Decodes bytes that are cut anywhere. Only the thread that reads the body may use it."""

    def __init__(self) -> None:
        self.framing = Framing.OPEN
        self._rest = b""  # an incomplete size line, or an incomplete line end after a chunk
        self._left = -1
        """Missing bytes of the chunk. 0: only its line end is missing. Negative: a size line comes next."""

    def feed(self, received: bytes) -> bytes:
        """The payload in these bytes. Must not be called once the framing is not open."""
        coded = self._rest + received if self._rest else received
        parts: list[bytes] = []
        at = self._rest_of_chunk(coded, parts) if self._left >= 0 else 0
        if self._left < 0:
            at += _small_chunks(coded[at:], parts)
        while self._left < 0 and (size_line := _SIZE_LINE.match(coded, at)):
            begin = size_line.end()
            size = int(size_line[1], 16)
            end = begin + size
            if size and coded.startswith(b"\r\n", end):  # the chunk is complete
                parts.append(coded[begin:end])
                at = end + 2
            elif size:
                self._left = size
                at = begin + self._rest_of_chunk(coded[begin:], parts)
            else:
                self.framing = Framing.ENDED
                return b"".join(parts)
        self._rest = coded[at:]
        self._check_rest()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _rest_of_chunk(self, coded: bytes, parts: list[bytes]) -> int:
        """Add the available part of an incomplete chunk. Returns the position after it."""
        part = coded[: self._left]
        if part:
            parts.append(part)
        self._left -= len(part)
        at = len(part)
        if not self._left and coded.startswith(b"\r\n", at):
            self._left = -1
            at += 2
        return at

    def _check_rest(self) -> None:
        """Mark the framing as broken if the rest cannot become a size line or a line end."""
        if self._left >= 0:
            is_valid = b"\r\n".startswith(self._rest)
        else:
            is_valid = b"\n" not in self._rest and len(self._rest) <= _LONGEST_SIZE_LINE
        if not is_valid:
            self.framing = Framing.BROKEN


def _small_chunks(coded: bytes, parts: list[bytes]) -> int:
    """Add the payloads if the bytes begin with small, complete chunks without CRLF in them; returns where these end.

    All at once: a search and a slice for each chunk take twice as long.
    """
    lines = coded.split(b"\r\n")
    count = (len(lines) - 1) // 2
    payloads = lines[1 : 2 * count : 2]
    if count < _FEW or list(map(_SIZES.get, lines[: 2 * count : 2])) != list(map(len, payloads)):
        return 0
    parts += payloads
    return len(coded) - len(b"\r\n".join(lines[2 * count :]))
