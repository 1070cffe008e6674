"""What a client still holds of revoked sessions counts in the memory budget, and nothing else is kept."""

from __future__ import annotations

import weakref

from bridge.core.entries import Entry, Message, Stage
from bridge.core.identity import Position
from bridge.delivery.budget import MemoryBudget
from bridge.delivery.unreported import UnreportedEntries


class Silent:
    """A listener that hears of nothing."""

    def acknowledged(self, entry: Entry, /) -> None:
        """Do nothing."""

    def failed(self, _entry: Entry, _error: object, _message: Message, /) -> Stage:
        return Stage.LOST


def test_bytes_are_kept_until_the_reports_come_and_barriers_are_not_kept() -> None:
    """The producer of a barrier may be replaced alone: nothing would ever remove it, and what it refers to."""
    unreported, budget, listener = UnreportedEntries(), MemoryBudget(1000), Silent()
    batch, barrier = Entry(Position(1, 1, "1"), 300), Entry(Position(1, 1, "1"))
    for entry in (batch, barrier):
        entry.note_produced(1, listener)
    assert budget.reserve(300)
    assert unreported.keep([batch, barrier], budget) == 300
    held = weakref.ref(listener)
    del entry, barrier, listener
    assert unreported.are_many
    batch.lose()
    batch.listener = None
    assert held() is None
    unreported.free_reported()
    assert (budget.held, unreported.are_many) == (0, False)
