"""The one HTTP client, on requests and urllib3: for event streams, the list of sessions and ``status``.

Nothing comes from the environment (a netrc entry would replace the token, a proxy variable would send it elsewhere),
one TLS context serves all connections to a server, and a redirect to another server is refused.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from bridge.http.connection import CuttableHTTPConnection, CuttableHTTPSConnection, Cutter, socket_options
from bridge.http.cookies import Cookies
from bridge.http.errors import ConnectionLost, EndKind, lost_while_connecting
from bridge.http.redirects import MAX_REDIRECTS, REDIRECTS, check_same_server, invalid, redirect_url
from bridge.http.response import Response
from bridge.settings.tls import verifying_context


@dataclass(frozen=True, slots=True)
class Transport:
    """How one server is reached. Shared by all threads that send requests to it. Times in seconds."""

    connect_timeout: float
    read_timeout: float
    """For the whole response head, and for each receive of the body."""
    proxy: str | None = None
    tls: ssl.SSLContext | None = None
    """One context per server: a context per connection costs 700 KiB each. None: the system's authorities."""

    def get(
        self,
        url: str,
        headers: Mapping[str, bytes],
        cutter: Cutter,
        *,
        follow_redirects: bool = True,
        cookies: Cookies | None = None,
    ) -> Response:
        """Send a GET request; see ``_send``. ``cookies`` of earlier requests; None: those of its redirects only."""
        return self._send(
            cutter,
            lambda client: (
                client.follow(url, headers) if follow_redirects else client.answer(client.prepared(url, headers))
            ),
            cookies,
        )

    def put(self, url: str, headers: Mapping[str, bytes], body: bytes, cutter: Cutter) -> Response:
        """Send a PUT request and follow no redirect; see ``_send``."""
        return self._send(cutter, lambda client: client.answer(client.prepared(url, headers, body)))

    def _send(
        self, cutter: Cutter, send: Callable[[_Client], requests.Response], cookies: Cookies | None = None
    ) -> Response:
        """Send a request over a new connection and wait for the response head. Raises only ConnectionLost.

        A connection is never reused: one that was kept alive may be dead by then. The system resolves names, which can
        take longer than the connect timeout.
        """
        if cut := cutter.begin():
            raise ConnectionLost(*cut)
        client = _Client(self, cutter, cookies)
        try:
            raw: Any = send(client).raw
            raw._pool = None  # noqa: SLF001 - its connection is never returned; if the name changes, only memory is held
            cutter.watch_response(raw.shutdown)
        except Exception as error:
            cutter.release()
            if cutter.cut_as is not None:
                raise ConnectionLost(*cutter.cut_as) from error
            if isinstance(error, ConnectionLost):
                raise
            raise lost_while_connecting(error, self.connect_timeout, self.read_timeout) from error
        finally:
            client.close()
        response = Response(raw, cutter, self.read_timeout)
        if cutter.cut_as is not None:  # a head that was cut looks like a complete one with fewer headers
            response.close()
            raise ConnectionLost(*cutter.cut_as)
        return response


class _Client(requests.Session):
    """A session for one request and its redirects.

    It is closed when the response has come: a session, an adapter and urllib3's pools hold 10 KiB that an open stream
    does not need.
    """

    def __init__(self, transport: Transport, cutter: Cutter, cookies: Cookies | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))  # requests' own jar ignores scheme and port
        self._cookies = cookies or Cookies()
        self.headers.clear()
        if transport.proxy is not None:
            self.proxies = {"http": transport.proxy, "https": transport.proxy}
        self._timeout = (transport.connect_timeout, transport.read_timeout)
        adapter = _Adapter(transport, cutter)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - requests' signature
        """None: to prepare the next request, requests would read a redirect's whole body, which may be endless."""
        return None

    def prepared(self, url: str, headers: Mapping[str, bytes], body: bytes | None = None) -> requests.PreparedRequest:
        """A GET request, or PUT with a body."""
        return self.prepare_request(requests.Request("GET" if body is None else "PUT", url, headers, data=body))

    def answer(self, request: requests.PreparedRequest) -> requests.Response:
        self._cookies.add_to(request)
        response = self.send(request, stream=True, allow_redirects=False, timeout=self._timeout)
        self._cookies.take(request, response)
        return response

    def follow(self, url: str, headers: Mapping[str, bytes]) -> requests.Response:
        """The first response that is not a redirect."""
        request = self.prepared(url, headers)
        for _ in range(MAX_REDIRECTS + 1):
            response = self.answer(request)
            status = response.status_code
            if status not in REDIRECTS:
                return response
            response.close()
            request = self.redirected(request, response.headers.get("location"), status, headers)
        raise ConnectionLost(EndKind.REDIRECT_REFUSED, f"more than {MAX_REDIRECTS} redirects", status)

    def redirected(
        self, request: requests.PreparedRequest, location: str | None, status: int, headers: Mapping[str, bytes]
    ) -> requests.PreparedRequest:
        """The request of a redirect. Raises ConnectionLost if it is refused."""
        url = request.url or ""
        try:
            target = self.prepared(redirect_url(url, location, status), headers)
        except (requests.RequestException, ValueError) as error:
            raise invalid(status) from error
        check_same_server(url, target.url or "", status)
        return target


class _Adapter(HTTPAdapter):
    """Connections with the transport's TLS context and socket options, which a cutter can end."""

    def __init__(self, transport: Transport, cutter: Cutter) -> None:
        self._transport = transport
        self._cutter = cutter
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:  # noqa: ANN401, FBT001, FBT002 - requests' signature
        super().init_poolmanager(connections, maxsize, block, **options, **self._options())

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401 - requests' signature
        return super().proxy_manager_for(proxy, **options, **self._options())

    def _options(self) -> dict[str, Any]:
        # The context is set here and not through requests' ``verify``, which loads 700 KiB of authorities for each
        # connection. Without a context requests creates one itself.
        context = self._transport.tls or _system_authorities()
        # Where the context does not compare the host name, urllib3 would do it itself.
        names: dict[str, Any] = {} if context.check_hostname else {"assert_hostname": False}
        return {"socket_options": socket_options(self._transport.read_timeout), "ssl_context": context} | names

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ANN401 - requests' signature
        """Load nothing: the context verifies. The inherited method would add certifi's authorities to ``ca_file``."""

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - requests' types say too little
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        connection = CuttableHTTPSConnection if pool.scheme == "https" else CuttableHTTPConnection
        pool.ConnectionCls = partial(connection, self._cutter)  # called like the class
        return pool


@lru_cache(maxsize=1)
def _system_authorities() -> ssl.SSLContext:
    """The one context of all transports that have none of their own."""
    return verifying_context()
