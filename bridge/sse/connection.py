"""One session's connections to a server's event stream (WHATWG HTML, sections 9.2.2 and 9.2.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bridge.core.identity import sendable
from bridge.http.connection import Cutter
from bridge.http.cookies import Cookies
from bridge.http.errors import ConnectionLost, EndKind
from bridge.http.headers import Headers, http_date, request_headers
from bridge.http.response import Response
from bridge.http.transport import Transport
from bridge.sse.event_stream import EventStream, hold_nothing
from bridge.sse.reconnection import (
    Disconnected,
    Kind,
    Outcome,
    outcome_of_head,
    outcome_of_loss,
    parse_retry_after,
)

STALL_FACTOR: Final = 2
"""A stream stalls after so many read timeouts without a closed block or a complete comment line."""

_STREAM_HEADERS: Final = {"accept": "text/event-stream", "cache-control": "no-cache", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server, as the readers of its sessions use it."""

    transport: Transport
    headers: Headers
    max_block_bytes: int
    """A larger block becomes an oversize event."""
    keeps_cookies: bool = True
    """Cookies of a session's answers are sent with its next requests."""


class Connector:
    """Opens a session's connections, one at a time. ``connect`` belongs to the session's worker thread."""

    def __init__(
        self,
        endpoint: Endpoint,
        connected: Callable[[], None] = lambda: None,
        hold: Callable[[int], None] = hold_nothing,
    ) -> None:
        """``connected`` is called by ``connect`` when the connection stands and the response head is awaited.

        ``hold``: see :class:`EventStream`.
        """
        self._hold = hold
        self.endpoint = endpoint
        """Replaced between two connections, when the server's certificates are."""
        self._cutter = Cutter(connected)
        self._cookies = Cookies() if endpoint.keeps_cookies else None
        self._stream: EventStream | None = None

    @property
    def peer(self) -> str | None:
        """The address of the present connection, or of the last one."""
        return self._cutter.peer

    @property
    def was_cut(self) -> bool:
        """Whether ``stop`` or ``retire`` ended the present connection, or the last one."""
        return self._cutter.cut_as is not None

    def connect(self, url: str, last_event_id: str) -> EventStream:
        """Open the stream after this id (empty: send no id). Raises only Disconnected.

        Waits for the response head, at most the connect timeout and then the read timeout. The system resolves names,
        which can take longer. An id that HTTP cannot carry is ``BAD_REQUEST_ID``.
        """
        if self._stream is not None:
            self._stream.close()
        if not sendable(last_event_id):
            raise Disconnected(Outcome(Kind.BAD_REQUEST_ID, "HTTP cannot carry the last event id"))
        endpoint = self.endpoint
        try:
            headers = request_headers(endpoint.headers, _STREAM_HEADERS | {"last-event-id": last_event_id or None})
            response = endpoint.transport.get(url, headers, self._cutter, cookies=self._cookies)
        except ConnectionLost as lost:
            raise Disconnected(outcome_of_loss(lost)) from lost
        if refused := _refusal(response):
            response.close()  # the body is not read: it may be endless, and nothing in it may be shown
            raise Disconnected(refused)
        self._stream = EventStream(
            response,
            last_event_id,
            max_block_bytes=endpoint.max_block_bytes,
            stalled_after=STALL_FACTOR * endpoint.transport.read_timeout,
            hold=self._hold,
        )
        self._stream.answered_id = _answered_id(response)
        return self._stream

    def stop(self) -> None:
        """End the connection, in any state, and every later one, as STOPPED. Any thread; can be called twice."""
        self._cutter.cut(EndKind.STOPPED, "stopped", final=True)

    def retire(self) -> None:
        """End only the present connection, as ENDED: the next ``connect`` works. Any thread; can be called twice."""
        self._cutter.cut(EndKind.ENDED, "retired")


def _answered_id(response: Response) -> str | None:
    """The ``Last-Event-ID`` of the response, as Mercure sends it: UTF-8, which the HTTP library reads as Latin-1."""
    value = response.headers.get("last-event-id")
    return None if value is None else value.encode("latin-1", "replace").decode("utf-8", "replace")


def _refusal(response: Response) -> Outcome | None:
    # A date in Retry-After refers to the server's time, and this machine's clock may be wrong.
    now = http_date(response.headers.get("date", "")) or datetime.now(UTC)
    retry_after = parse_retry_after(response.headers.get("retry-after"), now)
    if response.status == 200 and response.unknown_coding is not None:  # noqa: PLR2004 - the only status of a stream
        detail = f"status 200 with content encoding {response.unknown_coding[:80]!r}, which was not asked for"
        return Outcome(Kind.NOT_A_STREAM, detail, 200)
    return outcome_of_head(response.status, response.media_type, retry_after)
