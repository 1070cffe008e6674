"""Sets of sequence numbers as a few spans of neighbours. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Spans:
    """A set of whole numbers that come mostly in rows; growing at an end of the last row costs nothing. One thread."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Add all numbers from ``first`` to ``last``; none when ``last`` is below."""
        if last < first:
            return
        begin = bisect_left(self._lasts, first - 1)  # the first row that touches or lies behind
        end = bisect_right(self._firsts, last + 1)
        if begin < end:
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self._firsts[begin:end] = [first]
        self._lasts[begin:end] = [last]

    def gaps(self, last: int) -> list[tuple[int, int]]:
        """The rows of numbers from 1 to ``last`` that are not in the set."""
        starts = [1, *(each + 1 for each in self._lasts)]
        ends = [*(each - 1 for each in self._firsts), last]
        return [(a, min(b, last)) for a, b in zip(starts, ends, strict=True) if a <= min(b, last)]

    def rows(self) -> list[tuple[int, int]]:
        """The rows of neighbours that are in the set."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def copy(self) -> Spans:
        """A set of its own with the same numbers."""
        other = Spans()
        other._firsts, other._lasts = self._firsts.copy(), self._lasts.copy()
        return other
