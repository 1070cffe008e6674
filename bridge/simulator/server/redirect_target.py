"""Another host, for redirects to lead to: it takes whoever comes for a reader, and writes down what they brought.

Event loop thread only.
"""

from __future__ import annotations

import asyncio

import h11

from bridge.simulator.server.encoding import EVENT_STREAM_TYPE, event_block
from bridge.simulator.server.http_edge import Answer, Exchange
from bridge.simulator.server.request_log import RequestLog

_BAIT = event_block("content", b'{"type":"content","content":"from another host"}', "999999")
_NAME = "localhost"
"""Not the name that our own address has: a client that compares hosts sees another one."""


class RedirectTarget:
    """Listens once it is asked for."""

    def __init__(self, log: RequestLog) -> None:
        self._log = log
        self._listener: asyncio.Server | None = None

    async def address(self) -> str:
        """Its URL, without a path."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://{_NAME}:{self._listener.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(reader, writer)
        try:
            if (request := await exchange.next_request()) is not None:
                self._log.note(request, "elsewhere")
                await exchange.answer(Answer(200, _BAIT, EVENT_STREAM_TYPE, [("Connection", "close")]))
        except (OSError, h11.RemoteProtocolError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
