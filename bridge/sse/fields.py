"""The fields of one block, read as its bytes come: for the blocks that sseclient-py cannot be given as they are.

Those are the large ones, those of many lines, and those with NUL or bytes that are not UTF-8. The rules are
the same, WHATWG HTML section 9.2.6; memory is bounded by the limit on a block, work is linear in its bytes.
"""

from __future__ import annotations

import codecs
import hashlib
from typing import Final, NamedTuple, overload

from bridge.core.stream.event import Oversize

KEPT_OF_OVERSIZE: Final = 64 * 1024
"""Bytes of an oversize event's data that are kept: what a dead letter holds (interface, section 2)."""
_LONGEST_NAME: Final = len(b"event")
_FIELDS: Final = (b"data", b"id", b"event", b"retry")
_LONGEST_RETRY: Final = 15
"""Digits. More would only be clamped, and Python refuses numbers of thousands of digits."""


class Block(NamedTuple):
    """The fields of one closed block: sound UTF-8, each absent field None."""

    name: bytes | None
    id: bytes | None
    """The last ``id`` without NUL; empty resets the stream's last event id."""
    data: bytes | None
    """Data lines joined by LF; the beginning of them when ``oversize`` is set. None: the block dispatches nothing."""
    retry: int | None
    """Milliseconds, from the last ``retry`` of ASCII digits only."""
    oversize: Oversize | None
    replaced: bool
    """Whether bytes that are not UTF-8 were replaced by U+FFFD."""

    def splitlines(self) -> list[bytes]:
        """The fields as sseclient-py takes the lines of a block.

        ``data`` is one line, line feeds and all: handed over line by line it would cost bytes times lines there.
        """
        lines = [b"data: " + self.data] if self.data is not None else []
        if self.name is not None:
            lines.append(b"event: " + self.name)
        if self.id is not None:
            lines.append(b"id: " + self.id)
        return lines


class _Data:
    """The data of one block: kept whole up to a limit; beyond it the beginning, the size and the digest."""

    __slots__ = ("_as_came", "_decoder", "_digest", "_kept", "_lines", "_size")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._lines = 0
        self._decoder: codecs.IncrementalDecoder | None = None  # set once the data is too large to be kept
        self._size = 0
        self._digest = hashlib.sha256()
        self._as_came = hashlib.sha256()

    def begin_line(self) -> None:
        self._lines += 1
        if self._lines > 1:
            self.add(b"\n")

    def add(self, value: bytes) -> None:
        if self._decoder is None:
            self._kept += value
        else:
            self._measure(value)

    def keep_beginning(self) -> None:
        """From now on only the beginning is kept."""
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
            so_far, self._kept = bytes(self._kept), bytearray()
            self._measure(so_far)

    def _measure(self, value: bytes, *, final: bool = False) -> None:
        assert self._decoder is not None  # noqa: S101 - told to mypy; keep_beginning came before
        sound = self._decoder.decode(value, final).encode()
        self._digest.update(sound)
        self._as_came.update(value)
        self._size += len(sound)
        self._kept += sound[: KEPT_OF_OVERSIZE - len(self._kept)]

    def close(self) -> tuple[bytes | None, Oversize | None, bool]:
        """The data or its beginning, what is known of the whole, and whether any of it was replaced."""
        if not self._lines:
            return None, None, False
        if self._decoder is None:
            sound = _sound(bytes(self._kept))
            return sound, None, sound != self._kept
        self._measure(b"", final=True)
        # The kept bytes are sound but for a character cut at their end: leaving out what does not decode cuts there.
        beginning = self._kept.decode("utf-8", "ignore").encode()
        digest = self._digest.hexdigest()
        return beginning, Oversize(self._size, digest), digest != self._as_came.hexdigest()


class BlockScanner:
    """Reads the fields of one block from pieces cut anywhere, with LF line ends and without its closing empty line.

    For the blocks that are not fed to sseclient-py as they came. Only the thread that reads the stream uses it.
    """

    def __init__(self, max_block_bytes: int) -> None:
        self._limit = max_block_bytes
        self._size = 0  # of the known fields' values and line ends; the rest costs nothing and does not count
        self._beginning = bytearray()  # of a line, until its field is known
        self._field: bytes | None = None  # of the line, once it is known
        self._space = False  # whether one space may still follow the colon
        self._value = bytearray()  # of an id, event or retry
        self._data = _Data()
        self._name: bytes | None = None
        self._id: bytes | None = None
        self.retry: int | None = None
        """Milliseconds, of the complete lines so far."""
        self.comments = 0
        """Complete comment lines so far."""

    def feed(self, piece: bytes) -> None:
        """The next bytes of the block."""
        *whole, rest = piece.split(b"\n")
        for part in whole:
            self._add(part)
            self._end_line()
        self._add(rest)

    def close(self) -> Block:
        """The block is closed: what it says."""
        self._end_line()
        data, oversize, replaced = self._data.close()
        name, id_ = _sound(self._name), _sound(self._id)
        replaced = replaced or name != self._name or id_ != self._id
        if self._size > self._limit:
            name, id_ = _bounded(name, id_)
        return Block(name, id_, data, self.retry, oversize, replaced)

    def _add(self, part: bytes) -> None:
        """Bytes of one line."""
        if self._field is None:
            self._beginning += part
            if b":" not in self._beginning and len(self._beginning) <= _LONGEST_NAME:
                return
            name, _, part = bytes(self._beginning).partition(b":")
            self._begin(name)
        if self._space and part:
            self._space = False
            part = part.removeprefix(b" ")
        self._add_value(part)

    def _begin(self, field: bytes) -> None:
        self._beginning.clear()
        self._field = field
        self._space = True
        if field == b"data":
            self._data.begin_line()

    def _add_value(self, part: bytes) -> None:
        if self._field == b"data":
            self._data.add(part)
        elif self._field not in _FIELDS:
            return
        elif len(self._value) <= max(self._limit, KEPT_OF_OVERSIZE):  # beyond, no more than this is of use
            self._value += part
        self._count(len(part))

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            self._data.keep_beginning()

    def _end_line(self) -> None:
        if self._beginning:  # a line without a colon is a field with an empty value
            self._begin(bytes(self._beginning))
        if self._field in _FIELDS:
            self._count(1)
        self._take_value(self._field, bytes(self._value))
        self._field = None
        self._value.clear()

    def _take_value(self, field: bytes | None, value: bytes) -> None:
        match field:
            case b"":
                self.comments += 1
            case b"event":
                self._name = value
            case b"id" if b"\0" not in value:
                self._id = value
            case b"retry" if value.isdigit():
                self.retry = int(value.lstrip(b"0")[:_LONGEST_RETRY] or b"0")


@overload
def _sound(value: bytes) -> bytes: ...
@overload
def _sound(value: None) -> None: ...
def _sound(value: bytes | None) -> bytes | None:
    """The value with every byte that is not UTF-8 replaced, as the standard's decoder does."""
    return value if value is None or value.isascii() else value.decode("utf-8", "replace").encode()


def _bounded(name: bytes | None, id_: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Of an oversize block: a long name is cut; a long id is left out, because a part of one is another one."""
    if name is not None and len(name) > KEPT_OF_OVERSIZE:
        name = name[:KEPT_OF_OVERSIZE].decode("utf-8", "ignore").encode()
    return name, None if id_ is not None and len(id_) > KEPT_OF_OVERSIZE else id_


def scan(block: bytes, max_block_bytes: int) -> Block:
    """The fields of a whole block."""
    scanner = BlockScanner(max_block_bytes)
    scanner.feed(block)
    return scanner.close()
