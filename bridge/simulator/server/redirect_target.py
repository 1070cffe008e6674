"""A second host that redirects lead to: it answers every request with an event, and logs the request's headers.

Thread rule: the server's event loop thread.
"""

from __future__ import annotations

import asyncio

import h11

from bridge.simulator.encoding import EVENT_STREAM_TYPE, event_block
from bridge.simulator.server.http_server import HttpConnection, Response
from bridge.simulator.server.request_log import RequestLog

_EVENT = event_block("content", b'{"type":"content","content":"from another host"}', "999999")
_NAME = "localhost"
"""Differs from the name in the server's own address, so that a client that compares hosts sees another one."""


class RedirectTarget:
    """Listens from the first call of ``address`` on."""

    def __init__(self, log: RequestLog) -> None:
        self._log = log
        self._listener: asyncio.Server | None = None

    async def address(self) -> str:
        """Return its URL without a path."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://{_NAME}:{self._listener.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = HttpConnection(reader, writer)
        try:
            if (request := await connection.next_request()) is not None:
                self._log.add(request, "elsewhere")
                await connection.send(Response(200, _EVENT, EVENT_STREAM_TYPE, [("Connection", "close")]))
        except (OSError, h11.RemoteProtocolError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
