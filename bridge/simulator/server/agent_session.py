"""A session of the published contract: its events with their ids, the newest kept for replay."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from bridge.simulator.encoding import http_chunks
from bridge.simulator.faults.kinds import Drop, Ids
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import ScriptedEvent
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.sessions import Reader, Session, SessionInfo, UnsentEvent, missing, rendered

# Events written to a connection before other tasks run; at 300 bytes each about the transport's 64 KiB limit.
_EVENTS_PER_TURN = 256
# Digits of the largest id this server can reach; int() refuses thousands of digits.
_LONGEST_ID = 18
INITIAL_ID = "0"
"""The id before the first event."""


class PublishedEvent(NamedTuple):
    """An event as the bytes that are sent. ``block`` is empty when no reader gets it."""

    id: str | None
    rank: int
    """Rises with the sequence for every kind of id: twice the newest numeric id, plus one without an id."""
    block: bytes


class IdSequence:
    """The ids of one session: numbers from 1, unless a fault requests other ids."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._in_fault = 0
        self.last = 0

    def next(self) -> tuple[str, int]:
        """Return the next number as an id, and its rank."""
        self.last += 1
        return str(self.last), 2 * self.last

    def next_id(self, fault: Ids | None) -> tuple[str | None, int]:
        """Return the id of the next event, and its rank."""
        if fault is None:
            self._in_fault = 0
            return self.next()
        place, self._in_fault = self._in_fault % fault.size, self._in_fault + 1
        if fault.scheme == "none" or (fault.scheme == "some" and place):
            return None, 2 * self.last + 1
        if fault.scheme == "group" and place:
            return str(self.last), 2 * self.last
        event_id, rank = self.next()
        return str(uuid5(NAMESPACE_URL, f"{self._session}/{event_id}")) if fault.scheme == "uuid" else event_id, rank


class AgentSession(Session):
    """A session in which scripted agents publish events.

    Publishing waits while a reader is a whole replay buffer behind: no event that a reader has yet to get is forgotten.
    """

    def __init__(
        self,
        info: SessionInfo,
        script: Iterator[ScriptedEvent],
        options: ServerOptions,
        journal: Journal,
        faults: FaultRegistry,
    ) -> None:
        super().__init__(info)
        self._kept: deque[PublishedEvent] = deque(maxlen=options.replay)
        self._capacity = options.replay
        self.ids = IdSequence(info.id)
        self._script = script
        self._per_write = options.per_write
        self._journal = journal
        self._faults = faults
        self._publishing = asyncio.Lock()
        self._reader_moved = asyncio.Event()
        self._sent = bytearray()
        """A byte for each event: 1 once a connection sent it."""
        self._dropped: set[int] = set()

    def next_events(self, count: int) -> list[ScriptedEvent]:
        return list(islice(self._script, count))

    async def publish(self, events: Sequence[UnsentEvent]) -> None:
        """Give the events ids, write them to the journal, keep them for replay and wake the readers."""
        async with self._publishing:
            waiting = deque(events)
            while waiting:
                self._reader_moved.clear()
                count = min(self._free_space(), len(waiting))
                self._append([waiting.popleft() for _ in range(count)])
                if not count:
                    await self._reader_moved.wait()

    def restart(self, *, fresh_ids: bool, forget: bool) -> None:
        """Behave as after a restart of the process: ids continue, or restart at 1 with the oldest kept event."""
        if forget:
            self.forget(0)
        if fresh_ids:
            self.ids.last = 0
            for at, event in enumerate(self._kept):
                self._kept[at] = _renumbered(event, *self.ids.next())

    def forget(self, keep: int) -> None:
        while len(self._kept) > keep:
            self._kept.popleft()

    def lost(self) -> list[tuple[int, int]]:
        available = self._sent[: self.floor] + b"\1" * len(self._kept)
        for sequence in self._dropped:
            available[sequence - 1] = 0
        return missing(available)

    @property
    def floor(self) -> int:
        return self.head - len(self._kept)

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        """Return HTTP chunks with the next kept events, at most 256, and the sequence of the last one."""
        floor = self.floor
        first = max(sequence, floor)
        last = min(self.head, first + _EVENTS_PER_TURN)
        blocks = [self._kept[at].block for at in range(first - floor, last - floor)]
        return http_chunks([block for block in blocks if block], self._per_write), last

    def id_at(self, sequence: int) -> str | None:
        """Return the id of a kept event, None if it has none; "0" for sequence 0."""
        if not sequence:
            return INITIAL_ID
        return self._kept[sequence - self.floor - 1].id if sequence > self.floor else str(self.ids.last)

    def resume_position(self, last_event_id: str) -> int | None:
        """Return the sequence after which a client with this id continues. None: the id is unknown."""
        if (number := number_of(last_event_id)) is not None:
            # Ids rise with the sequence, but jump where an event about a connection used one.
            return self.floor + bisect_right(self._kept, 2 * number, key=lambda event: event.rank)
        line = b"id: %b\n" % last_event_id.encode(errors="replace")
        newest_first = range(len(self._kept) - 1, -1, -1)
        return next((self.floor + at + 1 for at in newest_first if line in self._kept[at].block), None)

    def mark_sent(self, first: int, last: int) -> None:
        """Record that a connection sent these events: publishing may continue."""
        self._sent[first - 1 : last] = b"\1" * (last - first + 1)
        self._reader_moved.set()

    def detach(self, reader: Reader) -> None:
        super().detach(reader)
        self._reader_moved.set()

    def _free_space(self) -> int:
        """Return how many events can be published before one is forgotten that a reader has yet to get."""
        slowest = min((reader.position for reader in self.readers), default=self.head)
        return self._capacity - (self.head - max(slowest, self.floor))

    def _append(self, events: Sequence[UnsentEvent]) -> None:
        if not events:
            return
        issued = [self._issue(sequence, event) for sequence, event in enumerate(events, self.head + 1)]
        self._journal.append([entry for entry, _ in issued])
        for entry, published in issued:
            self._kept.append(published)
            self._sent.append(0)
            self.head += 1
            self.info.published[entry.event] += 1
        self.wake_readers()

    def _issue(self, sequence: int, event: UnsentEvent) -> tuple[JournalEntry, PublishedEvent]:
        ids, drop = self._faults.hit(Ids, self.info.id), self._faults.hit(Drop, self.info.id)
        if isinstance(event, ScriptedEvent):
            event_id, rank = self.ids.next_id(None if ids is None else ids.fault)
        else:
            event_id, rank = self.ids.next()
        seen, block = rendered(event, event_id)
        if drop is not None:
            self._dropped.add(sequence)
            block = b""
        entry = JournalEntry(self.info.id, sequence, seen.id or "", seen.event, seen.data)
        return entry, PublishedEvent(seen.id, rank, block)


def _renumbered(event: PublishedEvent, event_id: str, rank: int) -> PublishedEvent:
    old = b"id: %b\n" % (event.id or "").encode()
    if event.id is None or not event.block.startswith(old):
        return event._replace(rank=rank)
    return PublishedEvent(event_id, rank, b"id: %b\n" % event_id.encode() + event.block.removeprefix(old))


def number_of(last_event_id: str) -> int | None:
    """Return the id as a number, 0 for one below it: no id is lower. None for any other text."""
    digits = last_event_id.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_ID
    return max(int(last_event_id), 0) if is_number else None
