"""What counts in the memory budget: unfinished blocks of streams, which cannot fill it, and unreported batches."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.core.entries import Entry, Message, Stage
from bridge.core.identity import Position
from bridge.delivery.budget import MemoryBudget, UnfinishedBlock, UnreportedEntries
from bridge.sse.event_stream import EventStream
from bridge.sse.reconnection import Disconnected
from tests.fakes.pieces import Pieces
from tests.support.waiting import TIMEOUT, wait_until

KIB = 1024
LIMIT = 1000 * KIB


def stream(pieces: list[bytes], held: list[int]) -> EventStream:
    return EventStream(Pieces(pieces), "", max_block_bytes=200 * KIB, stalled_after=60.0, hold=held.append)


def test_a_stream_reports_what_it_keeps_of_an_unfinished_block() -> None:
    """In steps, up to the largest block, whether it is parsed at its end or line by line; nothing for small blocks."""
    held: list[int] = []
    pieces = [b"data: " + b"x" * 10 * KIB, *[b"y" * 10 * KIB] * 30, b"\n\n", b"data: small\n\n"]
    one = stream(pieces, held)
    assert len(one.read()) == 1
    assert held[-1] == 0
    assert max(held) == 200 * KIB
    assert len(held) < 16
    assert [event.data for event in one.read()] == ["small"]
    assert held.count(0) == 1


def test_the_end_of_a_connection_frees_its_unfinished_block() -> None:
    held: list[int] = []
    with pytest.raises(Disconnected):
        stream([b"data: " + b"x" * 50 * KIB], held).read()
    assert held == [50 * KIB + 6, 0]


def test_unfinished_blocks_fill_at_most_half_of_the_budget_and_one_of_them_is_always_finished() -> None:
    """Each of ten readers has a block of a fifth of the budget: all come through, and the rest stays free."""
    budget, stopped = MemoryBudget(LIMIT), threading.Event()
    most, lock = 0, threading.Lock()

    def read(_reader: int) -> None:
        nonlocal most
        block = UnfinishedBlock(budget)
        for size in range(20 * KIB, 201 * KIB, 20 * KIB):
            block.hold(size, stopped)
            with lock:
                most = max(most, budget.held)
        block.hold(0, stopped)

    with ThreadPoolExecutor(10) as readers:
        for done in [readers.submit(read, number) for number in range(10)]:
            done.result(TIMEOUT)
    assert budget.held == 0
    assert budget.unfinished == 0
    assert most <= LIMIT // 2 + 10 * 20 * KIB + 200 * KIB
    assert not budget.exemption.locked()


def test_a_reader_that_waits_for_memory_can_be_stopped() -> None:
    """And events that are complete are still accepted meanwhile."""
    budget, stopped = MemoryBudget(LIMIT), threading.Event()
    first, second = UnfinishedBlock(budget), UnfinishedBlock(budget)
    first.hold(LIMIT // 2 + KIB, stopped)
    assert budget.has_budget(0)
    waiting = threading.Thread(target=second.hold, args=(KIB, stopped))
    waiting.start()
    wait_until(lambda: bool(budget._waiters), what="the second reader waits")
    stopped.set()
    budget.wake()
    waiting.join(TIMEOUT)
    assert not waiting.is_alive()


def test_a_late_wake_up_takes_nothing_for_a_block_that_has_ended() -> None:
    """The thread that wakes the workers looked at them before: the exemption would be held for ever."""
    budget, stopped = MemoryBudget(LIMIT), threading.Event()
    first, second = UnfinishedBlock(budget), UnfinishedBlock(budget)
    first.hold(LIMIT, stopped)
    waiting = threading.Thread(target=second.hold, args=(KIB, stopped))
    waiting.start()
    wait_until(lambda: bool(budget._waiters), what="the second reader waits")
    (late,) = budget._waiters.values()
    first.hold(0, stopped)
    waiting.join(TIMEOUT)
    second.hold(0, stopped)
    budget.hold_unfinished(LIMIT)
    late()
    assert not budget.exemption.locked()


class Silent:
    """A listener that hears of nothing."""

    def acknowledged(self, entry: Entry, /) -> None:
        """Do nothing."""

    def failed(self, _entry: Entry, _error: object, _message: Message, /) -> Stage:
        return Stage.LOST


def test_bytes_are_kept_until_the_reports_come_and_barriers_are_not_kept() -> None:
    """The producer of a barrier may be replaced alone: nothing would ever remove it, and what it refers to."""
    budget, listener = MemoryBudget(1000), Silent()
    unreported = UnreportedEntries(budget)
    batch, barrier = Entry(Position(1, 1, "1"), 300), Entry(Position(1, 1, "1"))
    for entry in (batch, barrier):
        entry.note_produced(1, listener)
    assert budget.reserve(300)
    assert unreported.keep([batch, barrier]) == 300
    held = weakref.ref(listener)
    del entry, barrier, listener
    assert unreported.are_many
    batch.lose()
    batch.listener = None
    assert held() is None
    unreported.free_reported()
    assert (budget.held, unreported.are_many) == (0, False)
