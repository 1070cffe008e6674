"""A Mix server in a process of its own that can be killed and restarted without losing an event.

Its events follow from their numbers, so a kill loses nothing. Each connection gets 500 events a second, and every event
can be requested again.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.fakes.faulty_feed import numbered
from tests.fakes.raw_server import CHUNKED, answer, chunk
from tests.support.forked import Process
from tests.support.processes import spawn
from tests.support.repository import REPOSITORY
from tests.support.scripted_mix import listing
from tests.support.waiting import wait_until

_BURST = 10
_PAUSE = 0.02
"""Seconds between two bursts: 500 events a second on each connection, so that a kill happens in the middle."""


class KilledServer:
    """The process, always on the same port. Used by one thread at a time."""

    def __init__(self, folder: Path, sessions: Sequence[str], count: int) -> None:
        self._log = folder / "server.log"
        self._arguments = [str(count), *sessions]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the process."""
        command = [sys.executable, "-m", "tests.support.killed_server", str(self._port), *self._arguments]
        self._process = spawn(command, log=self._log, cwd=REPOSITORY)
        wait_until(self._listens, 20, f"the server, see {self._log}")

    def kill(self) -> None:
        """SIGKILL. Can be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
            return True
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _serve(connection: socket.socket, blocks: Sequence[bytes], sessions: Sequence[str]) -> None:
    with contextlib.suppress(OSError), connection:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            more = connection.recv(65536)
            if not more:
                return
            request += more
        target = urlsplit(request.split(b" ")[1].decode())
        if target.path == "/stream":
            _stream(connection, request, blocks)
        else:
            body = json.dumps([listing(one) for one in sessions]).encode()
            connection.sendall(answer(200, b"Content-Type: application/json", body=body))


def _stream(connection: socket.socket, request: bytes, blocks: Sequence[bytes]) -> None:
    at = max(int(request.lower().partition(b"\r\nlast-event-id:")[2].split(b"\r\n")[0] or b"0"), 0)
    connection.sendall(CHUNKED)
    never = threading.Event()
    while True:
        connection.sendall(b"".join(map(chunk, blocks[at : at + _BURST])) or chunk(b":\n\n"))
        at += _BURST
        never.wait(_PAUSE)


def main(port: int, count: int, sessions: Sequence[str]) -> None:
    """Serve until killed."""
    blocks = [one.wire for one in numbered(1, count)]
    with socket.create_server(("127.0.0.1", port), backlog=100) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, blocks, sessions), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
