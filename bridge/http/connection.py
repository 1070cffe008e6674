"""A connection that another thread can end at any moment: while it connects, waits for the head, or reads.

urllib3 gives out a response only after its head has come. So the connection classes here note each socket before it
connects, and a shutdown of a duplicate of it wakes whatever waits on it (measured: under a millisecond). A name that is
being resolved cannot be woken: that wait is the system resolver's.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from bridge.http.response_head import BoundedResponse
from bridge.sse.reconnection import Outcome

SocketOptions = list[tuple[int, int, int]]


def socket_options(read_timeout: float) -> SocketOptions:
    """TCP options that find a dead peer in half the read timeout, so that the cause is known before it strikes.

    Keepalive probes after a quarter of it, then three more in the next quarter. The user timeout is for what is in
    flight; without it a request sent into the void is repeated by the kernel for a quarter of an hour.
    """
    quarter = max(int(read_timeout / 4), 1)
    interval = max(quarter // 3, 1)
    return [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, quarter),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, (quarter + 3 * interval) * 1000),
    ]


class Link:
    """What other threads see of a connector's one connection: they can cut it, and say as what it ends.

    ``cut`` may come from any thread; the rest belongs to the thread that connects and reads. The lock guards three
    fields and is never held during a call.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut: Callable[[], object] | None = None
        self._duplicate: socket.socket | None = None
        self._final: Outcome | None = None
        self.wanted: Outcome | None = None
        """Set before the socket is shut down: whatever a read gives afterwards is not to be trusted."""

    def begin(self) -> Outcome | None:
        """A new connection; the outcome when there shall never be one again."""
        with self._lock:
            self.wanted = self._final
            return self._final

    def cut(self, outcome: Outcome, *, final: bool = False) -> None:
        """End the connection, if there is one, with this outcome; ``final``: and each later one at its beginning."""
        with self._lock:
            if final:
                self._final = self._final or outcome
            self.wanted = self._final or self.wanted or outcome
            shut = self._shut
        if shut is not None:
            _quietly(shut)

    def hold(self, connection: socket.socket) -> None:
        """Take this socket for the connection, until ``hand_over``."""
        duplicate = connection.dup()  # TLS takes the socket away from its object, and keeps it to itself for a while
        self._replace(lambda: duplicate.shutdown(socket.SHUT_RDWR), duplicate)

    def hand_over(self, shut: Callable[[], object]) -> None:
        """The response has come: ``shut`` ends it, and the duplicate's file descriptor is given back."""
        self._replace(shut, None)

    def release(self) -> None:
        """There is no connection any more."""
        self._replace(None, None)

    def _replace(self, shut: Callable[[], object] | None, duplicate: socket.socket | None) -> None:
        with self._lock:
            old, self._duplicate = self._duplicate, duplicate
            self._shut = shut
            cut = self.wanted is not None
        if old is not None:
            old.close()
        if cut and shut is not None:
            _quietly(shut)


def _quietly(shut: Callable[[], object]) -> None:
    """The reader may have closed it in this very moment: then there is nothing left to shut down."""
    with suppress(OSError, ValueError, RuntimeError):
        shut()


def _connect(connection: HTTPConnection, link: Link) -> socket.socket:
    """What ``urllib3.util.connection.create_connection`` does, with each socket noted before it connects."""
    error: OSError | None = None
    addresses = socket.getaddrinfo(connection._dns_host, connection.port, allowed_gai_family(), socket.SOCK_STREAM)  # noqa: SLF001 - urllib3's own name for it, as its SOCKSConnection uses it
    for family, kind, protocol, _, address in addresses:
        if link.wanted is not None:
            break
        attempt = socket.socket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                attempt.setsockopt(*option)
            attempt.settimeout(connection.timeout)
            link.hold(attempt)
            attempt.connect(address)
            if link.wanted is not None:  # a shutdown between hold and connect finds nothing to shut down
                raise OSError("cut")  # noqa: TRY301 - it ends like an attempt that failed
        except OSError as failed:
            error = failed
            attempt.close()
        else:
            return attempt
    raise error or OSError("no address to connect to")


def _new_connection(connection: HTTPConnection, link: Link) -> socket.socket:
    """``HTTPConnection._new_conn`` with its translation of errors."""
    try:
        return _connect(connection, link)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "connect timed out") from error
    except OSError as error:
        raise NewConnectionError(connection, "no connection") from error


class LinkedHTTPConnection(HTTPConnection):
    """A connection whose sockets its link knows before they connect."""

    response_class = BoundedResponse

    def __init__(self, link: Link, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # passed on as urllib3's pool gave them
        self._link = link

    def _new_conn(self) -> socket.socket:
        return _new_connection(self, self._link)


class LinkedHTTPSConnection(HTTPSConnection):
    """The same over TLS, or through a proxy's tunnel."""

    response_class = BoundedResponse

    def __init__(self, link: Link, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # passed on as urllib3's pool gave them
        self._link = link

    def _new_conn(self) -> socket.socket:
        return _new_connection(self, self._link)

    def connect(self) -> None:
        """Connect, with a handshake that hangs told as what it is: urllib3 calls it a read timeout."""
        try:
            super().connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "handshake timed out") from error
