"""A proxy before a broker that answers chosen Produce requests itself, with an error code.

Apache Kafka itself refuses hardly any record that the bridge could send as invalid; other brokers and plug-ins do. The
proxy knows the flexible versions of Produce (from 9 on). It forwards all other requests unchanged; in answers it
replaces the broker's address by its own, and it can hide kinds of requests from the broker's ApiVersions answer.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from tests.support.waiting import TIMEOUT

_PRODUCE, _API_VERSIONS = 0, 18
INIT_PRODUCER_ID = 22
"""Without it there are no transactions."""
_UNKNOWN_KEY = 0x7FFF
_FLEXIBLE = 9
_BY_TOPIC_ID = 13

Refuse = Callable[[str, bytes], int]
"""From a topic and the records for one of its partitions: an error code of Kafka's protocol, or 0 to forward them."""


class Cursor:
    """Reads the protocol's types from a request."""

    def __init__(self, frame: bytes, at: int) -> None:
        self._frame = frame
        self.at = at
        """The next byte."""

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        self.at += size
        return self._frame[self.at - size : self.at]

    def number(self, form: str) -> int:
        """Return a number of fixed size."""
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def unsigned(self) -> int:
        """Return an UNSIGNED_VARINT."""
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # the highest bit: more bytes follow
                return value

    def compact(self) -> bytes:
        """Return a COMPACT_STRING or COMPACT_BYTES; null is empty."""
        return self.take(max(0, self.unsigned() - 1))


def _unsigned(value: int) -> bytes:
    assert value < 0x80, "more than the tests need"
    return bytes([value])


def refusal(frame: bytes, refuse: Refuse) -> bytes | None:
    """Return the proxy's answer to a Produce request that ``refuse`` refuses (without its length), else None."""
    key, version, correlation = struct.unpack_from(">hhi", frame)
    if key != _PRODUCE:
        return None
    assert _FLEXIBLE <= version < _BY_TOPIC_ID, f"Produce version {version} is not known here"
    cursor = Cursor(frame, 8)
    cursor.take(max(0, cursor.number(">h")))  # client id
    cursor.unsigned()  # tags
    cursor.compact()  # transactional id
    cursor.take(6)  # acks, timeout
    assert cursor.unsigned() == 2, "more than one topic in a request"  # a compact count is one more
    topic = cursor.compact()
    assert cursor.unsigned() == 2, "more than one partition in a request"
    partition, records = cursor.number(">i"), cursor.compact()
    code = refuse(topic.decode(), records)
    if not code:
        return None
    answer = struct.pack(">ihqqq", partition, code, -1, -1, -1) + b"\x01\x00\x00"  # no record errors, text, tags
    topics = b"\x02" + _unsigned(len(topic) + 1) + topic + b"\x02" + answer + b"\x00"
    return struct.pack(">i", correlation) + b"\x00" + topics + struct.pack(">i", 0) + b"\x00"


def without(frame: bytes, hidden: Collection[int]) -> bytes:
    """Return an ApiVersions answer (flexible, from version 3 on) in which the ``hidden`` kinds have an unknown key."""
    cursor = Cursor(frame, 0)
    head, count = cursor.take(6), cursor.unsigned()  # correlation, error; a compact count is one more
    kinds = [cursor.take(7) for _ in range(count - 1)]  # key, least and most version, tags
    shown = [struct.pack(">h", _UNKNOWN_KEY) + kind[2:] if _key(kind) in hidden else kind for kind in kinds]
    known = head + _unsigned(count) + b"".join(shown)
    return known + frame[len(known) :]


def _key(frame: bytes) -> int:
    (key,) = struct.unpack_from(">h", frame)
    return int(key)


@contextmanager
def refusing_proxy(broker: str, refuse: Refuse, hidden: Collection[int] = ()) -> Iterator[str]:
    """Yield ``bootstrap.servers`` of the proxy; ``hidden`` are the keys of requests that it hides."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours, theirs = address("127.0.0.1", listener.getsockname()[1]), address(*split(broker))
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def change(frame: bytes, asked: set[bytes]) -> bytes:
        shown = without(frame, hidden) if frame[:4] in asked else frame
        return shown.replace(theirs, ours)

    def accept() -> None:
        with suppress(OSError):  # the end of the listener is the end of the test
            while True:
                client, _ = listener.accept()
                sockets.append(client)
                upstream = socket.create_connection(split(broker))
                sockets.append(upstream)
                lock = threading.Lock()
                asked: set[bytes] = set()
                for target, arguments in (
                    (_requests, (client, upstream, lock, refuse, asked)),
                    (_answers, (upstream, client, lock, lambda frame, asked=asked: change(frame, asked))),
                ):
                    threads.append(threading.Thread(target=target, args=arguments, daemon=True))
                    threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        end(listener)
        accepting.join(TIMEOUT)
        for each in sockets:
            end(each)
        for thread in threads:
            thread.join(TIMEOUT)
        for each in (listener, *sockets):
            each.close()


def end(one: socket.socket) -> None:
    """End both directions of a connection."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def _requests(
    client: socket.socket, upstream: socket.socket, lock: threading.Lock, refuse: Refuse, asked: set[bytes]
) -> None:
    for frame in frames(client, upstream):
        if _key(frame) == _API_VERSIONS:
            asked.add(frame[4:8])
        answer = refusal(frame, refuse)
        if answer is None:
            send(upstream, frame)
        else:
            with lock:
                send(client, answer)


def _answers(
    upstream: socket.socket, client: socket.socket, lock: threading.Lock, change: Callable[[bytes], bytes]
) -> None:
    for frame in frames(upstream, client):
        with lock:
            send(client, change(frame))


def send(to: socket.socket, frame: bytes) -> None:
    """Send one frame with its length before it."""
    with suppress(OSError):  # the thread that reads from it ends both connections
        to.sendall(struct.pack(">i", len(frame)) + frame)


def frames(source: socket.socket, other: socket.socket) -> Iterator[bytes]:
    """Yield whole frames until either connection ends; then end both."""
    with suppress(OSError), source.makefile("rb") as reader:
        while len(size := reader.read(4)) == 4:
            frame = reader.read(struct.unpack(">i", size)[0])
            yield frame
    end(source)
    end(other)


def split(name: str) -> tuple[str, int]:
    """Return host and port of an address."""
    host, _, port = name.partition(":")
    return host, int(port)


def address(host: str, port: int) -> bytes:
    """Return an address as brokers encode it in their answers."""
    return host.encode() + struct.pack(">i", port)
