"""A service manager's socket, as systemd gives it to a unit with ``Type=notify``."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Self

from tests.support.waiting import TIMEOUT, wait_until


class NotifySocket:
    """Receives the messages of a process, on a thread: the kernel keeps only ten that nobody has read."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._messages: list[dict[str, str]] = []
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while text := self._socket.recv(65536).decode():
            self._messages.append(dict(line.split("=", 1) for line in text.split("\n")))

    def messages(self) -> list[dict[str, str]]:
        """Return all messages so far, each by the names of its lines."""
        return list(self._messages)

    def count(self, name: str) -> int:
        """Return how many messages have a line of this name."""
        return sum(name in message for message in self.messages())

    def wait(self, name: str, deadline: float = 30.0, count: int = 1) -> dict[str, str]:
        """Return the first message with this name, once there are so many."""
        wait_until(lambda: self.count(name) >= count, deadline, f"{count} {name}= in {self._messages[-3:]}", 0.02)
        return next(message for message in self.messages() if name in message)

    def clear(self) -> None:
        """Forget all messages so far."""
        self._messages.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(TIMEOUT)
            sender.sendto(b"", self.address)
        self._thread.join(TIMEOUT)
        self._socket.close()
