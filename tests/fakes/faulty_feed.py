"""An event stream that keeps a journal of what it means, and fails in any way, connection by connection."""

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
    """One block on the wire, and what it means by the rules of event streams."""

    wire: bytes
    id: str | None
    """The id it has as the standard reads it; None: it has none, and the position stays where it was."""
    name: str | None
    """The event's name; None: the block dispatches nothing that is published."""
    data: bytes
    """What has to arrive, byte for byte."""
    reason: str | None = None
    """Of the dead letter that it becomes; None: it becomes an event."""
    full: bytes | None = None
    """All of the data, where a dead letter shows only the beginning."""
    before: bytes = b""
    """Goes out in front of ``wire``: what large blocks have in common is in memory once."""


Fault = Callable[[Peer, bytes], None]
"""What is done to one connection, given the blocks that a sound server would send on it now."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the stream. ``at`` is ``clock.monotonic``; ``after`` None: without a Last-Event-ID."""

    at: float
    after: str | None
    headers: Mapping[str, bytes]


class FaultyFeed:
    """A stream that replays after an id and goes on live, but for the connections that a fault is in store for.

    Ten times a second it sends a comment when there is nothing else.

    Any thread.
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
        """More events."""
        with self._changed:
            self._add(sent)
            self._changed.notify_all()

    def fail(self, faults: Iterable[Fault], sent: Iterable[Sent] = ()) -> None:
        """End the present connections, do this to the next ones, and have more events that only those will bring."""
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
        """The id a reader has at the end; the last block must have one."""
        return str(self._sent[-1].id)

    def meant(self) -> list[Sent]:
        """What has to be published, in order."""
        return [one for one in self._sent if one.name is not None]

    def journal(self, session: str) -> list[JournalEntry]:
        """What has to be published, as the simulated server writes it down."""
        return [
            JournalEntry(session, number, str(one.id), str(one.name), one.data if one.full is None else one.full)
            for number, one in enumerate(self.meant(), 1)
        ]

    def __call__(self, peer: Peer) -> None:
        """Serve one connection to its end."""
        header = peer.headers.get("last-event-id")
        after = None if header is None else header.decode()
        with self._changed:
            self.requests.append(Request(monotonic(), after, peer.headers))
            fault = next(self._faults, None)
            cuts = self._cuts
        at = len(self._sent) if after is None else self._places[after]
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
    """Everything up to this block, and the end of the connection."""

    def fault(peer: Peer, blocks: bytes) -> None:
        end = blocks.find(last.wire)
        peer.send(CHUNKED + b"".join(map(chunk, pieces(blocks if end < 0 else blocks[: end + len(last.wire)]))))

    return fault


def pieces(wire: bytes) -> Iterator[bytes]:
    """A large block in parts that no buffer has to hold whole."""
    for start in range(0, len(wire), _PIECE):
        yield wire[start : start + _PIECE]


def numbered(first: int, count: int, *, layout: str = "id: {id}\nevent: content\ndata: {data}\n\n") -> list[Sent]:
    """``content`` events whose ids are numbers from ``first``; texts of many lengths, so that cuts fall everywhere."""
    return [_numbered(number, layout) for number in range(first, first + count)]


def _numbered(number: int, layout: str) -> Sent:
    data = json.dumps({"type": "content", "content": f"{number} ü\U0001f600 " * (1 + number % 7)}, ensure_ascii=False)
    wire = layout.format(id=number, data=data).encode()
    return Sent(wire, str(number), "content", data.encode())
