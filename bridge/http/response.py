"""A response whose body is read piece by piece, each piece as soon as it arrives.

``read1`` of urllib3 is the only library call that returns promptly in every framing, but it reads one chunk at a time
and costs more than parsing the event in it. So the two framings of endless bodies, chunked and until the connection
closes, are read from the response's own buffered socket, below the bookkeeping of urllib3 and http.client. Other
bodies (with a length or a content encoding) go through ``read1``.

http.client needs several calls per chunk. With one event per chunk, that takes longer than parsing the event. Here one
receive may hold hundreds of chunks (RFC 9112, section 7.1), and each needs one search and one slice.
"""

from __future__ import annotations

import fcntl
import io
import re
import select
import socket
import termios
from array import array
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Final, Self

from urllib3 import BaseHTTPResponse, HTTPResponse

from bridge.clock import Deadline
from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost, EndKind, lost_while_reading
from bridge.http.response_head import BUFFER

LARGE: Final = 64 * 1024
"""Bytes per read while much data comes. Large pieces share the cost of a read and keep large events linear."""
SMALL: Final = BUFFER
"""Bytes per read otherwise: no more than the socket's buffer, which every idle stream holds anyway."""

_PIECE: Final = 16 * 1024
"""Bytes that end a ``gather``: far below what the system holds for a socket, so that no server is held up."""

_CODINGS: Final = frozenset({"", *HTTPResponse.CONTENT_DECODERS})
_LIST_ITEM: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')
"""An item of a list that is separated by commas, which may be in a quoted text."""
_MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+")
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
    """Decodes chunks from bytes that are cut anywhere. Only the thread that reads the body may use it."""

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


class Response:
    """A response with an open connection. Only the thread that reads may use it."""

    def __init__(self, raw: BaseHTTPResponse, cutter: Cutter, read_timeout: float) -> None:
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        """Names are compared without case."""
        self._raw = raw
        self._cutter = cutter
        self._read_timeout = read_timeout
        self._chunks, self._file = direct_source(raw)
        self._size = SMALL
        # As ``direct_source``: the library does not promise this name.
        found = getattr(getattr(self._file, "raw", None), "_sock", None)
        self._socket = found if isinstance(found, socket.socket) else None

    @property
    def media_type(self) -> str:
        """The content type in lower case, without its parameters; empty if there is no valid one.

        Of several, the last valid one counts (Fetch, "extract a MIME type").
        """
        parts = _LIST_ITEM.findall(self.headers.get("content-type", ""))
        types = [part.partition(";")[0].strip().lower() for part in parts]
        return next((each for each in reversed(types) if _MEDIA_TYPE.fullmatch(each) and each != "*/*"), "")

    @property
    def unknown_coding(self) -> str | None:
        """A content coding that cannot be decoded. None was asked for but ``identity``."""
        codings = self.headers.get("content-encoding", "").split(", ")
        return next((each for each in codings if each not in _CODINGS), None)

    def read(self) -> bytes:
        """The bytes of one receive, possibly none if it held only framing. Raises ConnectionLost at the end."""
        chunks = self._chunks
        if chunks is None:
            return self._receive()
        if chunks.framing is Framing.ENDED:
            raise ConnectionLost(EndKind.ENDED, "the body ended")
        if chunks.framing is Framing.BROKEN:
            raise ConnectionLost(EndKind.BROKEN, "the body is incomplete: invalid chunk size")
        return chunks.feed(self._receive())

    def read_all(self, max_bytes: int, deadline: Deadline) -> bytes:
        """The whole body. Raises ConnectionLost if it is incomplete, too large or not complete by the deadline."""
        body = bytearray()
        while True:
            try:
                body += self.read()
            except ConnectionLost as lost:
                if lost.kind is EndKind.ENDED and self._cutter.cut_as is None:
                    return bytes(body)
                raise
            if len(body) > max_bytes:
                raise ConnectionLost(EndKind.TOO_LARGE, f"the body is larger than {max_bytes >> 20} MiB")
            if deadline.has_passed:
                raise ConnectionLost(EndKind.STALLED, "the body was not complete in time")

    def gather(self, seconds: float) -> None:
        """Wait until a large piece has come, or the end, for at most so many seconds.

        Returns at once while much data comes, and where the socket is not known.
        """
        if self._size == LARGE or self._socket is None:
            return
        with suppress(OSError, ValueError):  # closed or cut meanwhile: the next read reports it
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _PIECE)
            try:
                poll.poll(seconds * 1000)
            finally:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    @property
    def unread(self) -> int:
        """Bytes that the system has received and nobody has read; ``LARGE`` where the socket is not known."""
        size = array("i", [LARGE])
        if self._socket is not None:
            with suppress(OSError, ValueError):  # closed or cut meanwhile
                fcntl.ioctl(self._socket, termios.FIONREAD, size)
        return size[0]

    def close(self) -> None:
        """Close the connection. Can be called twice."""
        self._raw.close()
        self._cutter.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> bytes:
        try:
            if self._file is not None:
                received = self._read_file(self._file)
            else:
                received = self._raw.read1(self._size, decode_content=True)
        except Exception as error:
            # Every exception is an end: read1 does not wrap urllib3's own exceptions, and a response that another
            # thread shut down raises AttributeError or ValueError.
            cut = self._cutter.cut_as
            raise (ConnectionLost(*cut) if cut else lost_while_reading(error, self._read_timeout)) from error
        # Checked after the read: what a socket returns after its shutdown (over TLS even ciphertext) is not the body.
        if self._cutter.cut_as is not None:
            raise ConnectionLost(*self._cutter.cut_as)
        if not received:
            if self._chunks is None:
                raise ConnectionLost(EndKind.ENDED, "the body ended")
            raise ConnectionLost(EndKind.BROKEN, "the body is incomplete: the connection closed too early")
        self._size = SMALL if len(received) < self._size else LARGE
        return received

    def _read_file(self, file: io.BufferedReader) -> bytes:
        # read1 waits with a new buffer of the requested size; peek waits with the buffer that exists already.
        if self._size == SMALL and not file.peek(1):
            return b""
        return file.read1(self._size)


def direct_source(response: BaseHTTPResponse) -> tuple[ChunkDecoder | None, io.BufferedReader | None]:
    """The buffered socket under a response, with a decoder if the body is chunked. (None, None): use ``read1``.

    urllib3 and http.client do not promise the names below. If one disappears, ``read1`` is used, and a test fails
    because reading has become slower.
    """
    inner = getattr(response, "_fp", None)
    file = getattr(inner, "fp", None)
    if not isinstance(file, io.BufferedReader) or response.headers.get("content-encoding", "identity") != "identity":
        return None, None
    if getattr(inner, "chunked", None) is True and getattr(inner, "chunk_left", 0) is None:
        return ChunkDecoder(), file
    if getattr(inner, "chunked", None) is False and getattr(inner, "length", 0) is None:
        return None, file
    return None, None
