"""The paths for an operator: ``PUT /api/log-level`` and ``GET /api/support``, and who may use them."""

from __future__ import annotations

import ipaddress
import json
import platform
import sys
from collections.abc import Callable
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge import __version__
from bridge.observe.json_response import json_response
from bridge.observe.log_levels import DEFAULT_SECONDS, LEVELS, LOGGER, MOST_SECONDS, LevelChange, LogLevels
from bridge.observe.log_writer import recent_lines
from bridge.observe.stacks import all_stacks
from bridge.observe.tokens import Tokens
from bridge.settings.quantities import parse_duration

MAX_BODY = 4096


class BadChange(ValueError):
    """The body is not a change of the level: the message says what is allowed."""


def log_level_route(
    levels: LogLevels, tokens: Tokens, forward: Callable[[LevelChange], None] = lambda _: None
) -> Route:
    """The route; without a token only this machine may use it, because a debug log costs disk and speed.

    ``forward`` gives the change to other processes, and may wait.
    """

    async def put(request: Request) -> Response:
        if refusal := refuse_others(request, tokens):
            return refusal
        try:
            change = parse_change(await _body(request))
        except BadChange as error:
            return _refused(HTTPStatus.BAD_REQUEST, str(error))
        levels.change(change)
        await run_in_threadpool(forward, change)
        return JSONResponse({"level": change.level, "logger": change.logger, "for": change.seconds})

    return Route("/api/log-level", put, methods=["PUT"])


def refuse_others(request: Request, tokens: Tokens) -> Response | None:
    """Without a token, the refusal for a client of another machine; None for others: the token was checked before."""
    if tokens.is_needed or is_loopback(request.client.host if request.client else ""):
        return None
    return _refused(HTTPStatus.FORBIDDEN, "without http.token, only a client on the same machine may do this")


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise BadChange(f"the body is larger than {MAX_BODY} bytes")
    return body


def parse_change(body: bytes) -> LevelChange:
    """The change in a body: ``{"level": "debug", "logger": "bridge.sse", "for": "10m"}``. Raises `BadChange`."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise BadChange("the body is not JSON") from None
    if not isinstance(values, dict) or not values.keys() <= {"level", "logger", "for"}:
        raise BadChange('allowed: {"level": ..., "logger": ..., "for": ...}')
    return LevelChange(_level(values.get("level")), _logger(values.get("logger")), _seconds(values.get("for")))


def _level(value: object) -> str:
    if value not in LEVELS:
        raise BadChange(f"level: allowed: {', '.join(LEVELS)}")
    return str(value)


def _logger(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and LOGGER.fullmatch(value)):
        raise BadChange("logger: allowed: bridge, or a name that begins with bridge. such as bridge.sse")
    return value


def _seconds(value: object) -> float:
    if value is None:
        return DEFAULT_SECONDS
    try:
        seconds = parse_duration(str(value)) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        seconds = 0.0
    if isinstance(value, bool) or not 1 <= seconds <= MOST_SECONDS:
        raise BadChange("for: allowed: a duration such as 90s, 10m or 2h, from 1s to 24h")
    return seconds


def is_loopback(host: str) -> bool:
    """Whether a client's address is one of this machine only."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _refused(code: HTTPStatus, why: str) -> Response:
    return JSONResponse({"error": why}, code)


def support_route(tokens: Tokens) -> Route:
    """The route; without a token only this machine may use it: log lines name sessions and addresses."""

    async def get(request: Request) -> Response:
        return refuse_others(request, tokens) or json_response(await run_in_threadpool(support))

    return Route("/api/support", get)


def support() -> dict[str, object]:
    """The versions, the recent log lines with secrets masked, and the stacks of all threads. Any thread."""
    versions = {"mix-bridge": __version__, "python": sys.version, "platform": platform.platform()}
    return {"versions": versions, "log": recent_lines(), "stacks": all_stacks()}
