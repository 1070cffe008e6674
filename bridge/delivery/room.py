"""The memory that records may hold until Kafka has acknowledged them, and where workers wait for more of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf

from bridge.clock import monotonic

RECORD_OVERHEAD = 2048
"""Bytes added to each value: the event it was made of and the objects around it, here and in the client. Measured:
memory grew by 2.4 KB for each 410-byte value in flight, 145,000 of them."""
_RECHECK = 1.0
"""Seconds after which a waiter looks for itself, should a wake-up ever be missed."""


class _Waiter:
    __slots__ = ("has_room", "woken")

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self.has_room = has_room
        self.woken = threading.Event()


class Room:
    """Bytes of all sessions that are not yet acknowledged.

    Thread rule: any worker takes and waits; the delivery thread frees and wakes. The lock is held for a look or an
    addition, never while anybody waits.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._taken = 0
        self._freed = 0
        self._waiters: set[_Waiter] = set()

    @property
    def held(self) -> int:
        """Bytes held now; a moment old by the time it is read."""
        return self._taken - self._freed

    def take(self, size: int) -> None:
        """Count ``size`` bytes in; never waits: a worker looks at ``held`` first, and exceeds by what it takes."""
        with self._lock:
            self._taken += size

    def free(self, size: int) -> None:
        """Count ``size`` bytes out."""
        self._freed += size

    def wait(self, has_room: Callable[[], bool], stopped: threading.Event, at_most: float | None = None) -> None:
        """Wait until ``has_room()``, ``stopped``, or ``at_most`` seconds are over; holds no lock meanwhile."""
        waiter = _Waiter(has_room)
        deadline = inf if at_most is None else monotonic() + at_most
        with self._lock:
            self._waiters.add(waiter)
        try:
            # It is among the waiters before it looks, so no wake-up falls between the look and the wait.
            while not has_room() and not stopped.is_set() and monotonic() < deadline:
                waiter.woken.wait(min(_RECHECK, deadline - monotonic()))
                waiter.woken.clear()
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def wake(self, *, everybody: bool = False) -> None:
        """Wake the waiters that have room now; ``everybody``: also those that have not (a stop)."""
        if not self._waiters:
            return
        with self._lock:
            for waiter in self._waiters:
                if everybody or waiter.has_room():
                    waiter.woken.set()
