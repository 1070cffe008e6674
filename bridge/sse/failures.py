"""Exceptions of sockets, TLS and HTTP libraries become outcomes: a kind to act on and one line to read.

No text of an exception goes into the line as it is: urllib3's hold the whole URL with its query, others header values.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from http.client import IncompleteRead
from typing import Final

from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from bridge.http.response_head import HeadTimeout
from bridge.sse.reconnection import Kind, Outcome

_TUNNEL_REFUSED: Final = re.compile(r"Tunnel connection failed: (\d{3})\b")
"""http.client's words for a proxy's answer: the status is nowhere else."""


def outcome_of_connecting(error: BaseException, connect_timeout: float, read_timeout: float) -> Outcome:  # noqa: PLR0911 - a table
    """Why no response head came."""
    causes = list(_causes(error))
    if found := _first(causes, socket.gaierror):
        return Outcome(Kind.UNREACHABLE, f"name not resolved: {_text(found)}")
    if _first(causes, ConnectTimeoutError) and not _first(causes, NewConnectionError):
        return Outcome(Kind.UNREACHABLE, f"no connection within {connect_timeout:g} s")
    if found := _first(causes, ssl.SSLError):
        return Outcome(Kind.UNREACHABLE, f"TLS failed: {_text(found)}")
    if _first(causes, ProxyError):
        return Outcome(Kind.UNREACHABLE, f"proxy failed: {_text(causes[-1])}")
    if _first(causes, NewConnectionError):
        return Outcome(Kind.UNREACHABLE, f"no connection: {_text(causes[-1])}")
    if isinstance(error, ValueError):  # requests' and urllib3's words for an address that is none
        return Outcome(Kind.UNREACHABLE, "the address is not valid")
    return _outcome(causes, read_timeout, "no response head")


def outcome_of_reading(error: BaseException, read_timeout: float) -> Outcome:
    """Why a body ended that had no proper end."""
    return _outcome(list(_causes(error)), read_timeout, "the body broke off")


def _outcome(causes: list[BaseException], read_timeout: float, what: str) -> Outcome:
    if _first(causes, HeadTimeout):
        return Outcome(Kind.STALLED, f"{what}: it was not whole after {read_timeout:g} s")
    timeout = _first(causes, TimeoutError)
    if isinstance(timeout, OSError) and timeout.errno is not None:  # ETIMEDOUT: the kernel's probes went unanswered
        return Outcome(Kind.SILENT, "the peer no longer answers (TCP keepalive)")
    if timeout or _first(causes, ReadTimeoutError):
        return Outcome(Kind.SILENT, f"{what}: no byte for {read_timeout:g} s")
    return Outcome(Kind.BROKEN, f"{what}: {_text(causes[-1])}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what led to it, the root last. Libraries hide the cause in three different places."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = [getattr(error, "reason", None), error.__cause__, *error.args]
        error = next((cause for cause in inner if isinstance(cause, BaseException)), None)


def _first(causes: list[BaseException], kind: type[BaseException]) -> BaseException | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)


def _text(error: BaseException) -> str:  # noqa: PLR0911 - a table
    """A few words without anything that came from a URL or a header."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate refused: {error.verify_message}"
        case ssl.SSLError():
            return str(error.reason or "handshake failed").lower().replace("_", " ")
        case IncompleteRead():
            return "it ended too early"
        case zlib.error() | DecodeError():
            return "the content encoding is corrupt"
        case OSError(errno=int(number)):
            return error.strerror or os.strerror(number)
        case OSError() if refused := _TUNNEL_REFUSED.match(str(error)):
            return f"it answered {refused[1]}"
        case _:
            return type(error).__name__
