"""The simulated server's port: closed while a fault refuses connections, then open again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from bridge.simulator.faults.kinds import Refuse
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.server.body_writer import reset

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Connections that wait to be accepted: a client may open thousands of streams at once.
_BACKLOG = 4096


class Listener:
    """Listens on one address. While it refuses connections it stays bound, so that no other process gets the port."""

    def __init__(self, serve: Serve, registry: FaultRegistry) -> None:
        self._serve = serve
        self._registry = registry
        self._address: tuple[str, int] = ("", 0)
        self._placeholder: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._reopening = asyncio.Lock()
        registry.watch(self._follow_faults)

    async def open(self, host: str, port: int) -> int:
        """Listen and return the port. OSError or OverflowError if the address cannot be used."""
        self._placeholder = _bound(host, port)
        self._address = (host, self._placeholder.getsockname()[1])
        try:
            await self._listen()
        except OSError:
            self._placeholder.close()
            raise
        return self._address[1]

    async def close(self) -> None:
        if self._opening is not None:
            await self._opening
        self._refuse()
        if self._placeholder is not None:
            self._placeholder.close()

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

    def _follow_faults(self) -> None:
        if not self._is_closed_by_fault():
            self._opening = asyncio.get_running_loop().create_task(self._open_again())
        else:
            self._refuse()

    async def _open_again(self) -> None:
        async with self._reopening:
            if self._listener is None and not self._is_closed_by_fault():
                await self._listen()

    def _is_closed_by_fault(self) -> bool:
        return self._registry.find(Refuse, None, lambda record: record.fault.how == "close") is not None

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._registry.hit(Refuse, None) is not None:
            reset(writer)
        else:
            await self._serve(reader, writer)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound and does not listen: this process may bind the address again, others may not."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
