"""A Mix server's REST interface: which sessions exist, and whether the server is healthy."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from bridge.clock import Deadline, unix_ms
from bridge.errors import BridgeError, Stopped
from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost, EndKind
from bridge.http.headers import Headers, http_date, request_headers
from bridge.http.transport import Transport
from bridge.mix.listing import MOST_ENTRIES, Listing, ListTooLarge, SessionSummary, read_listing

_MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes: about 30,000 sessions. A body without an end must not fill the memory."""
_NOT_THERE: Final = frozenset({404, 405, 410, 501})
"""How servers answer a path that they do not have."""
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}
_ANSWERED: Final = frozenset({EndKind.REDIRECT_REFUSED, EndKind.TOO_LARGE, EndKind.STALLED})


class ServerUnavailable(BridgeError):
    """The server gave no usable response: try again later. The detail holds no secret and no payload.

    ``answered``: it sent a response, so it can be reached. ``status``: the response's status if that was not 200.
    """

    def __init__(self, detail: str, *, answered: bool = False, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.answered = answered
        self.status = status


class NoList(ServerUnavailable):
    """The server answers, but not with a list of sessions: it does not list them, or something in front answers."""


class SessionsApi:
    """Sends requests to one server. One thread sends them; `stop` may be called by any other thread and is final.

    ``report`` gets one line without payload when entries of a list are skipped. The transport's timeouts together limit
    the whole response, not only its pauses.
    """

    def __init__(
        self, base_url: str, headers: Headers, transport: Transport, report: Callable[[str], None] | None = None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = headers
        self.transport = transport
        """Replaced between two requests, when the server's certificates are."""
        self._report = report
        self._cutter = Cutter()
        self._last: tuple[bytes, Listing] | None = None
        self.skipped = 0
        """Entries of the last list that were skipped."""

        self.clock_ahead: float | None = None
        """Seconds that this machine's clock is ahead of the server's, by the last response; None: it has no date."""

    def list(self, *, include_subagents: bool) -> list[SessionSummary]:
        """The sessions of ``GET /api/sessions``. Raises `ServerUnavailable`, or `Stopped` after `stop`."""
        body = self._get(f"/api/sessions?includeSubagents={'true' if include_subagents else 'false'}")
        listing = self._read(body)
        if listing.skipped and self._report is not None:
            count = listing.skipped_count + len(listing.sessions)
            self._report(
                f"{listing.skipped_count} of {count} listed sessions skipped; {'; '.join(listing.skipped[:3])}"
            )
        if listing.is_cut and self._report is not None:
            self._report(f"the list has more than {MOST_ENTRIES:,} entries: the rest is not read")
        self.skipped = listing.skipped_count
        return listing.sessions

    def _read(self, body: bytes) -> Listing:
        """The parsed body. A list is seldom changed between two polls, and parsing it takes longer than its digest."""
        found = blake2b(body, digest_size=16).digest()
        if self._last is None or self._last[0] != found:
            try:
                self._last = found, read_listing(body)
            except ListTooLarge as error:
                raise ServerUnavailable(str(error), answered=True) from error
            except ValueError as error:
                raise NoList(str(error), answered=True) from error
        return self._last[1]

    def health(self) -> None:
        """Return if ``GET /health`` reports a healthy server. Raises `ServerUnavailable`, or `Stopped` after `stop`."""
        try:
            answer = json.loads(self._get("/health"))
        except (ValueError, RecursionError) as error:
            raise ServerUnavailable("GET /health: the response is not JSON", answered=True) from error
        if not isinstance(answer, dict):
            raise ServerUnavailable("GET /health: the response is not a JSON object", answered=True)

    def stop(self) -> None:
        """End a request that waits for its response within milliseconds, and every later one at its start."""
        self._cutter.cut(EndKind.STOPPED, "stopped", final=True)

    def _get(self, path: str) -> bytes:
        request = f"GET {path.partition('?')[0]}"
        try:
            return self._body(self._base_url + path, request)
        except ConnectionLost as lost:
            if lost.kind is EndKind.STOPPED:
                raise Stopped(request) from lost
            raise ServerUnavailable(f"{request}: {lost.detail}", answered=lost.kind in _ANSWERED) from lost

    def _body(self, url: str, request: str) -> bytes:
        transport = self.transport
        deadline = Deadline.after(transport.connect_timeout + transport.read_timeout)
        with transport.get(url, request_headers(self._headers, _HEADERS), self._cutter) as response:
            date = http_date(response.headers.get("date", ""))
            self.clock_ahead = None if date is None else unix_ms() / 1000 - date.timestamp()
            if response.status != 200:  # noqa: PLR2004 - the only status with a list or a health report
                kind = NoList if response.status in _NOT_THERE else ServerUnavailable
                raise kind(f"{request}: HTTP status {response.status}", answered=True, status=response.status)
            if response.unknown_coding is not None:
                raise ServerUnavailable(f"{request}: the content encoding was not asked for", answered=True)
            if response.media_type != "application/json" and not response.media_type.endswith("+json"):
                # Some servers answer any path with status 200 and a page or a text: that is not a list of sessions.
                raise NoList(f"{request}: the content type is not JSON", answered=True)
            return response.read_all(_MAX_BODY, deadline)
