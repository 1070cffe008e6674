"""A connection that another thread can end while it connects, waits for the response head, or reads the body.

urllib3 returns a response only after its head. So the connection classes here report each socket before it connects,
and a shutdown of a duplicate of it wakes the thread that waits (measured: in less than a millisecond). Name
resolution cannot be woken: the system's resolver decides how long it takes.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from bridge.http.errors import EndKind
from bridge.http.response_head import BoundedResponse

Cut = tuple[EndKind, str]
"""How another thread ended a connection: the kind and the detail of its ConnectionLost."""


def socket_options(read_timeout: float) -> list[tuple[int, int, int]]:
    """TCP options that detect a dead peer in half the read timeout, so that the error names the cause.

    Keepalive starts after a quarter of the timeout and sends three probes in the next quarter. The user timeout covers
    sent data: without it the kernel repeats a request to a dead peer for a quarter of an hour. Options that the
    platform lacks are left out: the read timeout detects a dead peer too, later.
    """
    quarter = max(int(read_timeout / 4), 1)
    interval = max(quarter // 3, 1)
    of_tcp = {
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": quarter,
        "TCP_KEEPALIVE": quarter,  # its name on macOS
        "TCP_KEEPINTVL": interval,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": (quarter + 3 * interval) * 1000,
    }
    known = [(getattr(socket, name), value) for name, value in of_tcp.items() if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *((socket.IPPROTO_TCP, *option) for option in known)]


class Cutter:
    """Ends the one connection of a client from another thread.

    Any thread may call ``cut``. The rest belongs to the thread that connects and reads. The lock guards the fields and
    is never held during a call.
    """

    def __init__(self, connected: Callable[[], None] = lambda: None) -> None:
        """``connected`` is called by the thread that connects, once a connection stands, TLS included."""
        self.connected = connected
        self._lock = threading.Lock()
        self._shutdown: Callable[[], object] | None = None
        self._duplicate: socket.socket | None = None
        self._final: Cut | None = None
        self.peer: str | None = None
        """The address of the present connection, or of the last one."""
        self.cut_as: Cut | None = None
        """Set before the socket is shut down. Bytes that are read afterwards are not part of the stream."""

    def begin(self) -> Cut | None:
        """Prepare for a new connection. Returns the final cut if no connection is allowed any more."""
        with self._lock:
            self.cut_as = self._final
            return self._final

    def cut(self, kind: EndKind, detail: str, *, final: bool = False) -> None:
        """End the present connection, if there is one, like this. ``final``: end every later one at its start."""
        with self._lock:
            if final:
                self._final = self._final or (kind, detail)
            self.cut_as = self._final or self.cut_as or (kind, detail)
            shutdown = self._shutdown
        if shutdown is not None:
            _quietly(shutdown)

    def watch_socket(self, connection: socket.socket) -> None:
        """Use this socket as the connection until the response has come."""
        duplicate = connection.dup()  # TLS detaches the socket from its object and hides the new one for a while
        self._replace(lambda: duplicate.shutdown(socket.SHUT_RDWR), duplicate)

    def watch_response(self, shutdown: Callable[[], object]) -> None:
        """The response has come: ``shutdown`` ends it. The duplicate's file descriptor is closed."""
        self._replace(shutdown, None)

    def release(self) -> None:
        """The connection is closed."""
        self._replace(None, None)

    def _replace(self, shutdown: Callable[[], object] | None, duplicate: socket.socket | None) -> None:
        with self._lock:
            old, self._duplicate = self._duplicate, duplicate
            self._shutdown = shutdown
            is_cut = self.cut_as is not None
        if old is not None:
            old.close()
        if is_cut and shutdown is not None:
            _quietly(shutdown)


def _quietly(shutdown: Callable[[], object]) -> None:
    """If the reader closes the connection at the same moment, nothing is left to shut down."""
    with suppress(OSError, ValueError, RuntimeError):
        shutdown()


def _connect(connection: HTTPConnection, cutter: Cutter) -> socket.socket:
    """``urllib3.util.connection.create_connection``, but the cutter gets each socket before it connects."""
    error: OSError | None = None
    addresses = socket.getaddrinfo(connection._dns_host, connection.port, allowed_gai_family(), socket.SOCK_STREAM)  # noqa: SLF001 - urllib3's SOCKSConnection uses this name too
    for family, kind, protocol, _, address in addresses:
        if cutter.cut_as is not None:
            break
        attempt = socket.socket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                attempt.setsockopt(*option)
            attempt.settimeout(connection.timeout)
            cutter.watch_socket(attempt)
            attempt.connect(address)
            if cutter.cut_as is not None:  # a shutdown of a socket that is not yet connected has no effect
                raise OSError("cut")  # noqa: TRY301 - it ends like an attempt that failed
        except OSError as failed:
            error = failed
            attempt.close()
        else:
            cutter.peer = str(address[0])
            return attempt
    raise error or OSError("no address to connect to")


class CuttableHTTPConnection(HTTPConnection):
    """A connection that reports its sockets to a cutter before they connect."""

    response_class = BoundedResponse

    def __init__(self, cutter: Cutter, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # passed on as urllib3's pool gave them
        self._cutter = cutter

    def connect(self) -> None:
        """Connect, and say so."""
        super().connect()
        self._cutter.connected()

    def _new_conn(self) -> socket.socket:
        """Connect, with the translation of errors of the inherited method."""
        try:
            return _connect(self, self._cutter)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connect timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error


class CuttableHTTPSConnection(CuttableHTTPConnection, HTTPSConnection):
    """A connection over TLS, or through a proxy's tunnel."""

    def connect(self) -> None:
        """Connect. Reports a TLS handshake that hangs as a connect timeout; urllib3 calls it a read timeout."""
        try:
            super().connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "handshake timed out") from error
