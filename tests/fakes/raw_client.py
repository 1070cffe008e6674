"""A client on a plain socket, which sees every byte and how the connection ends."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from bridge.simulator.encoding import Dispatched, dispatched

_TIMEOUT = 10.0


class Body(NamedTuple):
    """All that came after the head, and how it ended: ``fin`` or ``rst``."""

    raw: bytes
    ended: str

    def chunks(self) -> list[bytes]:
        """The chunks, including the incomplete last one. An empty last one means that the body is complete."""
        found, rest = [], self.raw
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            found.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return found


class RawStream:
    """One connection with one request on it. Used by one thread."""

    def __init__(self, url: str, target: str, *, method: str = "GET", version: str = "1.1", **headers: str) -> None:
        """``headers``: with ``_`` for ``-``."""
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 0), _TIMEOUT)
        self._seen = b""
        lines = [f"{method} {target} HTTP/{version}", "Host: raw"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        try:
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        except OSError:  # reset already
            self._socket.close()
            raise

    def head(self) -> str:
        """Status line and headers."""
        return self.until(b"\r\n\r\n").decode()

    def until(self, mark: bytes, timeout: float = _TIMEOUT) -> bytes:
        """Everything up to and including ``mark``. Raises EOFError at the end, TimeoutError after a pause."""
        self._socket.settimeout(timeout)
        while mark not in self._seen:
            if not (piece := self._socket.recv(65536)):
                raise EOFError(self._seen)
            self._seen += piece
        taken, _, self._seen = self._seen.partition(mark)
        return taken + mark

    def rest(self) -> Body:
        """Everything to the end of the connection."""
        try:
            while piece := self._socket.recv(65536):
                self._seen += piece
        except ConnectionResetError:
            return Body(self._seen, "rst")
        return Body(self._seen, "fin")

    def is_silent_for(self, seconds: float) -> bool:
        """Whether neither a byte nor the end comes."""
        self._socket.settimeout(seconds)
        try:
            self._seen += self._socket.recv(65536)
        except TimeoutError:
            return True
        return False

    def events(self, count: int) -> list[Dispatched]:
        """The next events of a chunked stream."""
        found: list[Dispatched] = []
        while len(found) < count:
            size = int(self.until(b"\r\n"), 16)
            found += dispatched(self._exactly(size + 2)[:-2])
        return found

    def _exactly(self, size: int) -> bytes:
        got = bytearray(self._seen)
        while len(got) < size:
            if not (piece := self._socket.recv(1 << 20)):
                raise EOFError(bytes(got))
            got += piece
        self._seen = bytes(got[size:])
        return bytes(got[:size])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class Said(NamedTuple):
    """An answer of the control interface."""

    status: int
    body: Any


def call(url: str, method: str, path: str, body: object = None) -> Said:
    """Call the control interface."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, content, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_TIMEOUT) as answer:
            return Said(answer.status, json.loads(answer.read() or b"null"))
    except urllib.error.HTTPError as refused:
        return Said(refused.code, json.loads(refused.read()))
