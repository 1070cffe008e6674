"""A TCP proxy with network conditions that a test sets: clear, slow, black hole, half open, cut."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from tests.support.waiting import TIMEOUT

_PIECE = 16 * 1024
"""Bytes of one read: small enough for an even rate."""
_AHEAD = 16
"""Pieces of one direction in flight."""
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class NetworkConditions:
    """How the proxy treats bytes. It forwards held bytes when the conditions allow it again, as TCP does."""

    requests: bool = True
    """Whether bytes from clients are forwarded, including the end of a connection."""
    answers: bool = True
    """The same for bytes from the other side."""
    delay: float = 0.0
    """Delay of each piece in seconds, in both directions, without a change of order or throughput."""
    rate: float | None = None
    """Bytes a second of all connections together, per direction."""
    refuse: bool = False
    """New connections end at once."""


CLEAR = NetworkConditions()
BLACK_HOLE = NetworkConditions(requests=False, answers=False)
"""Nothing is forwarded; new connections are accepted and get no bytes."""
HALF_OPEN = NetworkConditions(answers=False)
"""Requests are forwarded and responses are not, not even the end of the other side."""
REFUSED = NetworkConditions(refuse=True)


class _Connection:
    """One connection from a client to the other side."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers

    def cut(self, *, reset: bool) -> None:
        for writer in self.writers:
            if reset:
                with suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Proxy:
    """Listens from its creation and forwards once entered; ``upstream`` may be set later. Any thread."""

    def __init__(self, upstream: int = 0) -> None:
        """``upstream`` is a port of this machine."""
        self.upstream = upstream
        self.accepted = 0
        """The number of connections so far."""
        self._conditions = CLEAR
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[_Connection] = set()
        self._paid: dict[bool, float] = {True: 0.0, False: 0.0}
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(TIMEOUT)
        self._loop.close()

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def set(self, conditions: NetworkConditions) -> None:
        """Set the conditions, for open connections too."""
        self._loop.call_soon_threadsafe(self._set, conditions)

    def cut(self, *, reset: bool = True) -> None:
        """End all connections now, with RST or FIN; the bytes in flight are lost."""
        self._do(self._cut(reset=reset))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)

    # --- the loop's thread

    def _set(self, conditions: NetworkConditions) -> None:
        self._conditions = conditions
        self._changed.set()
        self._changed = asyncio.Event()

    async def _cut(self, *, reset: bool) -> None:
        for connection in tuple(self._connections):
            connection.cut(reset=reset)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener)
        await self._ended.wait()
        server.close()
        await self._cut(reset=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            if not self._conditions.refuse:
                await self._join(connection, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the other side is not reachable, or the test ends: the client's connection ends below
        finally:
            connection.cut(reset=self._conditions.refuse)
            self._connections.discard(connection)

    async def _join(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._wait_until_allowed(0, is_answer=False, came_at=self._loop.time())  # its SYN is lost like the rest
        there, to_there = await asyncio.open_connection("127.0.0.1", self.upstream)
        connection.writers = (writer, to_there)
        directions = [
            asyncio.ensure_future(self._forward(reader, to_there, is_answer=False)),
            asyncio.ensure_future(self._forward(there, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        in_flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)
        reading = asyncio.ensure_future(self._read(reader, in_flight))
        try:
            while True:
                came_at, piece = await in_flight.get()
                await self._wait_until_allowed(len(piece), is_answer=is_answer, came_at=came_at)
                if not piece:
                    return
                writer.write(piece)
                await writer.drain()
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, in_flight: asyncio.Queue[tuple[float, bytes]]) -> None:
        piece = b"begin"
        while piece:
            try:
                piece = await reader.read(_PIECE)
            except OSError:
                piece = b""
            await in_flight.put((self._loop.time(), piece))

    async def _wait_until_allowed(self, size: int, *, is_answer: bool, came_at: float) -> None:
        """Return when a piece may be forwarded; the conditions may change while it waits."""
        while True:
            conditions, changed = self._conditions, self._changed
            is_open = conditions.answers if is_answer else conditions.requests
            due = came_at + conditions.delay
            if is_open and conditions.rate is not None:
                due = max(due, self._paid[is_answer] + size / conditions.rate)
            remaining = due - self._loop.time()
            if is_open and remaining <= 0:
                self._paid[is_answer] = self._loop.time()
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), remaining if is_open else None)
