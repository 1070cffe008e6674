"""What other threads and signal handlers ask of the main thread."""

from __future__ import annotations

import queue
from contextlib import suppress

_STOP, _WAKE = True, False


class SignalQueue:
    """Thread rule: ``stop`` and ``wake`` are for any thread and for signal handlers; the rest is the main thread's.

    It is a ``SimpleQueue`` because anything with a lock of its own, as ``Event.set``, can deadlock in a signal handler.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._stops = 0

    def stop(self) -> None:
        """Ask for a graceful shutdown; the second call asks for an immediate one."""
        self._requests.put(_STOP)

    def wake(self) -> None:
        """End a ``wait`` of the main thread."""
        self._requests.put(_WAKE)

    def wait(self, seconds: float) -> None:
        """Wait for a request for at most so many seconds."""
        with suppress(queue.Empty):
            self._stops += self._requests.get(timeout=seconds)

    @property
    def stops(self) -> int:
        with suppress(queue.Empty):
            while True:
                self._stops += self._requests.get_nowait()
        return self._stops
