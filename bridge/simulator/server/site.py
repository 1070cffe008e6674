"""What a kind of server has to say for itself, whoever takes its connections."""

from __future__ import annotations

import asyncio
from typing import Protocol

from bridge.simulator.server.body_writer import Outlet
from bridge.simulator.server.http_edge import Answer, Request
from bridge.simulator.server.sessions import Reader


class Body(Protocol):
    """One open stream after its head."""

    reader: Reader

    async def run(self) -> None:
        """Write the body to its end. OSError when the client has gone."""


class Site(Protocol):
    """One kind of server."""

    def is_stream(self, request: Request) -> bool:
        """Whether the request opens a stream."""

    def body(self, request: Request, writer: asyncio.StreamWriter, outlet: Outlet) -> Body:
        """The stream that was asked for; Refused if there is none."""

    async def answer(self, request: Request) -> Answer:
        """The answer to any other request."""
