"""How an HTTP connection ends. The libraries' own exceptions do not leave this package."""

from __future__ import annotations

from enum import Enum


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
