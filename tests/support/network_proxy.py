"""A TCP proxy whose weather a test makes: clear, slow, black hole, half open, cut."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

_PIECE = 16 * 1024
"""Bytes of one read: small enough for a rate to be even."""
_AHEAD = 16
"""Pieces of one direction that are on their way, as a network would have them."""
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class NetworkConditions:
    """How a proxy treats what comes by. What it holds back goes on when the weather clears, as TCP itself would."""

    requests: bool = True
    """Whether what clients say gets through, the end of a connection included."""
    answers: bool = True
    """The same for what the other side says."""
    delay: float = 0.0
    """Seconds each piece is late, in both directions; the order and the throughput stay."""
    rate: float | None = None
    """Bytes a second of all connections together, each direction for itself."""
    refuse: bool = False
    """New connections end at once."""


CLEAR = NetworkConditions()
BLACK_HOLE = NetworkConditions(requests=False, answers=False)
"""Everything is swallowed; new connections are accepted and hear nothing."""
HALF_OPEN = NetworkConditions(answers=False)
"""Requests arrive and no answer comes back: not even that the other side is gone."""
REFUSED = NetworkConditions(refuse=True)


class _Line:
    """One connection: from a client here to the other side there."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers

    def cut(self, *, reset: bool) -> None:
        for writer in self.writers:
            if reset:
                with suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Proxy:
    """Listens from its making, passes on from ``start``; ``upstream`` may be named later than that. Any thread."""

    def __init__(self, upstream: int = 0) -> None:
        """``upstream`` is a port of this machine."""
        self.upstream = upstream
        self.accepted = 0
        """Connections so far."""
        self._conditions = CLEAR
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._lines: set[_Line] = set()
        self._paid: dict[bool, float] = {True: 0.0, False: 0.0}
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)
        self._loop.close()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def set(self, conditions: NetworkConditions) -> None:
        """Another weather from now on, for open connections too."""
        self._loop.call_soon_threadsafe(self._set, conditions)

    def cut(self, *, reset: bool = True) -> None:
        """End all connections now, with RST or FIN; what was on its way is lost for good."""
        self._do(self._cut(reset=reset))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    # The loop's thread

    def _set(self, conditions: NetworkConditions) -> None:
        self._conditions = conditions
        self._changed.set()
        self._changed = asyncio.Event()

    async def _cut(self, *, reset: bool) -> None:
        for line in tuple(self._lines):
            line.cut(reset=reset)

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
        line = _Line(writer)
        self._lines.add(line)
        try:
            if not self._conditions.refuse:
                await self._join(line, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the other side is not there, or the test is over: the client learns it from the end below
        finally:
            line.cut(reset=self._conditions.refuse)
            self._lines.discard(line)

    async def _join(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._let_through(0, is_answer=False, came_at=self._loop.time())  # its SYN is lost like the rest
        there, to_there = await asyncio.open_connection("127.0.0.1", self.upstream)
        line.writers = (writer, to_there)
        ways = [
            asyncio.ensure_future(self._pass_on(reader, to_there, is_answer=False)),
            asyncio.ensure_future(self._pass_on(there, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)
        reading = asyncio.ensure_future(self._read(reader, on_the_way))
        try:
            while True:
                came_at, piece = await on_the_way.get()
                await self._let_through(len(piece), is_answer=is_answer, came_at=came_at)
                if not piece:
                    return
                writer.write(piece)
                await writer.drain()
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, on_the_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        piece = b"begin"
        while piece:
            try:
                piece = await reader.read(_PIECE)
            except OSError:
                piece = b""
            await on_the_way.put((self._loop.time(), piece))

    async def _let_through(self, size: int, *, is_answer: bool, came_at: float) -> None:
        """Return when a piece may go on; the weather may change meanwhile."""
        while True:
            conditions, changed = self._conditions, self._changed
            is_open = conditions.answers if is_answer else conditions.requests
            due = came_at + conditions.delay
            if is_open and conditions.rate is not None:
                due = max(due, self._paid[is_answer] + size / conditions.rate)
            late = due - self._loop.time()
            if is_open and late <= 0:
                self._paid[is_answer] = self._loop.time()
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), late if is_open else None)
