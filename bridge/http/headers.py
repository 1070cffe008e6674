"""The headers of a request, as the bytes that are sent, and the dates in those of a response."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from bridge import __version__
from bridge.core.identity import sendable
from bridge.core.terminal_text import one_line
from bridge.http.errors import ConnectionLost, EndKind

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110, section 5.6.2

Headers = Callable[[], Mapping[str, str]]
"""The configured headers. Called for every request, so that a token file is read again."""


def request_headers(configured: Headers, own: Mapping[str, str | None]) -> dict[str, bytes]:
    """The configured headers and our own, which win; None removes one. Values are UTF-8 (HTML, section 9.2.3).

    Raises ConnectionLost if a token file cannot be read or HTTP cannot carry a header; never with the header's value.
    """
    named = {name.lower(): value for name, value in _called(configured).items()}
    merged: dict[str, str | None] = {"user-agent": f"mix-bridge/{__version__}", **named, **own}
    headers = {name: value for name, value in merged.items() if value is not None}
    for name, value in headers.items():
        if not (_NAME.fullmatch(name) and sendable(value)):
            raise ConnectionLost(EndKind.UNREACHABLE, f"HTTP cannot carry the header {name[:80]!r}")
    return {name: value.encode() for name, value in headers.items()}


def _called(configured: Headers) -> Mapping[str, str]:
    try:
        return configured()
    except OSError as error:  # a token file: the operator needs its name and the reason
        raise ConnectionLost(EndKind.UNREACHABLE, f"no request headers: {one_line(str(error), 200)}") from error
    except Exception as error:
        raise ConnectionLost(EndKind.UNREACHABLE, f"no request headers: {type(error).__name__}") from error


def http_date(text: str) -> datetime | None:
    """The time of an HTTP date (RFC 9110, section 5.6.7); None for any other text."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # a date with "-0000" has no zone: it is UTC
