"""A server whose events say when they were written: ``python -m tests.benchmarks.stamped EVENTS_PER_SECOND``.

It prints its address, and sends each reader of ``/stream`` so many events a second, evenly, each in a write of its own.
The text of an event begins with the nanoseconds of ``CLOCK_BOOTTIME`` at its write, which all processes share.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time

from bridge.clock import monotonic
from tests.fakes.raw_server import CHUNKED, chunk

STAMP_DIGITS = 20
_FILLER = "the words of an event, as an agent says them"


def _event(number: int) -> bytes:
    stamp = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    content = f"{stamp:0{STAMP_DIGITS}d} {_FILLER}"
    data = json.dumps({"type": "content", "content": content, "assistantMessageId": "msg_00000001"})
    return f"id: {number}\nevent: content\ndata: {data}\n\n".encode()


def _serve(connection: socket.socket, rate: float) -> None:
    with contextlib.suppress(OSError), connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            more = connection.recv(65536)
            if not more:
                return
            request += more
        number = int(request.lower().partition(b"\r\nlast-event-id:")[2].split(b"\r\n")[0] or b"0")
        connection.sendall(CHUNKED)
        _talk(connection, number, rate)


def _talk(connection: socket.socket, number: int, rate: float) -> None:
    never, due = threading.Event(), monotonic()
    while True:
        number += 1
        connection.sendall(chunk(_event(number)))
        due = max(due + 1 / rate, monotonic())
        never.wait(due - monotonic())


def main(rate: float) -> None:
    """Serve until killed."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, rate), daemon=True).start()


if __name__ == "__main__":
    main(float(sys.argv[1]))
