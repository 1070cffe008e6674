"""The bytes of one response's body, each piece as soon as it is there; the end, whatever it was, as Disconnected.

``read1`` of urllib3 is the only call of the libraries that is prompt in every framing, but it takes one chunk at a time
and costs more than reading the event in it. So the two framings of endless bodies, chunked and until the connection
closes, are read from the response's own buffered socket, below urllib3's and http.client's bookkeeping; what else there
may be (a length, a content encoding) goes through ``read1``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

from urllib3 import BaseHTTPResponse

from bridge.http.connection import Link
from bridge.http.response_head import BUFFER
from bridge.sse.chunks import ChunkDecoder, Framing
from bridge.sse.failures import outcome_of_reading
from bridge.sse.reconnection import Disconnected, Kind, Outcome

LARGE: Final = 64 * 1024
"""Bytes asked for while much comes: large pieces make large events linear and share the cost of a read among many."""
SMALL: Final = BUFFER
"""Bytes asked for else: the room for them, the socket's buffer, is held by every idle stream, and no other."""
_ENDED: Final = Outcome(Kind.ENDED, "the body ended")


class Body:
    """Where an event stream's bytes come from. For the reading thread alone. ``release`` closes the connection."""

    def __init__(
        self, response: BaseHTTPResponse, link: Link, read_timeout: float, release: Callable[[], None]
    ) -> None:
        self._response = response
        self._link = link
        self._read_timeout = read_timeout
        self._release = release
        self._chunks, self._file = direct_source(response)
        self._ask = SMALL

    def read(self) -> bytes:
        """What one receive brought, which may be framing alone; raises Disconnected at the end."""
        chunks = self._chunks
        if chunks is None:
            return self._receive()
        if chunks.framing is not Framing.OPEN:
            raise Disconnected(_ENDED if chunks.framing is Framing.ENDED else _broken("invalid chunk size"))
        return chunks.feed(self._receive())

    def close(self) -> None:
        """Close the connection. Can be called twice."""
        self._release()

    def _receive(self) -> bytes:
        try:
            if self._file is not None:
                received = self._read_file(self._file)
            else:
                received = self._response.read1(self._ask, decode_content=True)
        except Exception as error:
            # Every class counts as an end: urllib3's own come through read1, and a response that was shut down from
            # outside gives AttributeError or ValueError.
            raise Disconnected(self._link.wanted or outcome_of_reading(error, self._read_timeout)) from error
        # Asked after the read: what a socket gives once it is shut down (over TLS even ciphertext) is not the stream.
        if self._link.wanted is not None:
            raise Disconnected(self._link.wanted)
        if not received:
            raise Disconnected(_ENDED if self._chunks is None else _broken("it ended too early"))
        self._ask = SMALL if len(received) < self._ask else LARGE
        return received

    def _read_file(self, file: io.BufferedReader) -> bytes:
        # What read1 waits with is a new piece, as large as is asked for; peek waits with the buffer that is there.
        if self._ask == SMALL and not file.peek(1):
            return b""
        return file.read1(self._ask)


def direct_source(response: BaseHTTPResponse) -> tuple[ChunkDecoder | None, io.BufferedReader | None]:
    """The buffered socket under a response, with a decoder where it is chunked; nothing where ``read1`` must do.

    The names below are not promised by urllib3 and http.client: when one goes away, ``read1`` takes over, and a test
    says that it has become slower.
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


def _broken(why: str) -> Outcome:
    return Outcome(Kind.BROKEN, f"the body broke off: {why}")
