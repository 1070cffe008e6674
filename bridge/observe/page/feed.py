"""The view of the live page, taken once a second while a page is open, and sent to all open pages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from structlog.stdlib import get_logger

from bridge import clock
from bridge.core.snapshot import Counters
from bridge.observe.page.last_hour import Change, LastHour
from bridge.observe.page.merge_patch import difference

INTERVAL = 1.0
"""Seconds between two views."""
_LONGEST_INTERVAL = 3.0
"""Seconds. The page reports a lost connection after 4 s without a message."""
_COST_SHARE = 10
"""Views take at most a tenth of one core: with thousands of busy sessions they come less often."""

log = get_logger("bridge.http")


class Present(NamedTuple):
    """What the bridge is like now."""

    totals: Counters
    """Of all sessions since the start."""
    view: Callable[[Change], dict[str, Any]]
    """The view; the change is that of the last hour."""


Source = Callable[[], Awaitable[Present]]


def pause(elapsed: float, cost: float) -> float:
    """Seconds until the next view, after one that took ``elapsed`` seconds, ``cost`` of them of processor time.

    On a busy machine a view waits for the processor: that alone must not delay the next one, or open pages would
    report a lost connection.
    """
    return max(0.0, min(_LONGEST_INTERVAL, max(INTERVAL, _COST_SHARE * cost)) - elapsed)


class Feed:
    """The present view, and its difference to the one before as an RFC 7396 merge patch.

    Thread rule: the event loop of the HTTP thread. Every page gets the same bytes: one more page costs no more than
    writing them. Nothing is queued for a page: one that does not keep up gets the whole view when it reads again.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._turning = asyncio.Lock()
        self._hour = LastHour(clock.monotonic())
        self._pages = 0
        self._version = 0
        self._view: dict[str, Any] = {}
        self._full: bytes | None = None
        """The message with the whole present view, once a page has needed it."""
        self._changes = b""
        """The message with the difference between the last view and the present one."""
        self._turned = asyncio.Event()
        """Replaced at each turn."""
        self._is_closed = False
        self._has_failed = False

    async def run(self) -> None:
        """Take views while pages are open, and a sample of all counters each minute, until ``close``."""
        while not self._is_closed:
            started, used = clock.monotonic(), time.thread_time()
            if self._pages or self._hour.is_due(started):
                await self._try_turn()
            await asyncio.sleep(pause(clock.monotonic() - started, time.thread_time() - used))

    def close(self) -> None:
        """End all streams. Can be called twice."""
        self._is_closed = True
        self._turned.set()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """A page is open meanwhile."""
        if not self._pages:
            await self._turn()  # the present view may be old
        self._pages += 1
        try:
            yield
        finally:
            self._pages -= 1

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages for one page, within ``watched``: the whole view, then its changes."""
        seen = -1
        while not self._is_closed:
            message = self._changes if self._version == seen + 1 and seen >= 0 else self._whole()
            seen = self._version
            yield message
            turned = self._turned
            if self._version == seen and not self._is_closed:
                await turned.wait()

    async def present(self) -> dict[str, Any]:
        """The view of now, for a client that asks once."""
        now = await self._source()
        return now.view(self._hour.change(clock.monotonic(), now.totals))

    async def _try_turn(self) -> None:
        """A bug in one view must end neither the thread nor the pages: they report that nothing comes."""
        try:
            await self._turn()
        except Exception:
            if not self._has_failed:  # logged once, not each second
                log.exception("the live page cannot be updated; please report this bug")
            self._has_failed = True
        else:
            self._has_failed = False

    async def _turn(self) -> None:
        async with self._turning:  # one that waits for other processes must not be overtaken
            self._show(await self._source())

    def _show(self, taken: Present) -> None:
        now = clock.monotonic()
        present = taken.view(self._hour.change(now, taken.totals))
        if self._hour.is_due(now):
            self._hour.add(now, taken.totals)
        self._changes = _message("changes", difference(self._view, present))
        self._view, self._full = present, None
        self._version += 1
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    def _whole(self) -> bytes:
        if self._full is None:
            self._full = _message("status", self._view)
        return self._full


def _message(event: str, content: dict[str, Any]) -> bytes:
    # ASCII without line ends: one line of data, also for an id with a lone surrogate.
    return f"event: {event}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
