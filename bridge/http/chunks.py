"""The chunked transfer coding (RFC 9112, section 7.1), many chunks at a time.

http.client takes each chunk apart with several calls: with one event per chunk they cost more than reading the event.
Here one receive may hold hundreds of chunks, and each costs one search and one slice.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

_SIZE_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_LONGEST_SIZE_LINE: Final = 4096
"""Bytes. Extensions may be of any length, but nobody sends them; without a bound a server could fill the memory."""


class Framing(Enum):
    """Where the coding stands."""

    OPEN = auto()
    ENDED = auto()
    """The last chunk has come. What may follow it, trailers, is nothing to an event stream."""
    BROKEN = auto()
    """What came is no chunk. Everything before it has been given out."""


class ChunkDecoder:
    """Takes the coding off bytes cut anywhere. Only the thread that reads the stream uses it."""

    def __init__(self) -> None:
        self.framing = Framing.OPEN
        self._rest = b""  # the beginning of a size line, or of the line end behind a chunk
        self._left = -1
        """Bytes of the chunk still to come; 0: only its line end; negative: a size line comes next."""

    def feed(self, received: bytes) -> bytes:
        """The payload in these bytes; nothing more is fed once the framing is not open."""
        coded = self._rest + received if self._rest else received
        parts: list[bytes] = []
        at = self._rest_of_chunk(coded, parts) if self._left >= 0 else 0
        while self._left < 0 and (size_line := _SIZE_LINE.match(coded, at)):
            begin = size_line.end()
            size = int(size_line[1], 16)
            end = begin + size
            if size and coded.startswith(b"\r\n", end):  # the whole chunk is here
                parts.append(coded[begin:end])
                at = end + 2
            elif size:
                self._left = size
                at = begin + self._rest_of_chunk(coded[begin:], parts)
            else:
                self.framing = Framing.ENDED
                return b"".join(parts)
        self._rest = coded[at:]
        self._judge_rest()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _rest_of_chunk(self, coded: bytes, parts: list[bytes]) -> int:
        """Take what is here of a chunk that is not here as a whole; returns how far that goes."""
        part = coded[: self._left]
        if part:
            parts.append(part)
        self._left -= len(part)
        at = len(part)
        if not self._left and coded.startswith(b"\r\n", at):
            self._left = -1
            at += 2
        return at

    def _judge_rest(self) -> None:
        """Whether what was not understood may still become something."""
        if self._left >= 0:
            may_be = b"\r\n".startswith(self._rest)
        else:
            may_be = b"\n" not in self._rest and len(self._rest) <= _LONGEST_SIZE_LINE
        if not may_be:
            self.framing = Framing.BROKEN
