"""Finds the answer to a request in a table of routes. Event loop thread only."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from bridge.simulator.server.http_edge import Answer, Refused, Request
from bridge.simulator.server.session_table import UnknownSession

Handler = Callable[[Request, str], Awaitable[Answer]]
"""Gets the request, and what the path's group matched."""


class Route(NamedTuple):
    """One line of the table."""

    method: str
    path: str
    """A regular expression for the whole path, with at most one group."""
    handler: Handler


class Routes:
    """A table of routes; whatever goes wrong becomes the contract's JSON error."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._table = [(each.method, re.compile(each.path), each.handler) for each in routes]

    async def answer(self, request: Request) -> Answer:
        """The answer; never raises for what a client can do wrong."""
        try:
            handler, name = self._find(request)
            return await handler(request, name)
        except Refused as refused:
            return Answer.refusal(refused)
        except UnknownSession as unknown:
            return Answer.refusal(Refused(404, f"session {unknown.args[0]} not found"))
        except KeyError as missing:
            return Answer.refusal(Refused(400, f"{missing.args[0]} is missing"))
        except (ValueError, TypeError) as wrong:
            return Answer.refusal(Refused(400, str(wrong)))

    def _find(self, request: Request) -> tuple[Handler, str]:
        matches = [
            (method, match, handler) for method, path, handler in self._table if (match := path.fullmatch(request.path))
        ]
        for method, match, handler in matches:
            if method == request.method:
                return handler, match.group(1) if match.groups() else ""
        if matches or request.path == "/stream":
            raise Refused(405, f"{request.method} is not possible here")
        raise Refused(404, f"{request.path} not found")
