"""A response whose body is read piece by piece, each piece as soon as it arrives.

``read1`` of urllib3 is the only library call that returns promptly in every framing, but it reads one chunk at a time
and costs more than parsing the event in it. So the two framings of endless bodies, chunked and until the connection
closes, are read from the response's own buffered socket, below the bookkeeping of urllib3 and http.client. Other
bodies (with a length or a content encoding) go through ``read1``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Final, Self

from urllib3 import BaseHTTPResponse, HTTPResponse

from bridge.clock import Deadline
from bridge.http.chunks import ChunkDecoder, Framing
from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost, EndKind, lost_while_reading
from bridge.http.response_head import BUFFER

LARGE: Final = 64 * 1024
"""Bytes per read while much data comes. Large pieces share the cost of a read and keep large events linear."""
SMALL: Final = BUFFER
"""Bytes per read otherwise: no more than the socket's buffer, which every idle stream holds anyway."""


_CODINGS: Final = frozenset({"", *HTTPResponse.CONTENT_DECODERS})
_LIST_ITEM: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')
"""An item of a list that is separated by commas, which may be in a quoted text."""
_MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+")


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
