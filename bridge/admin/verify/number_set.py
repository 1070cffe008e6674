"""A set of record numbers: one bit each, in pages that exist only if they contain a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Span = tuple[int, int]
"""First and last number, both included."""

_PAGE_SHIFT = 11
_PAGE_MASK = (1 << _PAGE_SHIFT) - 1


class NumberSet:
    """Positive numbers. 4096 consecutive numbers need less than a kilobyte. Thread rule: one thread."""

    __slots__ = ("_pages",)

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._pages: dict[int, int] = {}
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> bool:
        """Add a number; return whether it is new."""
        page, bit = number >> _PAGE_SHIFT, 1 << (number & _PAGE_MASK)
        bits = self._pages.get(page, 0)
        self._pages[page] = bits | bit
        return not bits & bit

    def spans(self) -> Iterator[Span]:
        """Return the numbers in order as spans that do not touch."""
        start, end = 1, 0
        for page in sorted(self._pages):
            for first, last in _runs_of(self._pages[page], page << _PAGE_SHIFT):
                if first > end + 1:
                    if end:
                        yield start, end
                    start = first
                end = last
        if end:
            yield start, end

    def __or__(self, other: NumberSet) -> NumberSet:
        union = NumberSet()
        for page in self._pages.keys() | other._pages.keys():
            union._pages[page] = self._pages.get(page, 0) | other._pages.get(page, 0)
        return union

    def holes(self, first: int, last: int) -> Iterator[Span]:
        """Return the missing numbers from ``first`` to ``last``, in order. The cost depends on the existing numbers."""
        expected = first
        for start, end in self.spans():
            if start > last:
                break
            if start > expected:
                yield expected, start - 1
            expected = max(expected, end + 1)
        if expected <= last:
            yield expected, last


def _runs_of(bits: int, base: int) -> Iterator[Span]:
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        yield base + zeros, base + zeros + ones - 1
        bits >>= ones
        base += zeros + ones


def size_of(spans: Iterable[Span]) -> int:
    """Return how many numbers the spans contain."""
    return sum(last - first + 1 for first, last in spans)
