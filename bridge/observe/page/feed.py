"""The view of the live page, taken once a second while a page is open, and sent to all open pages.

It has the counters of the last hour, from one sample per minute.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from structlog.stdlib import get_logger

from bridge import clock
from bridge.core.snapshot import Counters

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


STEP = 60.0
"""Seconds between two samples."""
_SAMPLES = 60

NAMES = (
    "received", "published", "skipped", "reconnects", "gaps", "missing_events", "resets", "unresumable",
)  # fmt: skip
"""The counters that are kept."""


@dataclass(frozen=True, slots=True)
class Change:
    """By how much the counters rose in ``seconds``."""

    seconds: float
    counts: Mapping[str, int]
    """By the names in ``NAMES``."""
    dead_letters: Mapping[str, int]
    """By reason; only those that rose."""
    per_minute: tuple[int, ...]
    """Events received between two samples, the newest at the end."""


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    counters: Counters


class LastHour:
    """Samples of the counters of all sessions together.

    Thread rule: one thread. Times are seconds of one clock. Before the first sample all counters are 0.
    """

    def __init__(self, now: float) -> None:
        self._samples = deque([_Sample(now, Counters())], maxlen=_SAMPLES + 1)

    def is_due(self, now: float) -> bool:
        return now - self._samples[-1].at >= STEP

    def add(self, now: float, counters: Counters) -> None:
        """Add a sample; the oldest one is dropped when there are more than an hour of them."""
        self._samples.append(_Sample(now, counters))

    def change(self, now: float, counters: Counters) -> Change:
        """The change since the oldest sample."""
        oldest = self._samples[0]
        counts = {name: getattr(counters, name) - getattr(oldest.counters, name) for name in NAMES}
        reasons = Counter(counters.dead_letters)
        reasons.subtract(oldest.counters.dead_letters)
        received = (*(each.counters.received for each in self._samples), counters.received)
        return Change(
            seconds=now - oldest.at,
            counts=counts,
            dead_letters=+reasons,
            per_minute=tuple(later - earlier for earlier, later in pairwise(received)),
        )


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that turns ``old`` into ``new``; empty if they are equal.

    Neither may contain null, because in a patch it removes a member. Arrays are replaced as a whole.
    """
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            if before != value:  # compared first: of thousands of sessions few have changed
                patch[name] = difference(before, value)
        elif before != value:
            patch[name] = value
    return patch
