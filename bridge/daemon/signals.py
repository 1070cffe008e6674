"""What other threads and signal handlers ask of the main thread."""

from __future__ import annotations

import queue
from contextlib import suppress
from enum import Enum, auto


class Request(Enum):
    """One request to the main thread."""

    STOP = auto()
    RELOAD = auto()
    WAKE = auto()


class SignalQueue:
    """Thread rule: ``stop``, ``reload`` and ``wake`` are for any thread and signal handlers, the rest for the main one.

    It is a ``SimpleQueue`` because anything with a lock of its own, as ``Event.set``, can deadlock in a signal handler.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._stops = 0
        self._reloads = 0

    def stop(self) -> None:
        """Ask for a graceful shutdown; the second call asks for an immediate one."""
        self._requests.put(Request.STOP)

    def reload(self) -> None:
        """Ask for a reload of the settings."""
        self._requests.put(Request.RELOAD)

    def wake(self) -> None:
        """End a ``wait`` of the main thread."""
        self._requests.put(Request.WAKE)

    def wait(self, seconds: float) -> None:
        """Wait for a request for at most so many seconds."""
        with suppress(queue.Empty):
            self._note(self._requests.get(timeout=seconds))

    @property
    def stops(self) -> int:
        self._drain()
        return self._stops

    def take_reload(self) -> bool:
        """Whether a reload was asked for since the last call: several requests are one."""
        self._drain()
        reloads, self._reloads = self._reloads, 0
        return reloads > 0

    def _drain(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._note(self._requests.get_nowait())

    def _note(self, request: Request) -> None:
        self._stops += request is Request.STOP
        self._reloads += request is Request.RELOAD
