"""A response head with an end: one that drips, byte by byte, would never let a read timeout strike.

The head is read by http.client, line by line, and each byte that comes gives it another read timeout; interim responses
(100 Continue) it skips without counting. So its file is asked for the time after each receive, until the head is whole.
"""

from __future__ import annotations

import io
import socket
from http.client import HTTPResponse
from typing import Any, Final, cast

from bridge.clock import monotonic

BUFFER: Final = 2048
"""Bytes of the socket's buffer, which every idle stream holds: http.client's own of 8 KiB is never filled by one event,
and larger pieces are read past it."""


class HeadTimeout(TimeoutError):
    """Bytes came, but no whole head within the time for it."""


class _HeadFile:
    """The buffered socket, for reading lines until a deadline (:func:`bridge.clock.monotonic`)."""

    def __init__(self, file: io.BufferedReader[Any], deadline: float | None) -> None:
        self.file = file
        self._deadline = deadline

    def readline(self, limit: int) -> bytes:
        """A line, or what there is of it at the limit or the end."""
        line = b""
        while len(line) < limit and not line.endswith(b"\n"):
            ready = self.file.peek(1)  # one receive at most, which has the socket's own timeout
            if not ready:
                break
            line += self.file.read(min(ready.find(b"\n") + 1 or len(ready), limit - len(line)))
            if self._deadline is not None and monotonic() > self._deadline:
                raise HeadTimeout
        return line

    def flush(self) -> None:
        """There is nothing to flush."""

    def close(self) -> None:
        """Close the socket's file."""
        self.file.close()


class BoundedResponse(HTTPResponse):
    """A response whose head comes within the timeout that its socket has for one receive; the body is as ever."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        timeout = sock.gettimeout()
        head = _HeadFile(
            io.BufferedReader(self.fp.detach(), BUFFER), None if timeout is None else monotonic() + timeout
        )
        self.fp = cast("io.BufferedReader", head)  # as much of one as reading a head asks for

    def begin(self) -> None:
        """Read the head; the file is the socket's own again afterwards, so that reading the body costs nothing more."""
        super().begin()
        head: object = self.fp
        if isinstance(head, _HeadFile):
            self.fp = head.file
