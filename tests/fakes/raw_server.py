"""A server that sends exactly the bytes of a test's script and keeps the requests.

Each connection runs the script in its own thread, on an ephemeral port of 127.0.0.1, with TLS if it has a context. The
script ends the connection: it returns (FIN), calls ``reset`` (RST), or holds it open.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.support.waiting import TIMEOUT

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
"""The head of an event stream, up to the framing's header."""
CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = STREAM + b"Connection: close\r\n\r\n"


def with_length(length: int) -> bytes:
    return STREAM + b"Content-Length: %d\r\n\r\n" % length


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


LAST_CHUNK = b"0\r\n\r\n"


def answer(status: int, *headers: bytes, body: bytes = b"") -> bytes:
    """A whole response without an event stream."""
    lines = [b"HTTP/1.1 %d Status" % status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass
class Peer:
    """One connection on the server's side: the request and the functions to answer."""

    socket: socket.socket
    server: RawServer
    request: bytes = b""
    closed_by_client: threading.Event = field(default_factory=threading.Event)

    def send(self, *pieces: bytes) -> None:
        """Send each piece with a call of its own."""
        for piece in pieces:
            self.socket.sendall(piece)

    def reset(self) -> None:
        """End the connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def hold(self) -> None:
        """Keep the connection open and silent until the client closes it or the test ends."""
        with contextlib.suppress(OSError):
            while self.socket.recv(65536):
                pass
        self.closed_by_client.set()

    @property
    def headers(self) -> dict[str, bytes]:
        """The request's headers, names in lower case."""
        lines = self.request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        pairs = (line.split(b":", 1) for line in lines)
        return {name.decode("latin-1").lower(): value.strip() for name, value in pairs}


Script = Callable[[Peer], None]


class RawServer:
    """Listens from its construction on. ``peers`` are the connections so far, in order."""

    def __init__(
        self,
        script: Script,
        tls: ssl.SSLContext | None = None,
        *,
        read_request: bool = True,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self.ending = threading.Event()
        self._script = script
        self._tls = tls
        self._read_request = read_request
        self._listener = socket.create_server(address)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/stream"

    def close(self) -> None:
        """End all connections and threads. Raises the first exception of a script."""
        self.ending.set()
        for shut in (self._listener, *(peer.socket for peer in self.peers)):
            with contextlib.suppress(OSError):
                shut.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(TIMEOUT)
        for peer in self.peers:
            peer.socket.close()
        if self.errors:
            raise self.errors[0]

    def _accept(self) -> None:
        while not self.ending.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        peer = Peer(connection, self)
        self.peers.append(peer)
        try:
            if self._tls is not None:
                peer.socket = self._tls.wrap_socket(connection, server_side=True)
            while self._read_request and not peer.request.endswith(b"\r\n\r\n"):
                more = peer.socket.recv(65536)
                if not more:
                    break
                peer.request += more
            self._script(peer)
            if isinstance(peer.socket, ssl.SSLSocket):
                with contextlib.suppress(ValueError):  # closed by the script or the end of the test
                    peer.socket.unwrap()
        except OSError:  # the client closed or rejected the certificate; the test checks the client's outcome
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by close, in the test's thread
            self.errors.append(error)
        finally:
            peer.socket.close()


@contextlib.contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None, *, read_request: bool = True) -> Iterator[RawServer]:
    """A raw server for the time of a test."""
    server = RawServer(script, tls, read_request=read_request)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose listener accepts no more connections: a client waits without a response."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(("127.0.0.1", port))
        yield port
