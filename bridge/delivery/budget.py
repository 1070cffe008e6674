"""The memory budget for records that Kafka has not acknowledged yet; workers wait here for more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf

from bridge.clock import monotonic

_SMALL_PART = 16
"""A session that holds at most 1/16 of the budget may also use the reserved half."""
_RECHECK = 1.0
"""Seconds after which a waiter checks for itself, in case a wake-up was missed."""


class _Waiter:
    __slots__ = ("may_go", "woken")

    def __init__(self, may_go: Callable[[], bool]) -> None:
        self.may_go = may_go
        self.woken = threading.Event()


class MemoryBudget:
    """Bytes of all sessions that are not yet acknowledged.

    Thread rule: any worker reserves and waits; delivery threads free and wake. The lock is held for a comparison or an
    addition, never during a wait. The set of waiters needs none: each change and copy of it is one step of the
    interpreter. With a lock, thousands of waiters without processor time held up the thread that wakes them.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.keeps_share = True
        """Half is reserved for sessions that hold little: sessions whose topic accepts nothing must not fill the memory
        of the others. It is not reserved while Kafka does not answer at all: then all of it is used to read on."""
        self._lock = threading.Lock()
        self._taken = 0
        self._freed = 0
        self.unfinished = 0
        """Bytes of unfinished blocks of streams, which are part of ``held``."""
        self.exemption = threading.Lock()
        """Held by the one session that may read on although unfinished blocks fill their half: without it, none of them
        would ever be finished."""
        self._waiters: set[_Waiter] = set()

    @property
    def held(self) -> int:
        """Bytes held now; other threads change it at any time."""
        return self._taken - self._freed + self.unfinished

    def has_budget(self, held: int) -> bool:
        """Whether a session that holds so many bytes may reserve more."""
        total = self.held
        if total < self.limit // 2:
            return True
        return total < self.limit and (held <= self.limit // _SMALL_PART or not self.keeps_share)

    def reserve(self, size: int, held: int = 0) -> bool:
        """Reserve ``size`` bytes if so many are free: of a hundred workers that ask at once, not all may continue."""
        with self._lock:
            if not self.has_budget(held):
                return False
            self._taken += size
            return True

    def settle(self, reserved: int, size: int) -> None:
        """Replace a reservation by the real size."""
        with self._lock:
            self._taken += size - reserved

    def free(self, size: int) -> None:
        """Return ``size`` bytes."""
        with self._lock:
            self._freed += size

    def hold_unfinished(self, change: int) -> None:
        """Count bytes of an unfinished block (any thread)."""
        with self._lock:
            self.unfinished += change

    def wait(self, has_budget: Callable[[], bool], stopped: threading.Event, at_most: float | None = None) -> None:
        """Wait for ``has_budget()`` or ``stopped``, for ``at_most`` seconds; holds no lock during the wait."""
        waiter = _Waiter(lambda: has_budget() or stopped.is_set())
        deadline = inf if at_most is None else monotonic() + at_most
        self._waiters.add(waiter)
        try:
            # It registers before it checks, so no wake-up is lost between the check and the wait.
            while not waiter.may_go() and monotonic() < deadline:
                waiter.woken.wait(min(_RECHECK, deadline - monotonic()))
                waiter.woken.clear()
        finally:
            self._waiters.discard(waiter)

    def wake(self) -> None:
        """Wake the waiters that have budget now, or were stopped."""
        for waiter in tuple(self._waiters):
            if waiter.may_go():
                waiter.woken.set()


class UnfinishedBlock:
    """What one session's connection keeps of a block that is not complete. Thread rule: the session's worker."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._size = 0
        self._is_exempt = False

    def hold(self, size: int, stopped: threading.Event) -> None:
        """Keep so many bytes; waits while it grows and all unfinished blocks together fill half of the budget.

        The other half is for complete events. A block that never ends is cut off by the stream's own time-out.
        """
        grows, self._size = size - self._size, size
        self._budget.hold_unfinished(grows)
        if grows > 0:
            while not (self._may_go() or stopped.is_set()):
                self._budget.wait(self._may_try, stopped)
        elif not size and self._is_exempt:
            self._is_exempt = False
            self._budget.exemption.release()
            self._budget.wake()

    def _may_go(self) -> bool:
        if self._fits:
            return True
        self._is_exempt = self._budget.exemption.acquire(blocking=False)
        return self._is_exempt

    def _may_try(self) -> bool:
        """Any thread. It takes nothing: a thread that wakes the worker may be late, after the end of the block."""
        return self._fits or not self._budget.exemption.locked()

    @property
    def _fits(self) -> bool:
        return self._is_exempt or self._budget.unfinished <= self._budget.limit // 2
