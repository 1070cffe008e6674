"""Parses the fields of one block as its bytes come, for blocks that sseclient-py cannot parse well.

Those are large blocks, blocks of many lines, and blocks with NUL or bytes that are not UTF-8. The rules are those of
the standard (HTML, section 9.2.6). Memory is bounded by the limit on a block, and the work is linear in its bytes.
"""

from __future__ import annotations

import codecs
import hashlib
from typing import Final, NamedTuple

from bridge.core.stream.event import Oversize

KEPT_OF_OVERSIZE: Final = 64 * 1024
"""Bytes of an oversize event's data that are kept for its dead letter."""
_LONGEST_NAME: Final = len(b"event")
_FIELDS: Final = (b"data", b"id", b"event", b"retry")
_LONGEST_RETRY: Final = 15
"""Digits. The value is limited anyway, and Python rejects numbers of thousands of digits."""


class Block(NamedTuple):
    """The fields of one closed block, in valid UTF-8. An absent field is None."""

    name: bytes | None
    id: bytes | None
    """The last ``id`` without NUL. An empty one resets the stream's last event ID."""
    data: bytes | None
    """The data lines joined by LF, or their beginning if ``oversize`` is set. None: the block has no event."""
    retry: int | None
    """Milliseconds of the last ``retry`` that has only ASCII digits."""
    oversize: Oversize | None
    replaced: bool
    """Whether bytes that are not UTF-8 were replaced by U+FFFD."""

    def splitlines(self) -> list[bytes]:
        """The lines of the block for sseclient-py.

        ``data`` is one line, with its line feeds: with separate lines, sseclient-py needs time in bytes times lines.
        """
        lines = [b"data: " + self.data] if self.data is not None else []
        if self.name is not None:
            lines.append(b"event: " + self.name)
        if self.id is not None:
            lines.append(b"id: " + self.id)
        return lines


class _Data:
    """The data of one block: whole up to a limit, beyond it only the beginning, the size and the digest."""

    __slots__ = ("_decoder", "_digest", "_kept", "_lines", "_raw_digest", "_size")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._lines = 0
        self._decoder: codecs.IncrementalDecoder | None = None  # set when the data becomes too large to keep
        self._size = 0
        self._digest = hashlib.sha256()
        self._raw_digest = hashlib.sha256()

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
        """Keep only the beginning from now on."""
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
            so_far, self._kept = bytes(self._kept), bytearray()
            self._measure(so_far)

    def _measure(self, value: bytes, *, final: bool = False) -> None:
        assert self._decoder is not None  # noqa: S101 - for mypy; keep_beginning was called before
        valid = self._decoder.decode(value, final).encode()
        self._digest.update(valid)
        self._raw_digest.update(value)
        self._size += len(valid)
        self._kept += valid[: KEPT_OF_OVERSIZE - len(self._kept)]

    def close(self) -> tuple[bytes | None, Oversize | None, bool]:
        """The data or its beginning, the size and digest of oversize data, and whether bytes were replaced."""
        if not self._lines:
            return None, None, False
        if self._decoder is None:
            kept = bytes(self._kept)
            valid = _repaired(kept)
            return valid, None, valid != kept
        self._measure(b"", final=True)
        # The kept bytes are valid except for a character that may be cut at their end, which is left out.
        beginning = self._kept.decode("utf-8", "ignore").encode()
        digest = self._digest.hexdigest()
        return beginning, Oversize(self._size, digest), digest != self._raw_digest.hexdigest()


class BlockScanner:
    """Parses one block from pieces that are cut anywhere, with LF line ends and without its closing empty line.

    Only the thread that reads the stream may use it.
    """

    def __init__(self, max_block_bytes: int) -> None:
        self._limit = max_block_bytes
        self._size = 0  # of the values and line ends of known fields; other fields are not stored and do not count
        self._beginning = bytearray()  # of a line until its field name is complete
        self._field: bytes | None = None  # of the line, once its name is complete
        self._space = False  # whether one space may still follow the colon
        self._value = bytearray()  # of an id, event or retry
        self._data = _Data()
        self._name: bytes | None = None
        self._id: bytes | None = None
        self.retry: int | None = None
        """Milliseconds, from the complete lines so far."""
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
        """The fields of the block, which is closed now."""
        self._end_line()
        data, oversize, replaced = self._data.close()
        name, id_ = _repaired(self._name), _repaired(self._id)
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
        elif len(self._value) <= max(self._limit, KEPT_OF_OVERSIZE):  # more is never used
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


def _repaired(value: bytes | None) -> bytes | None:
    """The value with invalid UTF-8 replaced as by the standard's decoder."""
    return value if value is None or value.isascii() else value.decode("utf-8", "replace").encode()


def _bounded(name: bytes | None, id_: bytes | None) -> tuple[bytes | None, bytes | None]:
    """The name and id of an oversize block. A long name is cut. A long id is left out: a part of it is another id."""
    if name is not None and len(name) > KEPT_OF_OVERSIZE:
        name = name[:KEPT_OF_OVERSIZE].decode("utf-8", "ignore").encode()
    return name, None if id_ is not None and len(id_) > KEPT_OF_OVERSIZE else id_


def scan(block: bytes, max_block_bytes: int) -> Block:
    """The fields of a whole block."""
    scanner = BlockScanner(max_block_bytes)
    scanner.feed(block)
    return scanner.close()
