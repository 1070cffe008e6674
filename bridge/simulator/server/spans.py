"""Sets of sequence numbers, stored as ranges. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Spans:
    """A set of integers that mostly follow each other; extending the last range is cheap. One thread only."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Add all numbers from ``first`` to ``last``; none when ``last`` is below."""
        if last < first:
            return
        begin = bisect_left(self._lasts, first - 1)  # the first range that touches or follows
        end = bisect_right(self._firsts, last + 1)
        if begin < end:
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self._firsts[begin:end] = [first]
        self._lasts[begin:end] = [last]

    def gaps(self, last: int) -> list[tuple[int, int]]:
        """Return the ranges of numbers from 1 to ``last`` that are not in the set."""
        starts = [1, *(each + 1 for each in self._lasts)]
        ends = [*(each - 1 for each in self._firsts), last]
        return [(a, min(b, last)) for a, b in zip(starts, ends, strict=True) if a <= min(b, last)]

    def ranges(self) -> list[tuple[int, int]]:
        """Return the ranges of numbers in the set."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def copy(self) -> Spans:
        """Return an independent set with the same numbers."""
        other = Spans()
        other._firsts, other._lasts = self._firsts.copy(), self._lasts.copy()
        return other
