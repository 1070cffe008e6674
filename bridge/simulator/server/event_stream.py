"""The loop that serves an open event stream, with the lasting faults that cut or hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Protocol

from bridge.clock import monotonic
from bridge.simulator.faults.kinds import Comments, Cut, Drip, Fault, HoldFault, Silence, Skip
from bridge.simulator.faults.registry import F_co, FaultRecord, FaultRegistry
from bridge.simulator.server.body_writer import BodyEnded, BodyWriter
from bridge.simulator.server.sessions import Reader, Session

_NO_INTERVAL = 3600.0
_ENDLESS_EVENT = b"event: content\ndata: drip"


class StreamContent(Protocol):
    """What one kind of server writes to one connection."""

    @property
    def reader(self) -> Reader:
        """The stream's reader."""

    def send_connected(self) -> None:
        """Send the first event."""

    def send_heartbeat(self) -> None:
        """Send a heartbeat. Raises BodyEnded when the connection is too old."""

    async def send_events(self) -> bool:
        """Send waiting events. False: there were none."""


class EventStream:
    """Serves one open stream, with the faults that apply to it."""

    def __init__(self, content: StreamContent, session: Session, body: BodyWriter, registry: FaultRegistry) -> None:
        self._content = content
        self._reader = content.reader
        self._session = session
        self._body = body
        self._registry = registry
        self._applied: set[int] = set()
        self._cut: FaultRecord[Cut] | None = None
        self._seen_version = -1
        self._is_new = True
        self._events_to_skip = 0

    async def serve(self, heartbeat: float) -> None:
        """Serve it until the session closes or the reader is ended. OSError when the client has gone."""
        self._session.attach(self._reader)
        heartbeats = asyncio.get_running_loop().create_task(self._request_heartbeats(heartbeat))
        try:
            await self._apply_faults()
            self._content.send_connected()
            await self._send_until_closed()
        except BodyEnded as ended:
            await self._body.terminate(ended.how)
        finally:
            heartbeats.cancel()
            self._session.detach(self._reader)

    async def _request_heartbeats(self, interval: float) -> None:
        while interval:
            await asyncio.sleep(interval)  # ended by cancel()
            self._reader.request_heartbeat()

    async def _send_until_closed(self) -> None:
        reader = self._reader
        while not reader.ended:
            if self._seen_version != self._registry.version:
                await self._apply_faults()
            if reader.heartbeat_due:
                reader.heartbeat_due = False
                self._content.send_heartbeat()
            if self._events_to_skip:
                skipped = min(self._session.head - reader.position, self._events_to_skip)
                reader.position += skipped
                self._events_to_skip -= skipped
            if await self._content.send_events():
                await asyncio.sleep(0)  # drain() alone does not let other tasks run while the client reads fast
            elif self._session.closed:
                raise BodyEnded("end")
            else:
                await reader.wait()
        raise BodyEnded(reader.ending)

    # --- faults

    async def _apply_faults(self) -> None:
        """Return when the stream may continue. Raises BodyEnded when a fault ends the stream."""
        self._seen_version = self._registry.version
        self._update_cut()
        if (skip := self._hit(Skip)) is not None:
            self._events_to_skip += skip.fault.events
        while (hold := self._hit(HoldFault)) is not None:
            await self._hold(hold)
            self._seen_version = self._registry.version
        self._is_new = False

    def _hit(self, kind: type[F_co]) -> FaultRecord[F_co] | None:
        """Return a fault that has not applied to this stream yet, and count it."""
        record = self._registry.hit(kind, self._session.info.id, self._is_due)
        if record is not None:
            self._applied.add(record.number)
        return record

    def _is_due(self, record: FaultRecord[Fault]) -> bool:
        return record.number not in self._applied and (self._is_new or record.fault.streams == "all")

    def _update_cut(self) -> None:
        if self._cut is not None and self._cut.is_over:
            self._cut = None
            self._body.set_cut(None)
        if self._cut is None and (record := self._hit(Cut)) is not None:
            self._cut = record
            self._body.set_cut(record.fault)
            if record.fault.after == 0:
                raise BodyEnded(record.fault.how)

    async def _hold(self, record: FaultRecord[HoldFault]) -> None:
        fault = record.fault
        if isinstance(fault, Silence):
            await self._send_until_over(record, _NO_INTERVAL, repeat(b""))
        elif isinstance(fault, Comments):
            line = b": nothing new\n\n" if fault.closed else b": nothing new\n"
            await self._send_until_over(record, fault.interval, repeat(line))
        elif isinstance(fault, Drip):
            single_bytes = (bytes((each,)) for each in chain(_ENDLESS_EVENT, repeat(ord("."))))
            await self._send_until_over(record, fault.interval, single_bytes)
            raise BodyEnded("fin")  # the unfinished event must not run into the next one

    async def _send_until_over(self, record: FaultRecord[HoldFault], interval: float, pieces: Iterator[bytes]) -> None:
        due = monotonic()
        while not (record.is_over or self._reader.ended):
            if monotonic() >= due:
                due += interval
                self._body.write_own(next(pieces))
                await self._body.drain()
            await self._reader.wait(max(0.0, due - monotonic()))
        self._reader.wake()  # events may have been published meanwhile
