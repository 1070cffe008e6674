"""The bytes of one response's body, each piece as soon as it is there; the end, whatever it was, as Disconnected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from urllib3 import BaseHTTPResponse

from bridge.sse.failures import outcome_of_reading
from bridge.sse.link import Link
from bridge.sse.reconnection import Disconnected, Kind, Outcome

PIECE: Final = 64 * 1024
"""Bytes asked for in one read: large pieces make large events linear and share the cost of a read among many."""


class Body:
    """Reads with ``read1``, the only call of urllib3 that is prompt in every framing.

    For the reading thread alone. ``release`` closes the connection.
    """

    def __init__(
        self, response: BaseHTTPResponse, link: Link, read_timeout: float, release: Callable[[], None]
    ) -> None:
        self._response = response
        self._link = link
        self._read_timeout = read_timeout
        self._release = release

    def read(self) -> bytes:
        """Some bytes, at least one; raises Disconnected at the end."""
        try:
            piece = self._response.read1(PIECE, decode_content=True)
        except Exception as error:
            # Every class counts as an end: read1 lets urllib3's own through, and a response that was shut down from
            # outside gives AttributeError or ValueError.
            raise Disconnected(self._link.wanted or outcome_of_reading(error, self._read_timeout)) from error
        # Asked after the read: what a socket gives once it is shut down (over TLS even ciphertext) is not the stream.
        if self._link.wanted is not None:
            raise Disconnected(self._link.wanted)
        if not piece:
            raise Disconnected(Outcome(Kind.ENDED, "the body ended"))
        return piece

    def close(self) -> None:
        """Close the connection. Can be called twice."""
        self._release()
