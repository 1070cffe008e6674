"""Carries faults out: deeds at once, conditions in the book until their time is over, a schedule in its time.

Event loop thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from bridge.clock import monotonic
from bridge.simulator.faults.kinds import Disconnect, Evict, Fault, Jump, Place, Poison, Refuse, Restart
from bridge.simulator.faults.malformed_events import poison
from bridge.simulator.faults.registry import FaultRegistry, FaultReport
from bridge.simulator.faults.requests import Order
from bridge.simulator.faults.schedule import Due
from bridge.simulator.server.session_table import Roster, UnknownSession
from bridge.simulator.server.sessions import LiveSession, RawEvent, Session, Talk


class FaultInjector:
    """What tests, the demo and the command line order."""

    def __init__(self, roster: Roster, book: FaultRegistry) -> None:
        self._roster = roster
        self._book = book
        self._alarm: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def order(self, order: Order) -> FaultReport:
        """Let it happen; a deed is done when this returns. UnknownSession or ValueError if it cannot be."""
        sessions = self._roster.all() if order.session is None else [self._roster.get(order.session)]
        if order.fault.place is Place.DEED:
            await self._do(order.fault, sessions)
        entry = self._book.begin(order)
        self._expire()
        if isinstance(order.fault, Restart) and order.fault.down:
            await self.order(Order(Refuse(), seconds=order.fault.down))
        return entry.report()

    def clear(self, number: int | None = None) -> int:
        """End one condition, or all; how many there were."""
        return self._book.clear(number)

    def reports(self) -> list[FaultReport]:
        """All there is and was, oldest first."""
        return self._book.reports()

    def play(self, schedule: Iterable[Due]) -> None:
        """Let a schedule begin now."""
        task = asyncio.get_running_loop().create_task(self._play(schedule))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """No more of it: what was held goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._alarm is not None:
            self._alarm.cancel()
        self._book.clear()

    def _expire(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        wait = self._book.expire()
        self._alarm = None if wait is None else asyncio.get_running_loop().call_later(wait, self._expire)

    async def _play(self, schedule: Iterable[Due]) -> None:
        began = monotonic()
        for due in schedule:
            await asyncio.sleep(max(0.0, began + due.at - monotonic()))  # ended by cancel()
            try:
                await self.order(due.order)
            except (UnknownSession, ValueError) as failure:
                self._book.fail(due.order, str(failure))

    # --- deeds

    async def _do(self, deed: Fault, sessions: list[Session]) -> None:
        for session in sessions:
            if isinstance(deed, Disconnect | Restart):
                _cut(session, deed)
            if isinstance(deed, Poison):
                await _poison(session, deed)
            elif isinstance(session, LiveSession):
                _change(session, deed)
            elif not isinstance(deed, Disconnect | Restart):
                raise ValueError(f"{deed.kind} is not possible: nothing is kept in this session")  # noqa: TRY004 - as below


def _cut(session: Session, deed: Disconnect | Restart) -> None:
    for reader in session.readers:
        reader.end(deed.how if isinstance(deed, Disconnect) else "fin")


async def _poison(session: Session, deed: Poison) -> None:
    if not isinstance(session, Talk):
        raise ValueError("the events of a load test are fixed")  # noqa: TRY004 - a wrong request, not a wrong type
    await session.publish([RawEvent(partial(poison, deed.poison, size=deed.size))])


def _change(session: LiveSession, deed: Fault) -> None:
    if isinstance(deed, Evict):
        session.live.buffer.forget(deed.keep)
    elif isinstance(deed, Jump):
        session.live.numbering.last += deed.by
    elif isinstance(deed, Restart):
        session.live.restart(fresh_ids=deed.ids == "fresh", forget=deed.history == "forget")
