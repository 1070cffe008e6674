"""A set of record numbers: one bit each, in pages that exist only if they contain a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Span = tuple[int, int]
"""First and last number, both included."""

_PAGE_SHIFT = 12
_PAGE_BITS = 1 << _PAGE_SHIFT
_PAGE_BYTES = _PAGE_BITS >> 3
_FULL = (1 << _PAGE_BITS) - 1


class NumberSet:
    """Positive numbers. A session of 4096 records needs half a kilobyte; a single high number, one page.

    Thread rule: one thread.
    """

    __slots__ = ("_pages",)

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._pages: dict[int, bytearray] = {}
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> bool:
        """Add a number; return whether it is new."""
        page = self._pages.get(number >> _PAGE_SHIFT)
        if page is None:
            page = self._pages[number >> _PAGE_SHIFT] = bytearray(_PAGE_BYTES)
        index, bit = (number & (_PAGE_BITS - 1)) >> 3, 1 << (number & 7)
        byte = page[index]
        if byte & bit:
            return False
        page[index] = byte | bit
        return True

    def __contains__(self, number: int) -> bool:
        page = self._pages.get(number >> _PAGE_SHIFT)
        return page is not None and bool(page[(number & (_PAGE_BITS - 1)) >> 3] & (1 << (number & 7)))

    def spans(self) -> Iterator[Span]:
        """Return the numbers in order as spans that do not touch."""
        held: Span | None = None
        for first, last in self._runs():
            if held is not None and held[1] + 1 == first:
                held = held[0], last
                continue
            if held is not None:
                yield held
            held = first, last
        if held is not None:
            yield held

    def __or__(self, other: NumberSet) -> NumberSet:
        union = NumberSet()
        union._pages = {number: bytearray(page) for number, page in self._pages.items()}
        for number, page in other._pages.items():
            mine = union._pages.get(number)
            together = _word(page) | (0 if mine is None else _word(mine))
            union._pages[number] = bytearray(together.to_bytes(_PAGE_BYTES, "little"))
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

    def _runs(self) -> Iterator[Span]:
        for number in sorted(self._pages):
            base, word = number << _PAGE_SHIFT, _word(self._pages[number])
            if word == _FULL:
                yield base, base + _PAGE_BITS - 1
            else:
                yield from _runs_of(word, base)


def _word(page: bytearray) -> int:
    return int.from_bytes(page, "little")


def _runs_of(word: int, base: int) -> Iterator[Span]:
    while word:
        zeros = (word & -word).bit_length() - 1
        word >>= zeros
        ones = (~word & (word + 1)).bit_length() - 1
        yield base + zeros, base + zeros + ones - 1
        word >>= ones
        base += zeros + ones


def size_of(spans: Iterable[Span]) -> int:
    """Return how many numbers the spans contain."""
    return sum(last - first + 1 for first, last in spans)
