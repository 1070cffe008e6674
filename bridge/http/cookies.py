"""Cookies of one client: a load balancer with sticky sessions finds the server again by one (RFC 6265).

Stricter than a browser: a cookie is sent to exactly the origin (scheme, host and port) that set it, and the number and
size of cookies are limited, because each request carries all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import requests
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar, get_cookie_header

from bridge.core.identity import sendable
from bridge.http.redirects import Origin, origin_of

MOST_COOKIES: Final = 50
"""Of one origin, as many as RFC 6265, section 6.1, asks of a browser."""
MOST_BYTES: Final = 4096
"""Of one request, with a configured ``Cookie`` header: servers refuse request heads from 8 KiB on."""
_TOO_LARGE: Final = frozenset({400, 431, 494})
"""Status codes of a server that refuses a long request head. nginx: 400, in its log 494."""


class Cookies:
    """The cookies of one client. Only the thread that sends its requests may use it."""

    def __init__(self) -> None:
        self._jars: dict[Origin, RequestsCookieJar] = {}
        self._configured = 0
        """The size of the present request's configured ``Cookie`` header."""

    def add_to(self, request: requests.PreparedRequest) -> None:
        """Add the cookies of the request's origin, after those of a configured ``Cookie`` header."""
        url = request.url or ""
        configured: bytes | None = request.headers.get("cookie")  # type: ignore[assignment]  # ours are bytes
        self._configured = len(configured or b"")
        jar = self._jars.get(origin_of(url))
        own = None if jar is None else get_cookie_header(jar, requests.Request("GET", url).prepare())  # type: ignore[no-untyped-call]
        if own and sendable(own) and self._configured + len(own) + 2 <= MOST_BYTES:
            values = [value for value in (configured, own.encode("latin-1")) if value]
            request.headers["cookie"] = b"; ".join(values)  # type: ignore[assignment]

    def take(self, request: requests.PreparedRequest, response: requests.Response) -> None:
        """Keep the cookies of a response. One that may mean that the request was too large ends all of its origin."""
        origin = origin_of(request.url or "")
        if response.status_code in _TOO_LARGE:
            self._jars.pop(origin, None)
        elif "set-cookie" in response.headers:
            jar = self._jars.setdefault(origin, RequestsCookieJar())
            self._extract(jar, request, response)
            jar.clear_expired_cookies()
            if not self._is_small(jar):
                newest = RequestsCookieJar()
                self._extract(newest, request, response)
                self._jars[origin] = newest if self._is_small(newest) else RequestsCookieJar()

    def _extract(self, jar: RequestsCookieJar, request: requests.PreparedRequest, response: requests.Response) -> None:
        """Add a response's cookies. One that no request can carry is left out, so that it does not cost the others."""
        extract_cookies_to_jar(jar, request, response.raw)  # type: ignore[no-untyped-call]
        for cookie in [*jar]:
            if self._configured + _size([cookie]) > MOST_BYTES or not sendable(f"{cookie.name}={cookie.value}"):
                jar.clear(cookie.domain, cookie.path, cookie.name)

    def _is_small(self, jar: RequestsCookieJar) -> bool:
        """Whether all these cookies, and the configured ones, may be sent with a request."""
        return len(jar) <= MOST_COOKIES and self._configured + _size(jar) <= MOST_BYTES


def _size(cookies: Iterable[Any]) -> int:
    return sum(len(cookie.name) + len(cookie.value or "") + 3 for cookie in cookies)
