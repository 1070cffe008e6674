"""A proxy before a broker that delays chosen EndTxn requests or drops their answers.

It forwards all other requests unchanged; in answers it replaces the broker's address by its own.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto

from tests.support.refusing_proxy import address, end, frames, send, split
from tests.support.waiting import TIMEOUT

_END_TRANSACTION = 26
_HEADER = 8
"""Bytes of a request before its client id: the API's key, its version, the correlation id."""


class Fate(Enum):
    """How the proxy treats one EndTxn request."""

    PASSES = auto()
    UNANSWERED = auto()
    """The broker executes it, and the proxy drops the answer."""
    HELD = auto()
    """The connection ends; the request reaches the broker on ``release()``."""


class EndingProxy:
    """A proxy with threads for its connections. Any thread may call it."""

    def __init__(self, broker: str) -> None:
        self.next = Fate.PASSES
        """The treatment of the next EndTxn request; later ones pass."""
        self.seen = 0
        """EndTxn requests so far."""
        self.passes = threading.Event()
        """Cleared: the proxy forwards nothing in either direction and keeps connections open."""
        self.passes.set()
        self.released: list[bytes] = []
        """The broker's answers to requests that were held."""
        self._broker = split(broker)
        self._held: list[bytes] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bootstrap = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def holds(self) -> int:
        """The number of held requests."""
        return len(self._held)

    def release(self) -> None:
        """Send the held requests to the broker; no client gets their answers."""
        with self._lock:
            held, self._held = self._held, []
        for frame in held:
            with socket.create_connection(self._broker) as upstream, upstream.makefile("rb") as reader:
                send(upstream, frame)
                self.released.append(reader.read(struct.unpack(">i", reader.read(4))[0]))

    def close(self) -> None:
        """End all connections."""
        self.passes.set()
        for each in self._sockets:
            end(each)
        for thread in self._threads:
            thread.join(TIMEOUT)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # close() ends the listener
            while True:
                client, _ = self._listener.accept()
                upstream = socket.create_connection(self._broker)
                self._sockets += [client, upstream]
                ours, theirs = address(*split(self.bootstrap)), address(*self._broker)
                muted: set[bytes] = set()
                threads = (
                    threading.Thread(target=self._requests, args=(client, upstream, muted), daemon=True),
                    threading.Thread(target=self._answers, args=(upstream, client, theirs, ours, muted), daemon=True),
                )
                self._threads += threads
                for thread in threads:
                    thread.start()

    def _requests(self, client: socket.socket, upstream: socket.socket, muted: set[bytes]) -> None:
        for frame in frames(client, upstream):
            self.passes.wait()
            fate = self._fate(frame)
            if fate is Fate.HELD:
                with self._lock:
                    self._held.append(frame)
                end(client)
                end(upstream)
                return
            if fate is Fate.UNANSWERED:
                muted.add(frame[4:_HEADER])
            send(upstream, frame)

    def _answers(
        self, upstream: socket.socket, client: socket.socket, theirs: bytes, ours: bytes, muted: Container[bytes]
    ) -> None:
        for frame in frames(upstream, client):
            self.passes.wait()
            if frame[:4] not in muted:
                send(client, frame.replace(theirs, ours))

    def _fate(self, frame: bytes) -> Fate:
        (key,) = struct.unpack_from(">h", frame)
        if key != _END_TRANSACTION:
            return Fate.PASSES
        with self._lock:
            self.seen += 1
            fate, self.next = self.next, Fate.PASSES
        return fate


@contextmanager
def ending_proxy(broker: str) -> Iterator[EndingProxy]:
    """Run a proxy for the duration of a test."""
    proxy = EndingProxy(broker)
    try:
        yield proxy
    finally:
        proxy.close()
