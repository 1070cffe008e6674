"""The sessions of the simulated server: what each has published, who reads it, and the agents that talk in them.

Everything here belongs to the server's event loop thread.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bridge.demo.agent_script import ScriptedEvent
from bridge.demo.journal import Journal, JournalEntry
from bridge.demo.load_script import LoadScript
from bridge.demo.replay_buffer import ReplayBuffer
from bridge.demo.wire import event_block, http_chunks

# Events handed to a connection before others get their turn; at 300 bytes each about the transport's 64 KiB limit.
_TURN = 256


class Bell:
    """One waiter, woken by anybody; a ring before the wait is not forgotten."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the waiter, or let the next wait return at once."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Return when the bell has rung since the last wait returned."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._rung = False


@dataclass(slots=True)
class Facts:
    """What ``GET /api/sessions`` tells of a session."""

    id: str
    title: str
    created: float
    """Unix seconds."""
    parent: str | None = None
    """Set for a subagent's session: the session that started it."""
    user_messages: int = 0
    assistant_messages: int = 0
    tool_calls: int = 0


class Reader:
    """One open stream: how far it was handed events, and the bell that tells of more."""

    __slots__ = ("_transport", "bell", "ended", "heartbeat_due", "position")

    def __init__(self, position: int, transport: asyncio.WriteTransport) -> None:
        self.position = position
        self._transport = transport
        self.bell = Bell()
        self.heartbeat_due = False
        self.ended = False

    def end(self) -> None:
        """The connection is to be closed now, wherever its reader stands."""
        self.ended = True
        self.bell.ring()
        if self._transport.get_write_buffer_size():
            self._transport.abort()  # its stream waits for room that a reader which stands still never makes

    def want_heartbeat(self) -> None:
        """A heartbeat is to be sent."""
        self.heartbeat_due = True
        self.bell.ring()


class Track(Protocol):
    """A session's events by sequence, as the connections read them."""

    @property
    def head(self) -> int:
        """The sequence of the newest event; 0 while there is none."""

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        """HTTP chunks with the next events that are still there, and the sequence of the last of them."""

    def id_at(self, sequence: int) -> int:
        """The id of an event that ``chunks_after`` just gave; 0 for 0."""

    def resume(self, last_event_id: int) -> int:
        """The sequence after which a reader that knows this id goes on."""


class Published(NamedTuple):
    """An event with its id, as the bytes that go out."""

    id: int
    block: bytes


class LiveTrack:
    """Events that agents publish now, the newest kept for replay."""

    def __init__(self, capacity: int, per_write: int) -> None:
        self.buffer: ReplayBuffer[Published] = ReplayBuffer(capacity)
        self._per_write = per_write
        self._last_id = 0

    @property
    def head(self) -> int:
        """See ``Track``."""
        return self.buffer.head

    def next_id(self) -> int:
        """The next id of this session, which is then used up."""
        self._last_id += 1
        return self._last_id

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        """See ``Track``; at most 256 events."""
        published, last = self.buffer.after(sequence, _TURN)
        return http_chunks([event.block for event in published], self._per_write), last

    def id_at(self, sequence: int) -> int:
        """See ``Track``."""
        return self.buffer[sequence].id if sequence else 0

    def resume(self, last_event_id: int) -> int:
        """See ``Track``."""
        # Ids rise with the sequence, but jump where an event about a connection took one.
        kept = range(self.buffer.oldest, self.buffer.head + 1)
        return self.buffer.oldest - 1 + bisect_right(kept, last_event_id, key=lambda at: self.buffer[at].id)


class LoadTrack:
    """The events of a load test: there is nothing to keep, each is known from its number."""

    def __init__(self, script: LoadScript, clock: Callable[[], float], rate: float) -> None:
        self.script = script
        self._clock = clock
        self._rate = rate
        self._started = clock()

    @property
    def head(self) -> int:
        """See ``Track``."""
        if self._rate == math.inf:
            return self.script.events
        return min(self.script.events, int((self._clock() - self._started) * self._rate))

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        """See ``Track``."""
        return self.script.chunks_after(sequence, self.head)

    def id_at(self, sequence: int) -> int:
        """See ``Track``."""
        return sequence

    def resume(self, last_event_id: int) -> int:
        """See ``Track``."""
        return min(last_event_id, self.head)


class Session:
    """One session: its facts, its track and its readers."""

    def __init__(self, facts: Facts, track: Track) -> None:
        self.facts = facts
        self.track = track
        self.readers: set[Reader] = set()
        self.closed = False
        """True once nothing more comes: readers get what is left, then the end of the stream."""

    def attach(self, reader: Reader) -> None:
        """A stream was opened."""
        self.readers.add(reader)

    def detach(self, reader: Reader) -> None:
        """A stream has ended."""
        self.readers.discard(reader)

    def advance(self, reader: Reader, position: int) -> None:
        """The reader's connection took the events up to ``position``."""
        reader.position = position

    def ring(self) -> None:
        """Tell every reader to look again."""
        for reader in self.readers:
            reader.bell.ring()

    def close(self) -> None:
        """Nothing more comes: the end of all streams."""
        for reader in self.readers:
            reader.end()


class LiveSession(Session):
    """A session in which agents talk.

    Publishing waits while a reader is a whole replay buffer behind: nothing that it has yet to read is ever forgotten.
    """

    def __init__(self, facts: Facts, track: LiveTrack, journal: Journal, script: Iterator[ScriptedEvent]) -> None:
        super().__init__(facts, track)
        self.live = track
        self.script = script
        self._journal = journal
        self._publishing = asyncio.Lock()
        self._moved = Bell()

    def detach(self, reader: Reader) -> None:
        """A stream has ended: publishing may go on."""
        super().detach(reader)
        self._moved.ring()

    def advance(self, reader: Reader, position: int) -> None:
        """The reader's connection took the events up to ``position``: publishing may go on."""
        super().advance(reader, position)
        self._moved.ring()

    async def publish(self, events: Sequence[ScriptedEvent]) -> None:
        """Give the events their ids, write them to the journal, keep them for replay and wake the readers."""
        async with self._publishing:
            waiting = deque(events)
            while waiting:
                room = min(self._room(), len(waiting))
                self._append([waiting.popleft() for _ in range(room)])
                if not room:
                    await self._moved.wait()

    def close(self) -> None:
        """Nothing more comes: readers get what is left, then the end of the stream."""
        self.closed = True
        self.ring()

    def _room(self) -> int:
        """How many events may be published before one is forgotten that a reader has yet to read."""
        capacity = self.live.buffer.capacity
        slowest = min((reader.position for reader in self.readers), default=self.live.head)
        return capacity - (self.live.head - max(slowest, self.live.buffer.oldest - 1))

    def _append(self, events: Sequence[ScriptedEvent]) -> None:
        if not events:
            return
        ids = [self.live.next_id() for _ in events]
        first = self.live.head + 1
        self._journal.append(
            [
                JournalEntry(self.facts.id, sequence, str(number), event.name, event.data)
                for sequence, number, event in zip(range(first, first + len(ids)), ids, events, strict=True)
            ]
        )
        for number, event in zip(ids, events, strict=True):
            self.live.buffer.append(Published(number, event_block(event.name, event.data, str(number))))
            _count(self.facts, event)
        self.ring()


def _count(facts: Facts, event: ScriptedEvent) -> None:
    if event.name == "user_message_created":
        facts.user_messages += 1
    elif event.name == "complete":
        facts.assistant_messages += 1
    elif event.name == "tool_execution_complete":
        facts.tool_calls += 1
