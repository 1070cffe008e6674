"""The simulated server's port: open, refused while a fault says so, and open again. Event loop thread only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from bridge.simulator.faults.kinds import Place, Refuse
from bridge.simulator.faults.registry import Entry, FaultRegistry
from bridge.simulator.server.body_writer import reset

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Connections that wait to be accepted: a bridge opens all its streams at once.
_BACKLOG = 4096


class Listener:
    """Listens on one address. While refused it keeps the port, so that nobody else gets it meanwhile."""

    def __init__(self, serve: Serve, book: FaultRegistry) -> None:
        self._serve = serve
        self._book = book
        self._address: tuple[str, int] = ("", 0)
        self._keeper: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        book.watch(self._follow)

    async def open(self, host: str, port: int) -> int:
        """Listen; the port. OSError or OverflowError if the address cannot be had."""
        self._keeper = _bound(host, port)
        self._address = (host, self._keeper.getsockname()[1])
        try:
            await self._listen()
        except OSError:
            self._keeper.close()
            raise
        return self._address[1]

    async def close(self) -> None:
        """Listen no more."""
        if self._opening is not None:
            await self._opening
        self._refuse()
        if self._keeper is not None:
            self._keeper.close()

    async def _listen(self) -> None:
        listening = _bound(*self._address)
        try:
            self._listener = await asyncio.start_server(self._receive, sock=listening, backlog=_BACKLOG)
        except OSError:
            listening.close()
            raise

    def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _follow(self) -> None:
        """A fault has begun or ended."""
        if not self._is_shut():
            self._opening = asyncio.get_running_loop().create_task(self._open_again())
        else:
            self._refuse()

    async def _open_again(self) -> None:
        async with self._changing:
            if self._listener is None and not self._is_shut():
                await self._listen()

    def _is_shut(self) -> bool:
        return self._book.find(Place.ACCEPT, None, _shuts) is not None

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._book.take(Place.ACCEPT, None) is not None:
            reset(writer)
        else:
            await self._serve(reader, writer)


def _shuts(entry: Entry) -> bool:
    return isinstance(entry.fault, Refuse) and entry.fault.how == "close"


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has the address and does not listen: several of ours may have it, strangers may not."""
    known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = known[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
