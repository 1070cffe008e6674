"""A proxy before all brokers of a cluster: it holds up one of them, and changes chosen Metadata answers.

In all answers it replaces the brokers' addresses by its own, so no connection of a client passes it by.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from tests.support.refusing_proxy import Cursor, address, end, frames, send, split
from tests.support.waiting import TIMEOUT

_METADATA = 3
_FLEXIBLE = 9
_WITH_TOPIC_ID = 10
_LEADER_NOT_AVAILABLE = 5

Change = Callable[[int, bytes], bytes]
"""From the version and a Metadata answer without its length: the answer that the client gets."""


def without_brokers(version: int, frame: bytes) -> bytes:
    """Return the answer of a broker that knows no broker, not even itself."""
    cursor, begin = _at_brokers(version, frame)
    _skip_brokers(cursor)
    return frame[:begin] + b"\x01" + frame[cursor.at :]


def without_leaders(version: int, frame: bytes) -> bytes:
    """Return the answer in which each partition waits for the election of a leader (-1)."""
    cursor, _ = _at_brokers(version, frame)
    _skip_brokers(cursor)
    cursor.compact()  # cluster id
    cursor.take(4)  # controller
    changed = bytearray(frame)
    for _ in range(cursor.unsigned() - 1):  # topics
        cursor.take(2)
        cursor.compact()
        cursor.take(1 + (16 if version >= _WITH_TOPIC_ID else 0))
        for _ in range(cursor.unsigned() - 1):  # partitions: error, number, leader, epoch of the leader
            struct.pack_into(">h", changed, cursor.at, _LEADER_NOT_AVAILABLE)
            struct.pack_into(">i", changed, cursor.at + 6, -1)
            cursor.take(14)
            for _ in range(3):  # replicas, those in sync, those offline
                cursor.take(4 * (cursor.unsigned() - 1))
            cursor.unsigned()  # tags
        cursor.take(4)  # operations
        cursor.unsigned()  # tags
    return bytes(changed)


def _at_brokers(version: int, frame: bytes) -> tuple[Cursor, int]:
    assert version >= _FLEXIBLE, f"Metadata version {version} is not known here"
    begin = 9  # after the correlation id, no tags and the throttle time
    return Cursor(frame, begin), begin


def _skip_brokers(cursor: Cursor) -> None:
    for _ in range(cursor.unsigned() - 1):
        cursor.take(4)
        cursor.compact()  # host
        cursor.take(4)
        cursor.compact()  # rack
        cursor.unsigned()  # tags


class ClusterProxy:
    """Listens once for each broker. Any thread may call it."""

    def __init__(self, bootstrap: str) -> None:
        """``bootstrap``: the addresses of all brokers."""
        self._brokers = [split(each) for each in bootstrap.split(",")]
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in self._brokers]
        ours = [address("127.0.0.1", each.getsockname()[1]) for each in self._listeners]
        self._names = list(zip([address(*each) for each in self._brokers], ours, strict=True))
        self._passes = [threading.Event() for _ in self._brokers]
        self._changes: deque[Change] = deque()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for number, listener in enumerate(self._listeners):
            self._passes[number].set()
            self._start(self._accept, number, listener)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._passes:
            each.set()
        for one in [*self._listeners, *self._sockets]:
            end(one)
        for thread in self._threads:
            thread.join(TIMEOUT)
        for one in [*self._listeners, *self._sockets]:
            one.close()

    @property
    def bootstrap(self) -> str:
        """``bootstrap.servers`` for clients."""
        return ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in self._listeners)

    def hold(self, number: int) -> None:
        """Let nothing pass to or from this broker, as a network that drops all packets; connections stay open."""
        self._passes[number].clear()

    def pass_on(self, number: int) -> None:
        """Let everything pass again, also what was held, as TCP does."""
        self._passes[number].set()

    def change(self, *changes: Change) -> None:
        """Change the next Metadata answers, one each."""
        self._changes.extend(changes)

    @property
    def is_changed(self) -> bool:
        """Whether all ordered changes were made."""
        return not self._changes

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=run, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self, number: int, listener: socket.socket) -> None:
        with suppress(OSError):  # the end of the listener
            while True:
                client, _ = listener.accept()
                self._sockets.append(client)
                self._start(self._connect, number, client)

    def _connect(self, number: int, client: socket.socket) -> None:
        self._passes[number].wait()
        try:
            broker = socket.create_connection(self._brokers[number])
        except OSError:  # it is down
            end(client)
            return
        self._sockets.append(broker)
        asked: dict[bytes, int] = {}
        self._start(self._answers, number, broker, client, asked)
        for frame in frames(client, broker):
            self._passes[number].wait()
            key, version = struct.unpack_from(">hh", frame)
            if key == _METADATA:
                asked[frame[4:8]] = version
            send(broker, frame)

    def _answers(self, number: int, broker: socket.socket, client: socket.socket, asked: dict[bytes, int]) -> None:
        for frame in frames(broker, client):
            self._passes[number].wait()
            version = asked.pop(frame[:4], None)
            send(client, self._renamed(frame if version is None else self._changed(version, frame)))

    def _changed(self, version: int, frame: bytes) -> bytes:
        try:
            change = self._changes.popleft()
        except IndexError:
            return frame
        return change(version, frame)

    def _renamed(self, frame: bytes) -> bytes:
        for theirs, ours in self._names:
            frame = frame.replace(theirs, ours)
        return frame
