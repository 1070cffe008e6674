"""``GET /api/support``: what a support bundle needs of a running daemon, besides its other answers."""

from __future__ import annotations

import platform
import sys

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge import __version__
from bridge.observe.json_response import json_response
from bridge.observe.log_level_route import refuse_others
from bridge.observe.log_writer import recent_lines
from bridge.observe.stacks import all_stacks
from bridge.observe.tokens import Tokens

PATH = "/api/support"


def support_route(tokens: Tokens) -> Route:
    """The route; without a token only this machine may use it: log lines name sessions and addresses."""

    async def get(request: Request) -> Response:
        return refuse_others(request, tokens) or json_response(await run_in_threadpool(support))

    return Route(PATH, get)


def support() -> dict[str, object]:
    """The versions, the recent log lines with secrets masked, and the stacks of all threads. Any thread."""
    versions = {"mix-bridge": __version__, "python": sys.version, "platform": platform.platform()}
    return {"versions": versions, "log": recent_lines(), "stacks": all_stacks()}
