"""What other threads and signal handlers ask of the main thread."""

from __future__ import annotations

import queue
from contextlib import suppress
from enum import Enum, auto


class _Request(Enum):
    STOP = auto()
    WAKE = auto()


class SignalQueue:
    """Thread rule: ``stop`` and ``wake`` are for any thread and for signal handlers; the rest is the main thread's.

    It is a ``SimpleQueue`` because anything with a lock of its own, as ``Event.set``, can deadlock in a signal handler.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._stops = 0

    def stop(self) -> None:
        """Ask for a graceful shutdown; the second call asks for an immediate one."""
        self._requests.put(_Request.STOP)

    def wake(self) -> None:
        """End a ``wait`` of the main thread."""
        self._requests.put(_Request.WAKE)

    def wait(self, seconds: float) -> None:
        """Wait for a request for at most so many seconds."""
        with suppress(queue.Empty):
            self._stops += self._requests.get(timeout=seconds) is _Request.STOP

    @property
    def stops(self) -> int:
        """How often ``stop`` was called."""
        with suppress(queue.Empty):
            while True:
                self._stops += self._requests.get_nowait() is _Request.STOP
        return self._stops
