"""Reads a response head: within a time limit, up to a size limit, and in every form that servers send.

http.client accepts 100 headers and only the interim response 100, and stops at the first line without a colon. A server
behind several proxies exceeds that: 103 Early Hints, hundreds of headers, folded lines (RFC 9112, section 5.2). Each
byte of a slow head would start the read timeout again, so one deadline covers the whole head.
"""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPMessage, HTTPResponse
from itertools import islice
from typing import Any, Final, NamedTuple, cast

from bridge.clock import Deadline

BUFFER: Final = 2048
"""Bytes of the socket's buffer, which every idle stream holds. One event never fills http.client's own 8 KiB; larger
pieces bypass the buffer."""
MOST_BYTES: Final = 256 * 1024
"""Bytes of a head: browsers accept as much, and a head without an end must not fill the memory."""
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.(\d)[ \t]+(\d{3})(?:[ \t]+(.*))?", re.IGNORECASE)
_SWITCHING: Final = 101
_FIRST_FINAL: Final = 200
_MOST_BLANK_LINES: Final = 8


class HeadTimeout(TimeoutError):
    """Bytes came, but the head was not complete in time."""


class InvalidHead(Exception):
    """The head cannot be used; the text says why, without a header's value."""


class Head(NamedTuple):
    """A final response head."""

    minor_version: int
    status: int
    reason: str
    headers: list[tuple[str, str]]


def read_head(readline: Callable[[int], bytes]) -> Head:
    """The first final head: interim responses (RFC 9110, section 15.2) are skipped. Raises InvalidHead.

    ``readline``: a line of at most so many bytes, shorter and without a line end at the end of the data.
    """
    while True:
        lines = _lines(readline)
        # A blank line before the first one is left over from an earlier response (RFC 9112, section 2.2).
        first = next((line for line in islice(lines, _MOST_BLANK_LINES) if line), b"")
        match = _STATUS_LINE.fullmatch(first)
        if match is None:
            raise InvalidHead("the response is not HTTP/1")
        headers = _headers(lines)
        status = int(match[2])
        if status >= _FIRST_FINAL or status == _SWITCHING:
            reason = (match[3] or b"").decode("latin-1").strip()
            return Head(int(match[1]), status, reason, headers)


def _lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    """The lines of one head, without their ends."""
    left = MOST_BYTES
    while True:
        line = readline(left)
        left -= len(line)
        if not line.endswith(b"\n"):
            raise InvalidHead(
                "the connection closed too early" if left else f"it is larger than {MOST_BYTES >> 10} KiB"
            )
        yield line.rstrip(b"\r\n")


def _headers(lines: Iterator[bytes]) -> list[tuple[str, str]]:
    """The headers up to the blank line. A line without a name is left out; a folded one belongs to the one before."""
    found: list[tuple[bytes, bytes]] = []
    while line := next(lines):
        if line[:1] in {b" ", b"\t"}:
            if found:
                name, value = found[-1]
                found[-1] = name, value + b" " + line.strip()
            continue
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            found.append((name.strip(), value.strip()))
    return [(name.decode("latin-1"), value.replace(b"\r", b" ").decode("latin-1")) for name, value in found]


def is_chunked(transfer_encodings: Iterable[str]) -> bool:
    """Whether the body is chunked. Raises InvalidHead for a coding that was not asked for (RFC 9112, section 6.1)."""
    codings = {each.strip().lower() for value in transfer_encodings for each in value.split(",")} - {"", "identity"}
    if codings - {"chunked"}:
        raise InvalidHead("its transfer coding is not supported")
    return bool(codings)


def content_length(values: Iterable[str]) -> int | None:
    """The length of the body; None if it is missing or not a number. Raises InvalidHead for two different ones."""
    found = {each.strip() for value in values for each in value.split(",")}
    if len(found) > 1:
        raise InvalidHead("it has two different values of Content-Length")
    text = next(iter(found), "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None  # noqa: PLR2004 - an exabyte


class _HeadFile:
    """The buffered socket for reading lines until a deadline."""

    def __init__(self, file: io.BufferedReader[Any], deadline: Deadline | None) -> None:
        self.file = file
        self._deadline = deadline

    def readline(self, limit: int) -> bytes:
        """A line, or its beginning at the limit or at the end of the data."""
        line = bytearray()
        while len(line) < limit and not line.endswith(b"\n"):
            ready = self.file.peek(1)  # at most one receive, which has the socket's timeout
            if not ready:
                break
            line += self.file.read(min(ready.find(b"\n") + 1 or len(ready), limit - len(line)))
            if self._deadline is not None and self._deadline.has_passed:
                raise HeadTimeout
        return bytes(line)

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
        """Read the head, then restore the socket's own file, so that the body is read at full speed.

        Sets what http.client's method of this name sets.
        """
        file: object = self.fp
        if not isinstance(file, _HeadFile):
            return
        head = read_head(file.readline)
        self.version = 10 if head.minor_version == 0 else 11
        self.code = self.status = head.status
        self.reason = head.reason
        self.headers = self.msg = _message(head.headers)
        self.chunked = is_chunked(self.headers.get_all("transfer-encoding", []))
        self.chunk_left = None
        _remove_identity(self.headers)
        self.length = None if self.chunked else content_length(self.headers.get_all("content-length", []))
        if head.status in {204, 304}:
            self.length = 0  # they never have a body (RFC 9112, section 6.3)
        self.will_close = self._check_close() or (not self.chunked and self.length is None)  # type: ignore[attr-defined]
        self.fp = file.file


def _remove_identity(headers: HTTPMessage) -> None:
    """Remove the content coding that changes nothing: urllib3 would decode it like ``deflate``."""
    values = headers.get_all("content-encoding", [])
    codings = [each.strip().lower() for value in values for each in value.split(",")]
    del headers["content-encoding"]
    if kept := [each for each in codings if each not in {"", "identity"}]:
        headers["content-encoding"] = ", ".join(kept)


def _message(headers: list[tuple[str, str]]) -> HTTPMessage:
    message = HTTPMessage()
    for name, value in headers:
        message[name] = value
    return message
