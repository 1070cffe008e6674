"""How one task wakes another. Event loop thread only."""

from __future__ import annotations

import asyncio


class Notifier:
    """One waiter, woken by anybody; a ring before the wait is not forgotten."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the waiter, or let the next wait return at once."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Return when the bell has rung since the last wait returned."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._rung = False

    async def wait_up_to(self, seconds: float) -> None:
        """As ``wait``, but for at most so long."""
        try:
            await asyncio.wait_for(self.wait(), seconds)
        except TimeoutError:
            return
