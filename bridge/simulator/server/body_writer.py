"""Where a stream's body goes out: framed and packed as wished, and cut at a byte when that is asked for.

Event loop thread only.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
import zlib
from collections.abc import Callable

from bridge.clock import monotonic
from bridge.simulator.faults.kinds import Cut, Ending, Frame
from bridge.simulator.server.encoding import LAST_CHUNK, http_chunk, payload_of

_GZIP = 16 + zlib.MAX_WBITS
# Longest wait until the kernel has handed the last bytes over before a reset, which would throw them away.
_HANDED_OVER = 1.0
_LOOK = 0.002


class Severed(Exception):
    """The body has come to the byte where it ends."""

    def __init__(self, how: Ending) -> None:
        super().__init__(how)
        self.how = how


class Outlet:
    """One connection's body. Without a fault a ready chunk goes straight to the transport."""

    def __init__(self, writer: asyncio.StreamWriter, frame: Frame) -> None:
        self._writer = writer
        self._frame = frame
        self._packer = zlib.compressobj(wbits=_GZIP) if frame.gzip else None
        self._declared = frame.length if frame.framing == "length" else None
        self._cut: Cut | None = None
        self._left = 0
        self._is_plain = frame.framing == "chunked" and not frame.gzip
        self.write: Callable[[bytes], None] = writer.write if self._is_plain else self._write_event
        """Takes one chunk of ``wire.http_chunk`` with events of the session; Severed where the body ends."""

    def head(self) -> list[tuple[str, str]]:
        """The response's headers about its body."""
        framing = {"chunked": [("Transfer-Encoding", "chunked")], "close": []}
        length = [("Content-Length", str(self._frame.length))]
        packed = [("Content-Encoding", "gzip")] if self._frame.gzip else []
        return [("Content-Type", self._frame.content_type), *framing.get(self._frame.framing, length), *packed]

    def write_own(self, block: bytes) -> None:
        """Write something about the connection, which is no event of the session; Severed where the body ends."""
        if self._cut is not None and self._cut.after is not None:
            self._write_up_to_the_cut(block)
        else:
            self._emit(block)

    def arm(self, cut: Cut | None) -> None:
        """From now on the body ends as ``cut`` says; None: as nothing says."""
        self._cut = cut
        self._left = 0 if cut is None else cut.after or 0
        self.write = self._writer.write if self._is_plain and cut is None else self._write_event

    async def drain(self) -> None:
        """Return when there is room for more."""
        await self._writer.drain()

    def end(self) -> None:
        """The proper end of the body."""
        if self._packer is not None:
            self._frame_and_write(self._packer.flush())
        if self._frame.framing == "chunked":
            self._writer.write(LAST_CHUNK)

    async def sever(self, how: Ending) -> None:
        """End the connection; whoever writes next gets nothing through."""
        if how == "end":
            self.end()
        elif how == "rst":
            await self._handed_over()
            reset(self._writer)

    # --- the slower way

    def _write_event(self, chunk: bytes) -> None:
        payload = payload_of(chunk)
        if self._cut is None:
            self._emit(payload)
        elif self._cut.into_event is not None:
            self._write_part(payload, _inside(payload, self._cut.into_event), self._cut.how)
        else:
            self._write_up_to_the_cut(payload)

    def _write_up_to_the_cut(self, payload: bytes) -> None:
        assert self._cut is not None  # noqa: S101 - our callers looked
        if len(payload) < self._left:
            self._left -= len(payload)
            self._emit(payload)
        else:
            self._write_part(payload, self._left, self._cut.how)

    def _write_part(self, payload: bytes, size: int, how: Ending) -> None:
        """The first bytes, in a chunk that promises all of them unless its end is to look proper."""
        is_torn = self._is_plain and how != "end"
        if is_torn:
            self._writer.write(http_chunk(payload)[: len(b"%x\r\n" % len(payload)) + size])
        else:
            self._emit(payload[:size])
        raise Severed(how)

    def _emit(self, payload: bytes) -> None:
        packer = self._packer
        packed = payload if packer is None else packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
        self._frame_and_write(packed)

    def _frame_and_write(self, content: bytes) -> None:
        if not content:
            return
        if self._declared is None:
            self._writer.write(http_chunk(content) if self._frame.framing == "chunked" else content)
            return
        self._writer.write(content[: self._declared])
        self._declared -= min(len(content), self._declared)
        if not self._declared:
            raise Severed("fin")

    async def _handed_over(self) -> None:
        await self._writer.drain()
        deadline = monotonic() + _HANDED_OVER
        while _unsent(self._writer) and monotonic() < deadline:  # noqa: ASYNC110 - the kernel tells nobody when
            await asyncio.sleep(_LOOK)


def _inside(payload: bytes, offset: int) -> int:
    """Where a cut falls that is meant for the first event of these."""
    event = payload.find(b"\n\n") + 2 if b"\n\n" in payload else len(payload)
    return min(max(0, offset if offset >= 0 else event + offset), event)


def _unsent(writer: asyncio.StreamWriter) -> int:
    """Bytes that the peer has not acknowledged."""
    if writer.transport.is_closing():
        return 0
    waiting = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
    kernel: int = struct.unpack("i", waiting)[0]
    return kernel + writer.transport.get_write_buffer_size()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with an RST."""
    known: socket.socket = writer.get_extra_info("socket")
    if not writer.transport.is_closing():
        known.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
