"""How an HTTP connection ends. The exceptions of sockets, TLS and the libraries do not leave this package.

No exception's text is copied as it is: urllib3's texts hold the whole URL with its query, others hold header values.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from enum import Enum
from http.client import BadStatusLine, IncompleteRead
from typing import Final

from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from bridge.http.response_head import HeadTimeout, InvalidHead

_TUNNEL_REFUSED: Final = re.compile(r"Tunnel connection failed: (\d{3})\b")
"""http.client's text for a proxy's response. It gives the status nowhere else."""


class EndKind(Enum):
    """Why a connection ended, or why there is no response."""

    ENDED = "ended"
    """The body ended. This never proves that the body is complete: a proxy that cuts it looks the same."""
    BROKEN = "broken"
    """The connection was reset, or the response is not valid HTTP."""
    SILENT = "silent"
    """No byte within the read timeout."""
    NO_HEAD = "no_head"
    """The connection stands, but no byte of the response head within the read timeout."""
    STALLED = "stalled"
    """Bytes came, but the response head or the body was not complete in time."""
    UNREACHABLE = "unreachable"
    """No connection because of the name, address, TLS, proxy or request headers."""
    REDIRECT_REFUSED = "redirect_refused"
    """The response is a redirect that is not followed."""
    TOO_LARGE = "too_large"
    """The body is larger than the caller allows."""
    STOPPED = "stopped"
    """Another thread ended the connection on purpose."""


class ConnectionLost(Exception):
    """A connection ended. The only exception of this package towards its callers.

    ``detail`` is one line without secrets. ``status`` is that of a refused redirect.
    """

    def __init__(self, kind: EndKind, detail: str, status: int | None = None) -> None:
        super().__init__(f"{kind.value}: {detail}")
        self.kind = kind
        self.detail = detail
        self.status = status


def lost_while_connecting(error: BaseException, connect_timeout: float, read_timeout: float) -> ConnectionLost:
    """Why no response head came."""
    causes = list(_causes(error))
    detail = _unreachable(error, causes, connect_timeout)
    if detail:
        return ConnectionLost(EndKind.UNREACHABLE, detail)
    lost = _lost(causes, read_timeout, "no response head")
    is_silent = lost.kind is EndKind.SILENT and lost.detail.startswith("no response head")
    return ConnectionLost(EndKind.NO_HEAD, lost.detail) if is_silent else lost


def lost_while_reading(error: BaseException, read_timeout: float) -> ConnectionLost:
    """Why a body ended without a proper end."""
    return _lost(list(_causes(error)), read_timeout, "the body is incomplete")


def _unreachable(error: BaseException, causes: list[BaseException], connect_timeout: float) -> str | None:  # noqa: PLR0911 - a table
    if found := _first(causes, socket.gaierror):
        return f"name not resolved: {_text(found)}"
    if _first(causes, ConnectTimeoutError) and not _first(causes, NewConnectionError):
        return f"no connection within {connect_timeout:g} s"
    if found := _first(causes, ssl.SSLError):
        return f"TLS failed: {_text(found)}"
    if _first(causes, ProxyError):
        return f"proxy failed: {_text(causes[-1])}"
    if _first(causes, NewConnectionError):
        return f"no connection: {_text(causes[-1])}"
    if isinstance(error, ValueError):  # how requests and urllib3 report an invalid URL
        return "the address is not valid"
    return None


def _lost(causes: list[BaseException], read_timeout: float, what: str) -> ConnectionLost:
    if _first(causes, HeadTimeout):
        return ConnectionLost(EndKind.STALLED, f"{what}: it was not complete after {read_timeout:g} s")
    timeout = _first(causes, TimeoutError)
    if isinstance(timeout, OSError) and timeout.errno is not None:  # ETIMEDOUT: TCP keepalive probes failed
        return ConnectionLost(EndKind.SILENT, "the peer no longer answers (TCP keepalive)")
    if timeout or _first(causes, ReadTimeoutError):
        return ConnectionLost(EndKind.SILENT, f"{what}: no byte for {read_timeout:g} s")
    return ConnectionLost(EndKind.BROKEN, f"{what}: {_text(causes[-1])}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and its causes, the root cause last. Libraries keep the cause in three different places."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = [getattr(error, "reason", None), error.__cause__, *error.args]
        error = next((cause for cause in inner if isinstance(cause, BaseException)), None)


def _first(causes: list[BaseException], kind: type[BaseException]) -> BaseException | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)


def _text(error: BaseException) -> str:  # noqa: PLR0911 - a table
    """A short text without anything that came from a URL or a header."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate refused: {error.verify_message}"
        case ssl.SSLError():
            return str(error.reason or "handshake failed").lower().replace("_", " ")
        case IncompleteRead():
            return "the connection closed too early"
        case ConnectionResetError(errno=None):  # http.client's RemoteDisconnected
            return "the server closed the connection"
        case InvalidHead():
            return str(error)
        case BadStatusLine():
            return "the response is not HTTP"
        case zlib.error() | DecodeError():
            return "the content encoding is corrupt"
        case OSError(errno=int(number)):
            return error.strerror or os.strerror(number)
        case OSError() if refused := _TUNNEL_REFUSED.match(str(error)):
            return f"it answered {refused[1]}"
        case _:
            return type(error).__name__
