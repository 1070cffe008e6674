"""A Mix server's REST side: which sessions there are, and whether the server is well."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from bridge.clock import monotonic
from bridge.errors import BridgeError, Stopped
from bridge.mix.listing import SessionSummary, read_listing

__all__ = ["ServerUnavailable", "SessionSummary", "SessionsApi"]

_MAX_BODY = 16 * 1024 * 1024  # some 30,000 sessions; a body without end must not fill the memory
_PIECE = 64 * 1024
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class ServerUnavailable(BridgeError):
    """The server gave no answer that can be believed: try again later. The detail holds no secret and no payload.

    ``answered``: it did give an answer, so it can be reached. ``status``: of that answer, when it was not 200.
    """

    def __init__(self, detail: str, *, answered: bool = False, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.answered = answered
        self.status = status


class SessionsApi:
    """Asks one server. Any thread may ask; `stop` may come from any other and is final.

    ``headers`` is called for every request, so that a token file is read again. ``report`` is told, in one line without
    payload, when entries of a list had to be skipped. Time-outs are seconds; ``read_timeout`` limits the whole answer,
    not only its silences. Each request has a connection of its own: servers close idle ones between two polls.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a connection needs
        self,
        base_url: str,
        headers: Callable[[], Mapping[str, str]],
        connect_timeout: float,
        read_timeout: float,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = headers
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._tls = tls
        self._report = report
        self._sockets = _Sockets()

    def list(self, *, include_subagents: bool) -> list[SessionSummary]:
        """The sessions of ``GET /api/sessions``. Raises `ServerUnavailable`, or `Stopped` after `stop`."""
        body = self._get(f"/api/sessions?includeSubagents={'true' if include_subagents else 'false'}")
        try:
            listing = read_listing(body)
        except ValueError as error:
            raise ServerUnavailable(str(error), answered=True) from error
        if listing.skipped and self._report is not None:
            count = len(listing.skipped) + len(listing.sessions)
            self._report(f"{len(listing.skipped)} of {count} listed sessions skipped; {'; '.join(listing.skipped[:3])}")
        return listing.sessions

    def health(self) -> None:
        """Return when ``GET /health`` says that all is well. Raises `ServerUnavailable`, or `Stopped` after `stop`."""
        try:
            answer = json.loads(self._get("/health"))
        except (ValueError, RecursionError) as error:
            raise ServerUnavailable("GET /health: the answer is not JSON", answered=True) from error
        if not isinstance(answer, dict):
            raise ServerUnavailable("GET /health: the answer is no JSON object", answered=True)

    def stop(self) -> None:
        """End a request that waits for its answer within milliseconds (one that connects: by ``connect_timeout``)."""
        self._sockets.stop()

    def _get(self, path: str) -> bytes:
        what = f"GET {path.partition('?')[0]}"
        failure: Exception | None = None
        body, detail = b"", ""
        if not self._sockets.stopped:
            try:
                body = self._ask(path)
            except _Disbelieved as error:
                failure, detail = error, str(error)
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:
                failure, detail = error, _reason(error)
        if self._sockets.stopped:  # asked last: a body that `stop` cut may look like one that ended
            raise Stopped(what) from failure
        if failure is not None:
            status = failure.status if isinstance(failure, _Disbelieved) else None
            answered = isinstance(failure, _Disbelieved)
            raise ServerUnavailable(f"{what}: {detail}", answered=answered, status=status) from failure
        return body

    def _ask(self, path: str) -> bytes:
        with requests.Session() as session:
            self._prepare(session)
            return self._body_of(session, self._base_url + path)

    def _prepare(self, session: requests.Session) -> None:
        session.trust_env = False  # a netrc entry would replace the token, a proxy variable would send it elsewhere
        session.proxies.update(self._proxies)
        adapter = _Adapter(self._tls, self._sockets)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        session.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        session.headers.update(self._headers())

    def _body_of(self, session: requests.Session, url: str) -> bytes:
        deadline = monotonic() + self._connect_timeout + self._read_timeout
        for _ in range(_MAX_REDIRECTS + 1):
            timeouts = (self._connect_timeout, self._read_timeout)
            with session.get(url, stream=True, allow_redirects=False, timeout=timeouts) as response:
                if response.status_code not in _REDIRECTS:
                    return _believed(response, deadline)
                target = urljoin(url, response.headers.get("Location", ""))
            if not _same_server(url, target):
                raise _Disbelieved("redirected to another server: not followed")
            url = target
        raise _Disbelieved(f"more than {_MAX_REDIRECTS} redirects")


