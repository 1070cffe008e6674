"""Connections of the HTTP endpoint before they speak HTTP: their number and their time are limited.

asyncio announces a TLS connection only after its handshake, for which it waits 60 s. Without a limit before that,
thousands of clients that send nothing would use up the descriptors of the process.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

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
