"""Splits pieces of bytes into closed blocks: the framing of an event stream (HTML, section 9.2.6).

A block is returned only when an empty line closes it; an incomplete block at the end never is. The work per piece is a
few searches in C for any number of lines or blocks, and linear in all bytes, however they are cut. Memory is
bounded: a block longer than ``WHOLE`` is parsed line by line as it comes, and only its event's fields are kept.
"""

from __future__ import annotations

import codecs
from typing import Final, NamedTuple

from bridge.sse.fields import Block, BlockScanner, scan

WHOLE: Final = 64 * 1024
"""Bytes of an open block that are kept unparsed. Longer blocks are scanned, so that an endless block, or a stream of
comments without an empty line, does not fill the memory."""
_BOM: Final = codecs.BOM_UTF8


class Closed(NamedTuple):
    """The blocks that one piece closed, in order: a long block that began earlier, then whole, unparsed blocks.

    Whole blocks have LF line ends and may be empty. They may hold NUL, invalid UTF-8 and many lines.
    """

    long: Block | None
    whole: list[bytes]


class BlockReader:
    """Splits a stream into closed blocks. Only the thread that reads the stream may use it."""

    def __init__(self, max_block_bytes: int) -> None:
        self._limit = max_block_bytes
        self._first: bytes | None = b""  # the stream's first bytes while they may be a BOM
        self._after_cr = False
        self._open = bytearray()  # the open block, unparsed
        self._line = 0  # where its incomplete line begins
        self._scanner: BlockScanner | None = None  # of the open block, once it is long
        self._scanned = 0  # bytes that were fed to it
        self._scanned_line_end = False  # whether the last of them ended a line
        self.comments = 0
        """Comment lines that were completed in open blocks. Like closed blocks, they show that the stream works."""

    def feed(self, piece: bytes) -> Closed:
        """The blocks that these bytes close."""
        if self._first is not None:
            piece = self._without_bom(piece)
        if self._after_cr or b"\r" in piece:
            piece = self._with_lf(piece)
        if self._scanner is not None:
            return self._scan(self._scanner, piece)
        if not self._open and piece.endswith(b"\n\n"):
            return Closed(None, piece[:-2].split(b"\n\n"))
        return Closed(None, self._append(piece))

    @property
    def open_bytes(self) -> int:
        """Bytes of the incomplete block, which the end of the stream discards."""
        return len(self._first or b"") + self._scanned + len(self._open)

    @property
    def retry_of_open(self) -> int | None:
        """Milliseconds of a complete ``retry`` line in the open block. Only this field needs no closed block."""
        if self._scanner is not None:
            return self._scanner.retry
        complete = bytes(self._open[: self._open.rfind(b"\n") + 1])
        return scan(complete, self._limit).retry if complete else None

    def _without_bom(self, piece: bytes) -> bytes:
        first = (self._first or b"") + piece
        undecided = len(first) < len(_BOM) and _BOM.startswith(first)
        self._first = first if undecided else None
        return b"" if undecided else first.removeprefix(_BOM)

    def _with_lf(self, piece: bytes) -> bytes:
        """CR ends its line immediately. An LF after it, even in the next piece, belongs to the same line end."""
        rest = piece[1:] if self._after_cr and piece.startswith(b"\n") else piece
        self._after_cr = rest.endswith(b"\r")
        return rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _append(self, piece: bytes) -> list[bytes]:
        searched = max(len(self._open) - 1, 0)
        self._open += piece if self._open else piece.lstrip(b"\n")  # an empty line before a block closes nothing
        if self._open.find(b"\n\n", searched) < 0:
            self._note_lines(searched)
            return []
        *whole, rest = bytes(self._open).split(b"\n\n")
        self._open = bytearray(rest.lstrip(b"\n"))
        self._line = self._open.rfind(b"\n") + 1
        return whole

    def _note_lines(self, searched: int) -> None:
        """Count complete comment lines. Each byte is searched once, however small the pieces are."""
        end = self._open.rfind(b"\n", searched) + 1
        if end > self._line:
            lines = self._open[self._line : end]
            self._line = end
            self.comments += lines.startswith(b":") + lines.count(b"\n:")
        if len(self._open) > WHOLE:
            self._begin_scan(bytes(self._open))

    def _begin_scan(self, block: bytes) -> None:
        self._scanner = BlockScanner(self._limit)
        self._open.clear()
        self._line = 0
        self._feed_scanner(self._scanner, block)

    def _feed_scanner(self, scanner: BlockScanner, piece: bytes) -> None:
        if piece:
            scanner.feed(piece)
            self._scanned += len(piece)
            self._scanned_line_end = piece.endswith(b"\n")

    def _scan(self, scanner: BlockScanner, piece: bytes) -> Closed:
        if self._scanned_line_end and piece.startswith(b"\n"):
            end, begin = 0, 1
        else:
            end = piece.find(b"\n\n")
            begin = end + 2
        if end < 0:
            comments = scanner.comments
            self._feed_scanner(scanner, piece)
            self.comments += scanner.comments - comments
            return Closed(None, [])
        scanner.feed(piece[:end])
        self._scanner, self._scanned = None, 0
        return Closed(scanner.close(), self._append(piece[begin:]))
