"""The memory budget for records that Kafka has not acknowledged yet; workers wait here for more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from math import inf

from bridge.clock import monotonic
from bridge.core.entries import Entry

_SMALL_PART = 16
"""A session that holds at most 1/16 of the budget may also use the reserved half."""
_RECHECK = 1.0
"""Seconds after which a waiter checks for itself, in case a wake-up was missed."""


class _Sum:
    """A number to which any thread adds without waiting for another thread.

    A thread that waited for a lock owns it before it gets the interpreter, and blocks all others until then. With a
    lock here and 3,000 busy sessions in a fifth of a core, 1,100 of them waited for it, and delivery waited behind
    them for half a minute. So no thread waits: a thread that finds the lock held leaves its change to the holder.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._added = 0
        self._left: deque[int] = deque()

    def add(self, change: int) -> None:
        self._left.append(change)
        while self._left and self._lock.acquire(blocking=False):  # also those that came before the release
            try:
                while self._left:
                    # Threads change only after calls. One that ran between these lines would count the change twice.
                    self._added += self._left[0]
                    self._left.popleft()
            finally:
                self._lock.release()  # an addition fails where no memory is left

    @property
    def value(self) -> int:
        return self._added + sum(self._left) if self._left else self._added


class MemoryBudget:
    """Bytes of all sessions that are not yet acknowledged.

    Thread rule: any worker reserves and waits; delivery threads free and wake. No thread waits for another: the
    waiters need no lock either, each change and copy of it is one step of the interpreter.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.keeps_share = True
        """Half is reserved for sessions that hold little: sessions whose topic accepts nothing must not fill the memory
        of the others. It is not reserved while Kafka does not answer at all: then all of it is used to read on."""
        self._held = _Sum()
        self._unfinished = _Sum()
        self.exemption = threading.Lock()
        """Held by the one session that may read on although unfinished blocks fill their half: without it, none of them
        would ever be finished."""
        self._waiters: dict[threading.Event, Callable[[], bool]] = {}
        """Whether each may continue, by the event that wakes it."""

    @property
    def held(self) -> int:
        """Bytes held now; other threads change it at any time."""
        return self._held.value

    @property
    def unfinished(self) -> int:
        """Bytes of unfinished blocks of streams, which are part of ``held``."""
        return self._unfinished.value

    def has_budget(self, held: int) -> bool:
        """Whether a session that holds so many bytes may reserve more."""
        return self._may_hold(self.held, held)

    def _may_hold(self, total: int, held: int) -> bool:
        if total < self.limit // 2:
            return True
        return total < self.limit and (held <= self.limit // _SMALL_PART or not self.keeps_share)

    def reserve(self, size: int, held: int = 0) -> bool:
        """Reserve ``size`` bytes if so many are free: of a hundred workers that ask at once, not all may continue."""
        self._held.add(size)  # before the look, so that each sees the others'
        if self._may_hold(self.held - size, held):
            return True
        self._held.add(-size)
        return False

    def settle(self, reserved: int, size: int) -> None:
        """Replace a reservation by the real size."""
        self._held.add(size - reserved)

    def free(self, size: int) -> None:
        self._held.add(-size)

    def hold_unfinished(self, change: int) -> None:
        """Count bytes of an unfinished block (any thread)."""
        self._unfinished.add(change)
        self._held.add(change)

    def wait(self, has_budget: Callable[[], bool], stopped: threading.Event, at_most: float | None = None) -> None:
        """Wait for ``has_budget()`` or ``stopped``, for ``at_most`` seconds; holds no lock during the wait."""
        woken = threading.Event()
        deadline = inf if at_most is None else monotonic() + at_most
        self._waiters[woken] = lambda: has_budget() or stopped.is_set()
        try:
            # It registers before it checks, so no wake-up is lost between the check and the wait.
            while not self._waiters[woken]() and monotonic() < deadline:
                woken.wait(min(_RECHECK, deadline - monotonic()))
                woken.clear()
        finally:
            del self._waiters[woken]

    def wake(self) -> None:
        """Wake the waiters that have budget now, or were stopped."""
        for woken, may_go in self._waiters.copy().items():
            if may_go():
                woken.set()


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


_PART = 4
"""When they fill a quarter of the memory budget, a new client is needed: sessions that can deliver must not wait."""


class UnreportedEntries:
    """Batches of revoked sessions that the client still holds: a record never expires there.

    They count in the memory budget until their delivery reports. Thread rule: the delivery thread.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._entries: list[Entry] = []

    def keep(self, entries: Iterable[Entry]) -> int:
        """Keep those with bytes and without a report; returns their bytes, which must not be freed now.

        Barriers have no bytes. They are in another client, so ``free_all`` might never remove them.
        """
        kept = [entry for entry in entries if entry.size and entry.is_unreported]
        self._entries += kept
        return sum(entry.size for entry in kept)

    @property
    def are_many(self) -> bool:
        """Whether they take too large a part of the budget."""
        return sum(entry.size for entry in self._entries) > self._budget.limit / _PART

    def free_reported(self) -> None:
        if self._entries:
            self._free_all_but([entry for entry in self._entries if entry.is_unreported])

    def free_all(self) -> None:
        """The client was replaced: it holds nothing any more."""
        self._free_all_but([])

    def _free_all_but(self, kept: list[Entry]) -> None:
        self._budget.free(sum(entry.size for entry in self._entries) - sum(entry.size for entry in kept))
        self._entries = kept
