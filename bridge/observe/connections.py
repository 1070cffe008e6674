"""Connections of the HTTP endpoint: their lifetime and their number are limited, so that no client can hold it.

asyncio announces a TLS connection only after its handshake, for which it waits 60 s. Without a limit before that,
thousands of clients that send nothing would use up the descriptors of the process.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import TimerHandle, Transport
from contextlib import suppress
from typing import Any, Final, cast

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
"""Enough for every scraper, probe and person at once. One more closes the oldest connection, not the newest: a client
that only holds connections open cannot keep a probe out, and so cannot get the daemon restarted."""
CONNECTION_LIFETIME = 30.0
"""Seconds from accept to the last byte of the answer. The largest answer, the status of 5,000 sessions (1.3 MB), needs
50 kB/s; slower clients are cut off, because they hold a descriptor and memory."""


class EndpointConfig(Config):
    """uvicorn's configuration with a TLS context of our own, which can get another certificate later."""

    tls: ssl.SSLContext | None = None
    handshakes: Handshakes

    def load(self) -> None:
        super().load()
        self.ssl = self.tls


class ShortConnection(H11Protocol):
    """uvicorn's HTTP/1.1 with a limited lifetime: without it uvicorn waits for ever for a request or a slow reader.

    Implements `StreamConnection`: a stream lives for as long as it is extended, and has a limit of its own.
    """

    opened_at: float
    end: TimerHandle
    is_stream = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in H11Protocol
        """Start its lifetime; close the oldest one if there are too many."""
        super().connection_made(transport)
        cast("EndpointConfig", self.config).handshakes.end(transport.get_extra_info("socket").fileno())
        self.app_state = {"connection": self}
        self.opened_at = self.loop.time()
        self.end = self.loop.call_later(CONNECTION_LIFETIME, transport.abort)
        others = [each for each in self._all() if not each.is_stream]
        if len(others) > MAX_CONNECTIONS:
            oldest = min(others, key=lambda connection: connection.opened_at)
            self.connections.discard(oldest)  # at once: more connections may come before the abort is carried out
            oldest.transport.abort()

    def streams(self) -> int:
        return sum(each.is_stream for each in self._all())

    def extend(self) -> None:
        """Make it a stream, and allow it one more lifetime from now on."""
        self.is_stream = True
        self.end.cancel()
        self.end = self.loop.call_later(CONNECTION_LIFETIME, self.transport.abort)

    def _all(self) -> set[ShortConnection]:
        return cast("set[ShortConnection]", self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end.cancel()
        super().connection_lost(exc)


MAX_HANDSHAKES = 64
"""As many as connections: one more cuts the oldest one, so that silent clients cannot keep a probe out."""
HANDSHAKE_TIMEOUT = 5.0
"""Seconds from accept to the end of the TLS handshake: two round trips, with one lost packet each."""


class Handshakes:
    """The accepted sockets that are not a connection yet. Thread rule: the endpoint's event loop."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[socket.socket, asyncio.TimerHandle]] = {}

    def begin(self, accepted: socket.socket) -> bool:
        """Limit the time of this one; True if the oldest one had to be cut for it."""
        descriptor = accepted.fileno()
        self.end(descriptor)  # of a client that left: the system gave its descriptor to this one
        timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, self._cut, descriptor)
        self._begun[descriptor] = (accepted, timer)
        if len(self._begun) <= MAX_HANDSHAKES:
            return False
        for left in [each for each, (begun, _) in self._begun.items() if begun.fileno() == -1]:
            self.end(left)
        is_full = len(self._begun) > MAX_HANDSHAKES
        if is_full:
            self._cut(next(iter(self._begun)))
        return is_full

    def end(self, descriptor: int) -> None:
        """It is a connection now, or closed."""
        if descriptor in self._begun:
            _, timer = self._begun.pop(descriptor)
            timer.cancel()

    def _cut(self, descriptor: int) -> None:
        """Let asyncio read the end of the stream: it closes the socket, which is its own."""
        accepted, _ = self._begun[descriptor]
        self.end(descriptor)
        with suppress(OSError):  # the client has left
            accepted.shutdown(socket.SHUT_RDWR)


class LimitedListener(socket.socket):
    """A listening socket whose accepted sockets begin with a handshake."""

    def __init__(self, listener: socket.socket, handshakes: Handshakes) -> None:
        """Takes over the descriptor of ``listener``."""
        super().__init__(fileno=listener.detach())
        self._handshakes: Final = handshakes
        self._pauses = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept one. After a cut, asyncio must first close that socket, before it accepts the next one."""
        if self._pauses:
            self._pauses = False
            raise BlockingIOError
        accepted, address = super().accept()
        self._pauses = self._handshakes.begin(accepted)
        return accepted, address
