"""One open ``GET /stream`` of the simulated server. Event loop thread only."""

from __future__ import annotations

import asyncio
import json

from bridge.demo.server_options import ConnectionIds, ServerOptions
from bridge.demo.sessions import LiveTrack, Reader, Session
from bridge.demo.wire import LAST_CHUNK, event_block, http_chunk

# Digits of the largest id this server will ever give; int() refuses thousands of them.
_LONGEST_ID = 18


class EventStreamBody:
    """Writes a session's events to one connection: ``connected``, what the reader missed, then what comes.

    The reader sets the pace: nothing is queued for it but what the transport holds, it reads the session's own buffer.
    """

    def __init__(
        self, session: Session, writer: asyncio.StreamWriter, options: ServerOptions, last_event_id: str | None
    ) -> None:
        self._session = session
        self._writer = writer
        self._options = options
        self._cursor, position = _start(session, last_event_id)
        self.reader = Reader(position, writer.transport)

    async def run(self) -> None:
        """Send until the session closes or the reader is ended. OSError when the client has gone."""
        self._session.attach(self.reader)
        alarm = asyncio.get_running_loop().create_task(self._beat())
        try:
            self._send_own("connected", {"sessionId": self._session.facts.id}, self._options.retry)
            await self._send_events()
        finally:
            alarm.cancel()
            self._session.detach(self.reader)

    async def _send_events(self) -> None:
        reader, session = self.reader, self._session
        while not reader.ended:
            if reader.heartbeat_due:
                reader.heartbeat_due = False
                self._send_own("heartbeat", {"type": "heartbeat"})
            if await self._send_some():
                await asyncio.sleep(0)  # drain() alone lets nobody else in while the reader is quick
            elif session.closed:
                self._writer.write(LAST_CHUNK)
                return
            else:
                await reader.bell.wait()

    async def _send_some(self) -> bool:
        """Send the next events, if there are any; returns when the transport has room for more."""
        track = self._session.track
        chunks, position = track.chunks_after(self.reader.position)
        if chunks:
            self._cursor = str(track.id_at(position))
        for chunk in chunks:
            self._writer.write(chunk)
        await self._writer.drain()
        self._session.advance(self.reader, position)
        return bool(chunks)

    def _send_own(self, name: str, fields: dict[str, str], retry_ms: int | None = None) -> None:
        block = event_block(name, json.dumps(fields, separators=(",", ":")).encode(), self._own_id(), retry_ms)
        self._writer.write(http_chunk(block))

    def _own_id(self) -> str | None:
        """The id of an event about this connection, as the option says."""
        track = self._session.track
        if self._options.connection_ids is ConnectionIds.NONE:
            return None
        if self._options.connection_ids is ConnectionIds.FRESH and isinstance(track, LiveTrack):
            return str(track.next_id())
        return self._cursor

    async def _beat(self) -> None:
        while self._options.heartbeat:
            await asyncio.sleep(self._options.heartbeat)  # ended by cancel()
            self.reader.want_heartbeat()


def _start(session: Session, last_event_id: str | None) -> tuple[str, int]:
    """The cursor to tell the reader, and the sequence after which it begins.

    Without an id it begins with what comes next. After an id that this server never gave out as a number, it begins
    with the oldest event still kept: repeats are better than a hole.
    """
    track = session.track
    if not last_event_id:
        return str(track.id_at(track.head)), track.head
    is_ours = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= _LONGEST_ID
    known = int(last_event_id) if is_ours else 0
    return str(known), track.resume(known)
