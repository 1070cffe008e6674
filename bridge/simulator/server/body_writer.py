"""Writes the body of a stream: framed and compressed as a fault requests, and cut at a byte."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
import zlib
from collections.abc import Callable

from bridge.clock import monotonic
from bridge.simulator.encoding import LAST_CHUNK, http_chunk, payload_of
from bridge.simulator.faults.kinds import Cut, Ending, Frame

_GZIP = 16 + zlib.MAX_WBITS
# Longest wait until the kernel has delivered the last bytes before a reset, which would discard them.
_DELIVERY_TIMEOUT = 1.0
_POLL_INTERVAL = 0.002


class BodyEnded(Exception):
    """The body ends here, in the way of ``how``."""

    def __init__(self, how: Ending) -> None:
        super().__init__(how)
        self.how = how


class BodyWriter:
    """One connection's body. Without a fault a ready chunk goes straight to the transport."""

    def __init__(self, writer: asyncio.StreamWriter, frame: Frame) -> None:
        self._writer = writer
        self._frame = frame
        self.transport = writer.transport
        self._compressor = zlib.compressobj(wbits=_GZIP) if frame.gzip else None
        self._declared = frame.length if frame.framing == "length" else None
        self._cut: Cut | None = None
        self._left = 0
        self._is_plain = frame.framing == "chunked" and not frame.gzip
        self.write: Callable[[bytes], None] = writer.write if self._is_plain else self._write_event
        """Writes one chunk of ``http_chunk`` with events of the session. Raises BodyEnded where the body ends."""

    def headers(self) -> list[tuple[str, str]]:
        framing = {"chunked": [("Transfer-Encoding", "chunked")], "close": []}
        length = [("Content-Length", str(self._frame.length))]
        encoding = [("Content-Encoding", "gzip")] if self._frame.gzip else []
        return [("Content-Type", self._frame.content_type), *framing.get(self._frame.framing, length), *encoding]

    def write_own(self, block: bytes) -> None:
        """Write bytes that are not an event of the session. Raises BodyEnded where the body ends."""
        self._write_up_to_the_cut(block, is_event=False)

    def set_cut(self, cut: Cut | None) -> None:
        """Cut the body from now on as the fault requests. None: no cut."""
        self._cut = cut
        self._left = 0 if cut is None else cut.after or 0
        self.write = self._writer.write if self._is_plain and cut is None else self._write_event

    async def drain(self) -> None:
        await self._writer.drain()

    def end(self) -> None:
        if self._compressor is not None:
            self._frame_and_write(self._compressor.flush())
        if self._frame.framing == "chunked":
            self._writer.write(LAST_CHUNK)

    async def terminate(self, how: Ending) -> None:
        if how == "end":
            self.end()
        elif how == "rst":
            await self._delivered()
            reset(self._writer)

    def _write_event(self, chunk: bytes) -> None:
        self._write_up_to_the_cut(payload_of(chunk), is_event=True)

    def _write_up_to_the_cut(self, payload: bytes, *, is_event: bool) -> None:
        cut = self._cut
        if cut is None or (cut.after is None and not is_event):
            self._emit(payload)
        elif cut.after is not None and len(payload) < self._left:
            self._left -= len(payload)
            self._emit(payload)
        else:
            size = self._left if cut.into_event is None else _inside(payload, cut.into_event)
            if self._is_plain and cut.how != "end":  # the size line announces the whole chunk
                self._writer.write(http_chunk(payload)[: len(b"%x\r\n" % len(payload)) + size])
            else:
                self._emit(payload[:size])
            raise BodyEnded(cut.how)

    def _emit(self, payload: bytes) -> None:
        gzip = self._compressor
        content = payload if gzip is None else gzip.compress(payload) + gzip.flush(zlib.Z_SYNC_FLUSH)
        self._frame_and_write(content)

    def _frame_and_write(self, content: bytes) -> None:
        if not content:
            return
        if self._declared is None:
            self._writer.write(http_chunk(content) if self._frame.framing == "chunked" else content)
            return
        self._writer.write(content[: self._declared])
        self._declared -= min(len(content), self._declared)
        if not self._declared:
            raise BodyEnded("fin")

    async def _delivered(self) -> None:
        await self._writer.drain()
        deadline = monotonic() + _DELIVERY_TIMEOUT
        while _unsent(self._writer) and monotonic() < deadline:  # noqa: ASYNC110 - the kernel does not notify
            await asyncio.sleep(_POLL_INTERVAL)


def _inside(payload: bytes, offset: int) -> int:
    """Return the place of a cut inside the first event of these."""
    event = payload.find(b"\n\n") + 2 if b"\n\n" in payload else len(payload)
    return min(max(0, offset if offset >= 0 else event + offset), event)


def _unsent(writer: asyncio.StreamWriter) -> int:
    """Return how many bytes the peer has not acknowledged."""
    if writer.transport.is_closing():
        return 0
    unacknowledged = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
    kernel: int = struct.unpack("i", unacknowledged)[0]
    return kernel + writer.transport.get_write_buffer_size()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with an RST."""
    raw_socket: socket.socket = writer.get_extra_info("socket")
    if not writer.transport.is_closing():
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
