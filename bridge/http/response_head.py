"""A time limit for the whole response head: each byte of a slow head would start the read timeout again.

http.client reads the head line by line and skips any number of interim responses (100 Continue). So its file checks a
deadline after each receive until the head is complete.
"""

from __future__ import annotations

import io
import socket
from http.client import HTTPResponse
from typing import Any, Final, cast

from bridge.clock import Deadline

BUFFER: Final = 2048
"""Bytes of the socket's buffer, which every idle stream holds. One event never fills http.client's own 8 KiB; larger
pieces bypass the buffer."""


class HeadTimeout(TimeoutError):
    """Bytes came, but the head was not complete in time."""


class _HeadFile:
    """The buffered socket for reading lines until a deadline."""

    def __init__(self, file: io.BufferedReader[Any], deadline: Deadline | None) -> None:
        self.file = file
        self._deadline = deadline

    def readline(self, limit: int) -> bytes:
        """A line, or its beginning at the limit or at the end of the data."""
        line = b""
        while len(line) < limit and not line.endswith(b"\n"):
            ready = self.file.peek(1)  # at most one receive, which has the socket's timeout
            if not ready:
                break
            line += self.file.read(min(ready.find(b"\n") + 1 or len(ready), limit - len(line)))
            if self._deadline is not None and self._deadline.has_passed:
                raise HeadTimeout
        return line

    def flush(self) -> None:
        """There is nothing to flush."""

    def close(self) -> None:
        """Close the socket's file."""
        self.file.close()


class BoundedResponse(HTTPResponse):
    """A response whose whole head must come within its socket's timeout. The body is read as usual."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        timeout = sock.gettimeout()
        head = _HeadFile(
            io.BufferedReader(self.fp.detach(), BUFFER), None if timeout is None else Deadline.after(timeout)
        )
        self.fp = cast("io.BufferedReader", head)  # it has the methods that reading a head needs

    def begin(self) -> None:
        """Read the head, then restore the socket's own file, so that the body is read at full speed."""
        super().begin()
        head: object = self.fp
        if isinstance(head, _HeadFile):
            self.fp = head.file