class _Disbelieved(Exception):
    """An answer came, but not one to go by. ``status``: when it was the status that said so."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


def _believed(response: requests.Response, deadline: float) -> bytes:
    if response.status_code != requests.codes.ok:
        raise _Disbelieved(f"HTTP status {response.status_code}", response.status_code)
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        # Some servers answer 200 with a page or a text to any path: that is no list of sessions.
        raise _Disbelieved("the answer's type is not JSON")
    body = bytearray()
    for piece in _pieces(response):
        body += piece
        if len(body) > _MAX_BODY:
            raise _Disbelieved(f"the answer is larger than {_MAX_BODY >> 20} MiB")
        if monotonic() > deadline:
            raise _Disbelieved("the answer does not end")
    return bytes(body)


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """Bytes as they come: the other ways to read wait for a full piece, so that a drip would outlast every deadline."""
    while piece := response.raw.read1(_PIECE, decode_content=True):
        yield piece


def _same_server(url: str, target: str) -> bool:
    """Whether a redirect stays where our token belongs; going from http to https at the default ports does."""
    here, there = urlsplit(url), urlsplit(target)
    ports = {"http": 80, "https": 443}
    if here.hostname != there.hostname or there.scheme not in ports:
        return False
    steps = ((here.scheme, here.port or ports[here.scheme]), (there.scheme, there.port or ports[there.scheme]))
    return steps[0] == steps[1] or steps == (("http", 80), ("https", 443))


def _reason(error: BaseException) -> str:
    """What the system said, from the innermost error: the outer ones quote addresses and header values."""
    if isinstance(error, requests.Timeout):
        return "no answer in time" if isinstance(error, requests.ReadTimeout) else "no connection in time"
    reason = type(error).__name__
    link: BaseException | None = error
    while link is not None:
        reason = getattr(link, "verify_message", None) or getattr(link, "strerror", None) or reason
        link = link.__cause__ or link.__context__
    return reason


class _Sockets:
    """The sockets of running requests, so that `stop` can cut them: closing a response would wait for its data.

    Weak, because the end of a request frees its socket, while a connection forgets its own in the middle of one body
    (a close-delimited one). Python's socket objects know when they are closed: none is ever mistaken for another.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, connected: object) -> None:
        with self._lock:
            self._open.add(connected)
            stopped = self.stopped
        if stopped:
            _shut(connected)

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            running = list(self._open)
        for connected in running:
            _shut(connected)


def _shut(connected: Any) -> None:  # noqa: ANN401 - a socket, or urllib3's TLS inside the TLS of a proxy
    with contextlib.suppress(OSError):  # the peer was quicker
        # The plain socket's own shutdown: that of a TLS socket takes the TLS state away under the reading thread.
        socket.socket.shutdown(getattr(connected, "socket", connected), socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """One shared TLS context, and connections that `_Sockets` knows."""

    def __init__(self, tls: ssl.SSLContext | None, sockets: _Sockets) -> None:
        self._tls = tls
        self._pools = _pools_known_to(sockets)
        super().__init__(pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed through
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:  # noqa: ANN401 - handed through
        manager = super().proxy_manager_for(proxy, **kwargs, ssl_context=self._tls)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
        """Do nothing: the context verifies. The inherited method would add certifi's authorities to our ``ca_file``."""


def _pools_known_to(sockets: _Sockets) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
