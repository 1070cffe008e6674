"""Stands between clients and a broker, and lets chosen EndTxn requests fare as a bad network would have them fare.

Everything else passes as it is, but for the broker's address.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto

from tests.support.refusing_proxy import address, end, frames, send, split

_END_TRANSACTION = 26
_HEADER = 8
"""Bytes of a request before its client id: the API's key, its version, the correlation id."""


class Fate(Enum):
    """What becomes of one EndTxn request."""

    PASSES = auto()
    UNANSWERED = auto()
    """The broker obeys it, and its answer gets lost."""
    HELD = auto()
    """The connection ends, and the request arrives when the test says so: ``release``."""


class EndingProxy:
    """The proxy's side that a test speaks to. Any thread."""

    def __init__(self, broker: str) -> None:
        self.next = Fate.PASSES
        """The fate of the next EndTxn request; those after it pass again."""
        self.seen = 0
        """EndTxn requests so far."""
        self.passes = threading.Event()
        """Cleared: nothing gets through in either direction, as if Kafka were gone without a word."""
        self.passes.set()
        self.released: list[bytes] = []
        """What the broker answered to requests that were held."""
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
        """Requests that are held."""
        return len(self._held)

    def release(self) -> None:
        """What was held arrives now, and is answered to nobody."""
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
            thread.join(5)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener's end is the test's
            while True:
                client, _ = self._listener.accept()
                upstream = socket.create_connection(self._broker)
                self._sockets += [client, upstream]
                ours, theirs = address(*split(self.bootstrap)), address(*self._broker)
                muted: set[bytes] = set()
                pumps = (
                    threading.Thread(target=self._requests, args=(client, upstream, muted), daemon=True),
                    threading.Thread(target=self._answers, args=(upstream, client, theirs, ours, muted), daemon=True),
                )
                self._threads += pumps
                for pump in pumps:
                    pump.start()

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
    """A proxy for the time of a test."""
    proxy = EndingProxy(broker)
    try:
        yield proxy
    finally:
        proxy.close()
