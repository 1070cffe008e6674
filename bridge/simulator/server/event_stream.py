"""One open ``GET /stream`` of the simulated server. Event loop thread only."""

from __future__ import annotations

import asyncio
import json

from bridge.simulator.faults.kinds import OwnIds, Place, Replay
from bridge.simulator.faults.middleware import FaultMiddleware
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.scripted_runs import BEFORE_ALL, LiveTrack, number_of
from bridge.simulator.server.body_writer import Outlet, Severed
from bridge.simulator.server.encoding import event_block
from bridge.simulator.server.options import ConnectionIds, ServerOptions
from bridge.simulator.server.sessions import Reader, TrackSession


class EventStreamBody:
    """Writes a session's events to one connection: ``connected``, what the reader missed, then what comes.

    The reader sets the pace: nothing is queued for it but what the transport holds, it reads the session's own buffer.
    """

    def __init__(  # noqa: PLR0913 - what a stream is made of
        self,
        session: TrackSession,
        writer: asyncio.StreamWriter,
        outlet: Outlet,
        options: ServerOptions,
        *,
        book: FaultRegistry,
        last_event_id: str | None,
    ) -> None:
        self._session = session
        self._outlet = outlet
        self._options = options
        self._book = book
        self._cursor, position = _start(session, book, last_event_id)
        self.reader = Reader(position, writer.transport)
        self._middleware = FaultMiddleware(book, session.facts.id, self.reader, outlet)

    async def run(self) -> None:
        """Send until the session closes or the reader is ended. OSError when the client has gone."""
        self._session.attach(self.reader)
        alarm = asyncio.get_running_loop().create_task(self._beat())
        try:
            await self._middleware.face()
            self._send_own("connected", {"sessionId": self._session.facts.id}, self._options.retry)
            await self._send_events()
        except Severed as severed:
            await self._outlet.sever(severed.how)
        finally:
            alarm.cancel()
            self._session.detach(self.reader)

    async def _send_events(self) -> None:
        reader, session, middleware = self.reader, self._session, self._middleware
        while not reader.ended:
            if middleware.is_news:
                await middleware.face()
            if reader.heartbeat_due:
                reader.heartbeat_due = False
                self._send_own("heartbeat", {"type": "heartbeat"})
            if await self._send_some():
                await asyncio.sleep(0)  # drain() alone lets nobody else in while the reader is quick
            elif session.closed:
                self._outlet.end()
                return
            else:
                await reader.notifier.wait()
        raise Severed(reader.ending)

    async def _send_some(self) -> bool:
        """Send the next events, if there are any; returns when the transport has room for more."""
        track, reader, write = self._session.track, self.reader, self._outlet.write
        if self._middleware.to_skip:
            self._skip()
        first = max(reader.position, track.floor) + 1
        chunks, last = track.chunks_after(reader.position)
        if chunks:
            self._cursor = track.id_at(last) or self._cursor
        for chunk in chunks:
            write(chunk)
        await self._outlet.drain()
        has_moved = last != reader.position
        self._session.advance(reader, first, last)
        return has_moved

    def _skip(self) -> None:
        there = self._session.head - self.reader.position
        skipped = min(there, self._middleware.to_skip)
        self.reader.position += skipped
        self._middleware.to_skip -= skipped

    def _send_own(self, name: str, fields: dict[str, str], retry_ms: int | None = None) -> None:
        data = json.dumps(fields, separators=(",", ":")).encode()
        self._outlet.write_own(event_block(name, data, self._own_id(), retry_ms))

    def _own_id(self) -> str | None:
        """The id of an event about this connection, as the option says."""
        track, ids = self._session.track, self._options.connection_ids
        met = self._book.take(Place.OWN_IDS, self._session.facts.id)
        if met is not None and isinstance(met.fault, OwnIds):
            ids = ConnectionIds(met.fault.ids)
        if ids is ConnectionIds.NONE:
            return None
        if ids is ConnectionIds.FRESH and isinstance(track, LiveTrack):
            return str(track.numbering.next())
        return self._cursor

    async def _beat(self) -> None:
        while self._options.heartbeat:
            await asyncio.sleep(self._options.heartbeat)  # ended by cancel()
            self.reader.want_heartbeat()


def _start(session: TrackSession, book: FaultRegistry, last_event_id: str | None) -> tuple[str, int]:
    """The cursor to tell the reader, and the sequence after which it begins.

    Without an id it begins with what comes next. After an id that this server never gave out, it begins with the oldest
    event still kept: repeats are better than a hole.
    """
    track = session.track
    met = book.take(Place.REPLAY, session.facts.id)
    if met is not None and isinstance(met.fault, Replay) and met.fault.start == "oldest":
        return BEFORE_ALL, track.floor
    if met is not None or not last_event_id:
        return track.id_at(track.head) or BEFORE_ALL, track.head
    known = track.resume(last_event_id)
    if known is None:
        return BEFORE_ALL, track.floor
    number = number_of(last_event_id)
    return last_event_id if number is None else str(number), known
