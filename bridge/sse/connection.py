"""One HTTP connection to a server's event stream, on requests and urllib3: opened, read promptly, cut from outside.

The rules of a connection are those of WHATWG HTML, section 9.2.2 and 9.2.3. What goes beyond is for a bridge that runs
unattended: nothing from the environment, one TLS context per server, no redirect elsewhere, no secret in a detail.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse

from bridge import __version__
from bridge.core.identity import sendable
from bridge.http.connection import Link, LinkedHTTPConnection, LinkedHTTPSConnection, socket_options
from bridge.http.tls import client_context
from bridge.sse.body import Body
from bridge.sse.event_stream import EventStream
from bridge.sse.failures import outcome_of_connecting
from bridge.sse.reconnection import Disconnected, Kind, Outcome, http_date, outcome_of_head, parse_retry_after

MAX_REDIRECTS: Final = 5
STALL_FACTOR: Final = 2
"""Read timeouts without a closed block or a complete comment until a dripping stream is given up."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110, section 5.6.2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server, as its readers see it. Times in seconds."""

    headers: Callable[[], Mapping[str, str]]
    """Called for every connection, so that a token file is read again. Whatever it raises is an outcome."""
    connect_timeout: float
    read_timeout: float
    proxy: str | None
    tls: ssl.SSLContext | None
    """Shared by all readers of the server: a context of its own costs each 700 KiB. None: the public authorities."""
    max_block_bytes: int
    """Larger blocks become an oversize event."""


class Connector:
    """Opens a session's connections, one at a time. ``connect`` belongs to the session's worker thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._link = Link()
        self._stream: EventStream | None = None

    def connect(self, url: str, last_event_id: str) -> EventStream:
        """Open the stream after this id; empty: no id is sent. Raises Disconnected, and nothing else.

        Waits for the response head, at most the connect timeout and then the read timeout. Names are resolved by the
        system, for as long as it takes. An id that HTTP cannot carry (see ``sendable``) is ``BAD_REQUEST_ID``.
        """
        if self._stream is not None:
            self._stream.close()
        stopped = self._link.begin()
        if stopped is not None:
            raise Disconnected(stopped)
        if not sendable(last_event_id):
            raise Disconnected(Outcome(Kind.BAD_REQUEST_ID, "HTTP cannot carry the last event id"))
        endpoint = self._endpoint
        raw = self._open(url, last_event_id)
        self._stream = EventStream(
            Body(raw, self._link, endpoint.read_timeout, partial(self._release, raw)),
            last_event_id,
            max_block_bytes=endpoint.max_block_bytes,
            stalled_after=STALL_FACTOR * endpoint.read_timeout,
        )
        return self._stream

    def stop(self) -> None:
        """End the connection, in any state, and every later one, as STOPPED. Any thread; can be called twice."""
        self._link.cut(Outcome(Kind.STOPPED, "stopped"), final=True)

    def retire(self) -> None:
        """End only the present connection, as ENDED: the next ``connect`` works. Any thread; can be called twice."""
        self._link.cut(Outcome(Kind.ENDED, "retired"))

    def _open(self, url: str, last_event_id: str) -> BaseHTTPResponse:
        transport = _Transport(self._endpoint, self._link)
        try:
            raw = self._follow(transport, url, request_headers(_called(self._endpoint.headers), last_event_id))
            self._link.hand_over(raw.shutdown)
        except Exception as error:
            self._link.release()
            raise Disconnected(self._link.wanted or self._why(error)) from error
        finally:
            transport.close()
        return raw

    def _release(self, raw: BaseHTTPResponse) -> None:
        raw.close()
        self._link.release()

    def _why(self, error: Exception) -> Outcome:
        if isinstance(error, Disconnected):
            return error.outcome
        return outcome_of_connecting(error, self._endpoint.connect_timeout, self._endpoint.read_timeout)

    @staticmethod
    def _follow(transport: _Transport, url: str, headers: Mapping[str, bytes]) -> BaseHTTPResponse:
        """The response with the stream. Redirects keep the id and the token, so they stay on the same server."""
        for _ in range(MAX_REDIRECTS + 1):
            response = transport.get(url, headers)
            refused = _refusal(response)
            if refused is None:
                return _alone(response.raw)
            response.close()  # a body that is no stream is not read: nothing bounds it, nothing in it may be shown
            if response.status_code not in _REDIRECTS:
                raise Disconnected(refused)
            url = redirect_target(url, response.headers.get("location"), response.status_code)
        raise Disconnected(Outcome(Kind.UNAVAILABLE, f"more than {MAX_REDIRECTS} redirects", response.status_code))


class _Transport:
    """A requests session that opens one connection, without anything from the environment.

    It goes when the stream is there: a session, an adapter and urllib3's pools are 10 KiB that a reader has no use for.
    """

    def __init__(self, endpoint: Endpoint, link: Link) -> None:
        self._timeout = (endpoint.connect_timeout, endpoint.read_timeout)
        self._session = _Session()
        self._session.trust_env = False  # a netrc entry would replace the token
        self._session.headers.clear()
        if endpoint.proxy is not None:
            self._session.proxies = {"http": endpoint.proxy, "https": endpoint.proxy}
        self._adapter = _Adapter(endpoint, link)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)

    def get(self, url: str, headers: Mapping[str, bytes]) -> requests.Response:
        return self._session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=self._timeout)

    def close(self) -> None:
        """Keep no connection for another request: one kept alive may be dead by the time it is needed."""
        self._adapter.close()


def _alone(raw: Any) -> BaseHTTPResponse:  # noqa: ANN401 - requests does not say what it gives
    """The response, free of the pool it came from: it closes its own connection, and is given back to nobody."""
    raw._pool = None  # noqa: SLF001 - urllib3's own word for "of no pool"; by another name, only memory would be held
    return cast("BaseHTTPResponse", raw)


class _Session(requests.Session):
    """Leaves redirects alone: to offer the next request, requests reads a redirect's body to its end, if it has one."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - requests' signature
        return None


