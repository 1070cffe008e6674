"""What conditions do to one open stream: cut it somewhere, hold it back, let it leave events out.

Event loop thread only.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

from bridge.clock import monotonic
from bridge.simulator.faults.kinds import Comments, Cut, Drip, Place, Silence, Skip
from bridge.simulator.faults.registry import Entry, FaultRegistry
from bridge.simulator.server.body_writer import Outlet, Severed
from bridge.simulator.server.sessions import Reader

_LONG = 3600.0
_ENDLESS = b"event: content\ndata: drip"


class FaultMiddleware:
    """Looks at the book whenever it has changed. ``is_news`` costs a comparison; ``face`` is for when it is true."""

    def __init__(self, book: FaultRegistry, session: str, reader: Reader, outlet: Outlet) -> None:
        self._book = book
        self._session = session
        self._reader = reader
        self._outlet = outlet
        self._met: set[int] = set()
        self._cut: Entry | None = None
        self._seen = -1
        self._is_new = True
        self.to_skip = 0
        """Events still to be left out."""

    @property
    def is_news(self) -> bool:
        """Whether a condition has begun or ended since ``face``."""
        return self._seen != self._book.version

    async def face(self) -> None:
        """Take what the conditions bring; returns when the stream may go on. Severed when it may not."""
        self._seen = self._book.version
        self._be_cut()
        self._leave_out()
        while (still := self._meet(Place.STILL)) is not None:
            await self._stand_still(still)
            self._seen = self._book.version
        self._is_new = False

    def _meet(self, place: Place) -> Entry | None:
        """A condition that this stream has not met yet, counted."""
        entry = self._book.take(place, self._session, self._is_unmet)
        if entry is not None:
            self._met.add(entry.number)
        return entry

    def _is_unmet(self, entry: Entry) -> bool:
        return entry.number not in self._met and (self._is_new or entry.order.streams == "all")

    def _be_cut(self) -> None:
        if self._cut is not None and self._cut.is_over:
            self._cut = None
            self._outlet.arm(None)
        if self._cut is None and (entry := self._meet(Place.CUT)) is not None and isinstance(entry.fault, Cut):
            self._cut = entry
            self._outlet.arm(entry.fault)
            if entry.fault.after == 0:
                raise Severed(entry.fault.how)

    def _leave_out(self) -> None:
        entry = self._meet(Place.SKIP)
        if entry is not None and isinstance(entry.fault, Skip):
            self.to_skip += entry.fault.events

    async def _stand_still(self, entry: Entry) -> None:
        fault = entry.fault
        if isinstance(fault, Silence):
            await self._wait_out(entry, _LONG, repeat(b""))
        elif isinstance(fault, Comments):
            line = b": nothing new\n\n" if fault.closed else b": nothing new\n"
            await self._wait_out(entry, fault.interval, repeat(line))
        elif isinstance(fault, Drip):
            bytes_of = (bytes((each,)) for each in chain(_ENDLESS, repeat(ord("."))))
            await self._wait_out(entry, fault.interval, bytes_of)
            raise Severed("fin")  # what was begun must not run into the next event

    async def _wait_out(self, entry: Entry, interval: float, pieces: Iterator[bytes]) -> None:
        due = monotonic()
        while not (entry.is_over or self._reader.ended):
            if monotonic() >= due:
                due += interval
                self._outlet.write_own(next(pieces))
                await self._outlet.drain()
            await self._reader.notifier.wait_up_to(max(0.0, due - monotonic()))
        self._reader.notifier.ring()  # events may have come meanwhile
