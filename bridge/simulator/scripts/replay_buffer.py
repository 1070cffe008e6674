"""What a server still has of a session: the last events, by sequence. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class ReplayBuffer(Generic[T]):
    """The newest ``capacity`` items of a sequence that counts from 1; older ones are forgotten.

    A ring in a list: every operation costs the same wherever the reader stands. One thread only.
    """

    __slots__ = ("_forgotten", "_ring", "capacity", "head")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a replay buffer keeps at least 1 event")
        self.capacity = capacity
        self._ring: list[T] = []
        self._forgotten = 0
        self.head = 0
        """The sequence of the newest item; 0 while there is none."""

    @property
    def oldest(self) -> int:
        """The sequence of the oldest item still kept (``head + 1`` while there is none)."""
        return max(self.head - len(self._ring), self._forgotten) + 1

    def append(self, item: T) -> int:
        """Keep ``item`` as the newest, forget the oldest if the buffer is full; the item's sequence."""
        if len(self._ring) < self.capacity:
            self._ring.append(item)
        else:
            self._ring[self.head % self.capacity] = item
        self.head += 1
        return self.head

    def forget(self, keep: int) -> None:
        """Keep only the newest ``keep`` of what is there."""
        self._forgotten = max(self._forgotten, self.head - keep)

    def __setitem__(self, sequence: int, item: T) -> None:
        """Put another item in the place of one that is still kept; IndexError for any other."""
        self[sequence]
        self._ring[(sequence - 1) % self.capacity] = item

    def __getitem__(self, sequence: int) -> T:
        """The item of a sequence that is still kept; IndexError for any other."""
        if not self.oldest <= sequence <= self.head:
            raise IndexError(f"{sequence} is not kept: only {self.oldest} to {self.head}")
        return self._ring[(sequence - 1) % self.capacity]

    def after(self, sequence: int, limit: int) -> tuple[list[T], int]:
        """Up to ``limit`` items that are still kept and came after ``sequence``, and the sequence of the last of them.

        With nothing to return, the second value is ``sequence``, or ``head`` when ``sequence`` lies beyond it: what a
        server never gave out cannot be resumed after, so the reader goes on live.
        """
        first = max(sequence + 1, self.oldest)
        last = min(self.head, first + limit - 1)
        items = [self._ring[(at - 1) % self.capacity] for at in range(first, last + 1)]
        return items, last if items else min(sequence, self.head)
