"""Batches of revoked sessions that the client still holds: a record never expires there."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.core.entries import Entry
from bridge.delivery.budget import MemoryBudget

_PART = 4
"""When they fill a quarter of the memory budget, a new client is needed: sessions that can deliver must not wait."""


class UnreportedEntries:
    """They count in the memory budget until their delivery reports. Thread rule: the delivery thread."""

    def __init__(self) -> None:
        self._entries: list[tuple[Entry, MemoryBudget]] = []

    def keep(self, entries: Iterable[Entry], budget: MemoryBudget) -> int:
        """Keep those with bytes and without a report; returns their bytes, which must not be freed now.

        Barriers have no bytes. They are in another client, so ``free_all`` might never remove them.
        """
        kept = [(entry, budget) for entry in entries if entry.size and entry.is_unreported]
        self._entries += kept
        return sum(entry.size for entry, _ in kept)

    @property
    def are_many(self) -> bool:
        """Whether they take too large a part of the budget."""
        return sum(entry.size * _PART / budget.limit for entry, budget in self._entries) > 1

    def free_reported(self) -> None:
        """Free the bytes of those whose reports have come."""
        if self._entries:
            self._free([each for each in self._entries if not each[0].is_unreported])
            self._entries = [each for each in self._entries if each[0].is_unreported]

    def free_all(self) -> None:
        """The client was replaced: it holds nothing any more."""
        self._free(self._entries)
        self._entries = []

    @staticmethod
    def _free(entries: Iterable[tuple[Entry, MemoryBudget]]) -> None:
        for entry, budget in entries:
            budget.free(entry.size)
