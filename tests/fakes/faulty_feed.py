"""An event stream with a journal of its events that can fail in any way, connection by connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from bridge.clock import monotonic
from bridge.simulator.server.journal import JournalEntry
from tests.fakes.raw_server import CHUNKED, Peer, chunk

_PIECE = 64 * 1024


class Sent(NamedTuple):
    """One block as bytes, and the event that it is according to the standard."""

    wire: bytes
    id: str | None
    """The event's id according to the standard; None: it has none, and the last event id does not change."""
    name: str | None
    """The event's name; None: the block dispatches no event that is published."""
    data: bytes
    """The data that must arrive, byte for byte."""
    reason: str | None = None
    """The reason of the dead letter that it becomes; None: it becomes an event."""
    full: bytes | None = None
    """All of the data, if the dead letter contains only its beginning."""
    before: bytes = b""
    """Sent before ``wire``: the common part of large blocks is in memory once."""


Fault = Callable[[Peer, bytes], None]
"""Serves one connection, given the blocks that a working server would send on it now."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the stream. ``at`` is ``clock.monotonic``; ``after`` None: without a Last-Event-ID."""

    at: float
    after: str | None
    headers: Mapping[str, bytes]


class FaultyFeed:
    """A stream that replays after an id and continues with new events, except on connections that get a fault.

    Ten times a second it sends a comment when there is nothing else. Any thread.
    """

    def __init__(self, sent: Iterable[Sent] = (), faults: Iterable[Fault] = ()) -> None:
        self.requests: list[Request] = []
        self._sent: list[Sent] = []
        self._places = {"0": 0, "": 0}
        self._changed = threading.Condition()
        self._cuts = 0
        self._faults = iter(faults)
        self.add(sent)

    def add(self, sent: Iterable[Sent]) -> None:
        """Add events."""
        with self._changed:
            self._add(sent)
            self._changed.notify_all()

    def fail(self, faults: Iterable[Fault], sent: Iterable[Sent] = ()) -> None:
        """End the present connections, apply a fault to each of the next ones, and add events that only they send."""
        with self._changed:
            self._faults = iter(faults)
            self._cuts += 1
            self._add(sent)
            self._changed.notify_all()

    def _add(self, sent: Iterable[Sent]) -> None:
        for one in sent:
            self._sent.append(one)
            if one.id is not None:
                self._places[one.id] = len(self._sent)

    @property
    def last_id(self) -> str:
        """The last event id of a reader at the end. The last block must have an id."""
        return str(self._sent[-1].id)

    def expected(self) -> list[Sent]:
        """Return the blocks that must be published, in order."""
        return [one for one in self._sent if one.name is not None]

    def journal(self, session: str) -> list[JournalEntry]:
        """Return the events that must be published, as the simulated server's journal has them."""
        return [
            JournalEntry(session, number, str(one.id), str(one.name), one.data if one.full is None else one.full)
            for number, one in enumerate(self.expected(), 1)
        ]

    def __call__(self, peer: Peer) -> None:
        """Serve one connection to its end."""
        header = peer.headers.get("last-event-id")
        after = None if header is None else header.decode()
        with self._changed:
            self.requests.append(Request(monotonic(), after, peer.headers))
            fault = next(self._faults, None)
            cuts = self._cuts
        at = len(self._sent) if after is None else self._places.get(after, 0)
        if fault is None:
            self._serve(peer, at, cuts)
        else:
            fault(peer, b"".join(one.before + one.wire for one in self._sent[at:]))

    def _serve(self, peer: Peer, at: int, cuts: int) -> None:
        peer.send(CHUNKED)
        while not peer.server.ending.is_set():
            with self._changed:
                if len(self._sent) <= at and self._cuts == cuts:
                    self._changed.wait(0.1)
                if self._cuts != cuts:
                    return
                new = self._sent[at:]
            if not new:
                peer.send(chunk(b":\n\n"))
            for one in new:
                for piece in chain(pieces(one.before), pieces(one.wire)):
                    peer.send(chunk(piece))
            at += len(new)


def up_to(last: Sent) -> Fault:
    """Send everything up to this block, then end the connection."""

    def fault(peer: Peer, blocks: bytes) -> None:
        end = blocks.find(last.wire)
        peer.send(CHUNKED + b"".join(map(chunk, pieces(blocks if end < 0 else blocks[: end + len(last.wire)]))))

    return fault


def pieces(wire: bytes) -> Iterator[bytes]:
    """Split a large block into parts, so that no buffer holds it whole."""
    for start in range(0, len(wire), _PIECE):
        yield wire[start : start + _PIECE]


def numbered(first: int, count: int, *, layout: str = "id: {id}\nevent: content\ndata: {data}\n\n") -> list[Sent]:
    """Return ``content`` events with ids from ``first`` and texts of many lengths, so that cuts are at all places."""
    return [_numbered(number, layout) for number in range(first, first + count)]


def _numbered(number: int, layout: str) -> Sent:
    data = json.dumps({"type": "content", "content": f"{number} ü\U0001f600 " * (1 + number % 7)}, ensure_ascii=False)
    wire = layout.format(id=number, data=data).encode()
    return Sent(wire, str(number), "content", data.encode())
