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
        self._requests.put(Request.STOP)

    def reload(self) -> None:
        self._requests.put(Request.RELOAD)

    def wake(self) -> None:
        self._requests.put(Request.WAKE)

    def wait(self, seconds: float) -> None:
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
