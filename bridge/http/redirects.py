r"""The one redirect policy: a redirect must stay on the same server, because the token and the last event ID go along.

Two parsers may read one address differently: ``http://evil:81\@good/`` has the host ``good`` for the standard library
and ``evil`` for urllib3. So the addresses are compared as urllib3 parses the prepared URL, which is what is connected
to, and a ``Location`` with a backslash, a control character or other credentials is refused.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from urllib3.util import parse_url

from bridge.core.terminal_text import one_line
from bridge.http.errors import ConnectionLost, EndKind

MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
_REFUSED: Final = re.compile(r"[\x00-\x1f\x7f\\]")


class Origin(NamedTuple):
    """Where a request goes: what decides who gets its token."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        return one_line(f"{self.scheme}://{self.host}:{self.port}", 200)


def origin_of(prepared_url: str) -> Origin:
    """The origin of a URL that requests has prepared. Raises ValueError if the two parsers disagree about its host."""
    parts = parse_url(prepared_url)
    scheme, host = parts.scheme or "", parts.host or ""
    if host.strip("[]") != (urlsplit(prepared_url).hostname or ""):  # requests connects to the standard library's
        raise ValueError("ambiguous host")
    return Origin(scheme, host, parts.port or _PORTS.get(scheme))


def redirect_url(url: str, location: str | None, status: int) -> str:
    """The absolute, not yet prepared address of a redirect. Raises ConnectionLost for a location that is refused."""
    if not location:
        raise _refused(status, "without a location")
    if _REFUSED.search(location):
        raise _refused(status, "refused: its location has a backslash or a control character")
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise invalid(status) from error


def check_same_server(url: str, target: str, status: int) -> None:
    """Raise ConnectionLost unless the target is on the server of ``url``, or changes it to HTTPS. Both are prepared."""
    try:
        here, there = origin_of(url), origin_of(target)
    except ValueError as error:
        raise invalid(status) from error
    if parse_url(target).auth not in {None, parse_url(url).auth}:  # requests would send it in place of the token
        raise _refused(status, "refused: its location has user information (user@host)")
    changes_to_https = (here.scheme, here.host, "https") == ("http", there.host, there.scheme)
    if here != there and not changes_to_https:
        raise _refused(status, f"to another server, {there}: refused")


def invalid(status: int) -> ConnectionLost:
    """The error for a redirect to an address that is not valid."""
    return _refused(status, "to an invalid address")


def _refused(status: int, why: str) -> ConnectionLost:
    return ConnectionLost(EndKind.REDIRECT_REFUSED, f"redirect {status} {why}", status)
