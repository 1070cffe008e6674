"""The events that a server keeps for replay: the newest ones, by sequence. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ReplayBuffer(Generic[T]):
    """The newest ``capacity`` items of a sequence that starts at 1. One thread only."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: deque[T] = deque(maxlen=capacity)
        self.head = 0
        """The sequence of the newest item; 0 while there is none."""

    @property
    def oldest(self) -> int:
        """The sequence of the oldest kept item (``head + 1`` while there is none)."""
        return self.head - len(self._kept) + 1

    def append(self, item: T) -> int:
        """Add the newest item, forget the oldest if the buffer is full, and return the item's sequence."""
        self._kept.append(item)
        self.head += 1
        return self.head

    def forget(self, keep: int) -> None:
        """Forget all but the newest ``keep`` items."""
        while len(self._kept) > keep:
            self._kept.popleft()

    def __setitem__(self, sequence: int, item: T) -> None:
        self._kept[self._index(sequence)] = item

    def __getitem__(self, sequence: int) -> T:
        return self._kept[self._index(sequence)]

    def _index(self, sequence: int) -> int:
        if not self.oldest <= sequence <= self.head:
            raise IndexError(f"{sequence} is not kept: only {self.oldest} to {self.head}")
        return sequence - self.oldest

    def after(self, sequence: int, limit: int) -> tuple[list[T], int]:
        """Return up to ``limit`` kept items after ``sequence``, and the sequence of the last of them.

        Without items the second value is ``sequence``, or ``head`` when ``sequence`` is beyond it: a client with an id
        that the server never sent continues with the next new event.
        """
        first = max(sequence + 1, self.oldest)
        last = min(self.head, first + limit - 1)
        items = [self[at] for at in range(first, last + 1)]
        return items, last if items else min(sequence, self.head)
