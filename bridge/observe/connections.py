"""Connections of the HTTP endpoint: their lifetime and their number are limited, so that no client can hold it."""

from __future__ import annotations

import ssl
from asyncio import TimerHandle, Transport
from typing import cast

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from bridge.observe.handshakes import Handshakes

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
        """As uvicorn's, with the context."""
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
        """How many connections are streams."""
        return sum(each.is_stream for each in self._all())

    def extend(self) -> None:
        """Make it a stream, and allow it one more lifetime from now on."""
        self.is_stream = True
        self.end.cancel()
        self.end = self.loop.call_later(CONNECTION_LIFETIME, self.transport.abort)

    def _all(self) -> set[ShortConnection]:
        return cast("set[ShortConnection]", self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """End its lifetime."""
        self.end.cancel()
        super().connection_lost(exc)