class _Adapter(HTTPAdapter):
    """Connections with the endpoint's TLS context and socket options, known to their link."""

    def __init__(self, endpoint: Endpoint, link: Link) -> None:
        self._endpoint = endpoint
        self._link = link
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:  # noqa: ANN401, FBT001, FBT002 - requests' signature
        super().init_poolmanager(connections, maxsize, block, **options, **self._options())

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401 - requests' signature
        return super().proxy_manager_for(proxy, **options, **self._options())

    def _options(self) -> dict[str, Any]:
        # The context is set here and not through requests' ``verify``, which loads 700 KiB of authorities for each
        # connection. Without one, requests would make its own; over plain HTTP none is needed.
        return {
            "socket_options": socket_options(self._endpoint.read_timeout),
            "ssl_context": self._endpoint.tls or _public_authorities(),
        }

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ANN401 - requests' signature
        """Nothing to load: the context verifies."""

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - requests' stubs say less than it gives
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        linked = LinkedHTTPSConnection if pool.scheme == "https" else LinkedHTTPConnection
        pool.ConnectionCls = partial(linked, self._link)  # called as the class would be
        return pool


@lru_cache(maxsize=1)
def _public_authorities() -> ssl.SSLContext:
    """The one context of all endpoints that bring none."""
    return client_context(None, None, None)


def request_headers(own: Mapping[str, str], last_event_id: str) -> dict[str, bytes]:
    """The request's headers as bytes: text goes out as UTF-8 (HTML, section 9.2.3), not as requests' latin-1.

    What makes it an event stream is set last. Raises Disconnected for a header that HTTP cannot carry, never with its
    value.
    """
    headers = {"user-agent": f"mix-bridge/{__version__}"}
    headers |= {name.lower(): value for name, value in own.items()}
    headers |= {"accept": "text/event-stream", "cache-control": "no-store", "accept-encoding": "identity"}
    headers.pop("last-event-id", None)
    if last_event_id:
        headers["last-event-id"] = last_event_id
    for name, value in headers.items():
        if not (_HEADER_NAME.fullmatch(name) and sendable(value)):
            raise Disconnected(Outcome(Kind.UNREACHABLE, f"HTTP cannot carry the header {name[:80]!r}"))
    return {name: value.encode() for name, value in headers.items()}


def _called(headers: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    try:
        return headers()
    except OSError as error:  # a token file: its name and the reason are what an operator needs
        raise Disconnected(Outcome(Kind.UNREACHABLE, f"no request headers: {one_line(str(error))}")) from error
    except Exception as error:
        raise Disconnected(Outcome(Kind.UNREACHABLE, f"no request headers: {type(error).__name__}")) from error


def _refusal(response: requests.Response) -> Outcome | None:
    retry_after = parse_retry_after(response.headers.get("retry-after"), _now_of(response.headers.get("date")))
    return outcome_of_head(response.status_code, response.headers.get("content-type", ""), retry_after)


def _now_of(date: str | None) -> datetime:
    """The server's own time, by which it means a date in ``Retry-After``: this machine's clock may be set wrong."""
    return http_date(date or "") or datetime.now(UTC)


def redirect_target(url: str, location: str | None, status: int) -> str:
    """Where a redirect leads. Raises Disconnected unless it stays on the host and port, or turns to HTTPS there."""
    if not location:
        raise Disconnected(Outcome(Kind.UNAVAILABLE, f"redirect {status} without a location", status))
    try:
        target = urljoin(url, location)
        here, there = _place(url), _place(target)
    except ValueError:
        raise Disconnected(Outcome(Kind.UNAVAILABLE, f"redirect {status} to an invalid address", status)) from None
    turns_to_tls = here[:2] == ("http", there[1]) and there[0] == "https"
    if here != there and not turns_to_tls:
        scheme, host, port = there
        place = one_line(f"{scheme}://{host}:{port}")
        raise Disconnected(Outcome(Kind.UNAVAILABLE, f"redirect {status} to another server, {place}: refused", status))
    return target


def _place(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def one_line(text: str) -> str:
    """Text of others in a detail: one line, printable, of bounded length."""
    return "".join(character if character.isprintable() else " " for character in text[:200])
