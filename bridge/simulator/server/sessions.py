"""The sessions of the simulated server: what each has published, who reads it, and the agents that talk in them.

Everything here belongs to the server's event loop thread.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from bridge.simulator.faults.kinds import Ending, Ids, Place
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import ScriptedEvent
from bridge.simulator.scripts.scripted_runs import LiveTrack, LoadTrack, Published, Track
from bridge.simulator.scripts.spans import Spans
from bridge.simulator.server.encoding import event_block
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.notifier import Notifier
from bridge.simulator.server.reference_reader import dispatched


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

    def count(self, event: str) -> None:
        """An event of this name was published."""
        if event == "user_message_created":
            self.user_messages += 1
        elif event == "complete":
            self.assistant_messages += 1
        elif event == "tool_execution_complete":
            self.tool_calls += 1


class RawEvent(NamedTuple):
    """An event as bytes of its own making, once its id is known."""

    render: Callable[[str], bytes]


Said = ScriptedEvent | RawEvent


class Reader:
    """One open stream: how far it was handed events, and the bell that tells of more."""

    __slots__ = ("_transport", "ended", "ending", "heartbeat_due", "notifier", "position")

    def __init__(self, position: int, transport: asyncio.WriteTransport) -> None:
        self.position = position
        self._transport = transport
        self.notifier = Notifier()
        self.heartbeat_due = False
        self.ended = False
        self.ending: Ending = "fin"

    def end(self, how: Ending = "fin") -> None:
        """The connection is to be closed now, wherever its reader stands."""
        self.ended = True
        self.ending = how
        self.notifier.ring()
        if self._transport.get_write_buffer_size():
            self._transport.abort()  # its stream waits for room that a reader which stands still never makes

    def want_heartbeat(self) -> None:
        """A heartbeat is to be sent."""
        self.heartbeat_due = True
        self.notifier.ring()


class Session(ABC):
    """One session: its facts and its readers."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.readers: dict[Reader, None] = {}
        """In the order they came."""
        self.opened = 0
        """Streams there ever were."""
        self.most_readers = 0
        """At the same time."""
        self.closed = False
        """True once nothing more comes: readers get what is left, then the end of the stream."""

    @property
    @abstractmethod
    def head(self) -> int:
        """How many events were published."""

    def attach(self, reader: Reader) -> None:
        """A stream was opened."""
        self.readers[reader] = None
        self.opened += 1
        self.most_readers = max(self.most_readers, len(self.readers))

    def detach(self, reader: Reader) -> None:
        """A stream has ended."""
        self.readers.pop(reader, None)

    def ring(self) -> None:
        """Tell every reader to look again."""
        for reader in self.readers:
            reader.notifier.ring()

    def close(self) -> None:
        """Nothing more comes: the end of all streams."""
        for reader in self.readers:
            reader.end()

    def facts_for_tests(self) -> dict[str, int]:
        """What ``GET /control/sessions`` tells of it beside its id."""
        counts = {"published": self.head, "readers": len(self.readers)}
        return counts | {"opened": self.opened, "most_readers": self.most_readers}


class TrackSession(Session):
    """A session whose connections read one track, each at its own pace."""

    def __init__(self, facts: Facts, track: Track) -> None:
        super().__init__(facts)
        self.track = track

    @property
    def head(self) -> int:
        """See ``Session``."""
        return self.track.head

    def advance(self, reader: Reader, first: int, last: int) -> None:  # noqa: ARG002 - some sessions want it
        """The reader's connection took the events from ``first`` to ``last``."""
        reader.position = last


class LoadSession(TrackSession):
    """A session of a load test: its events are fixed, and only their beginning is anybody's choice."""

    def __init__(self, facts: Facts, track: LoadTrack) -> None:
        super().__init__(facts, track)
        self._load = track

    def begin(self) -> None:
        """Let the readers have the events. Can be called twice."""
        self._load.begin()
        self.ring()


class Talk(ABC):
    """What agents say in a session: in the session's own words, or as somebody asks."""

    facts: Facts

    def __init__(self, script: Iterator[ScriptedEvent]) -> None:
        self._script = script

    def scripted(self, count: int) -> list[ScriptedEvent]:
        """The agent's next events."""
        return list(islice(self._script, count))

    @abstractmethod
    async def publish(self, events: Sequence[Said]) -> None:
        """Write the events to the journal and let the readers have them."""

    @abstractmethod
    def lost(self) -> list[tuple[int, int]]:
        """The sequences that no reader was handed whole and none can get any more, as spans."""


class LiveSession(TrackSession, Talk):
    """A session in which agents talk.

    Publishing waits while a reader is a whole replay buffer behind: nothing that it has yet to read is ever forgotten.
    """

    def __init__(
        self, facts: Facts, track: LiveTrack, journal: Journal, book: FaultRegistry, script: Iterator[ScriptedEvent]
    ) -> None:
        TrackSession.__init__(self, facts, track)
        Talk.__init__(self, script)
        self.live = track
        self._journal = journal
        self._book = book
        self._publishing = asyncio.Lock()
        self._moved = Notifier()
        self._handed = Spans()
        self._dropped = Spans()

    def detach(self, reader: Reader) -> None:
        """A stream has ended: publishing may go on."""
        super().detach(reader)
        self._moved.ring()

    def advance(self, reader: Reader, first: int, last: int) -> None:
        """The reader's connection took these events: publishing may go on."""
        self._handed.add(first, last)
        super().advance(reader, first, last)
        self._moved.ring()

    async def publish(self, events: Sequence[Said]) -> None:
        """Give the events their ids, write them to the journal, keep them for replay and wake the readers."""
        async with self._publishing:
            waiting = deque(events)
            while waiting:
                budget = min(self._budget(), len(waiting))
                self._append([waiting.popleft() for _ in range(budget)])
                if not budget:
                    await self._moved.wait()

    def close(self) -> None:
        """Nothing more comes: readers get what is left, then the end of the stream."""
        self.closed = True
        self.ring()

    def lost(self) -> list[tuple[int, int]]:
        """See ``Talk``."""
        there = self._handed.copy()
        there.add(self.live.buffer.oldest, self.head)
        gone = Spans()
        for first, last in (*there.gaps(self.head), *self._dropped.rows()):
            gone.add(first, last)
        return gone.rows()

    def _budget(self) -> int:
        """How many events may be published before one is forgotten that a reader has yet to read."""
        capacity = self.live.buffer.capacity
        slowest = min((reader.position for reader in self.readers), default=self.live.head)
        return capacity - (self.live.head - max(slowest, self.live.floor))

    def _append(self, events: Sequence[Said]) -> None:
        if not events:
            return
        issue = self._issue if self._book.is_quiet else self._issue_under_faults
        first = self.live.head + 1
        issued = [issue(sequence, event) for sequence, event in enumerate(events, first)]
        self._journal.append([entry for entry, _ in issued])
        for entry, published in issued:
            self.live.buffer.append(published)
            self.facts.count(entry.event)
        self.ring()

    def _issue(self, sequence: int, event: Said, ids: Ids | None = None) -> tuple[JournalEntry, Published]:
        if isinstance(event, RawEvent):
            return self._issue_raw(sequence, event)
        event_id, rank = self.live.numbering.under(ids)
        entry = JournalEntry(self.facts.id, sequence, event_id or "", event.name, event.data)
        return entry, Published(event_id, rank, event_block(event.name, event.data, event_id))

    def _issue_raw(self, sequence: int, event: RawEvent) -> tuple[JournalEntry, Published]:
        number = self.live.numbering.next()
        block = event.render(str(number))
        (seen,) = dispatched(block)
        entry = JournalEntry(self.facts.id, sequence, seen.id or "", seen.event, seen.data)
        return entry, Published(seen.id, 2 * number, block)

    def _issue_under_faults(self, sequence: int, event: Said) -> tuple[JournalEntry, Published]:
        met = self._book.take(Place.IDS, self.facts.id)
        ids = met.fault if met is not None else None
        entry, published = self._issue(sequence, event, ids if isinstance(ids, Ids) else None)
        if self._book.take(Place.DROP, self.facts.id) is not None:
            self._dropped.add(sequence, sequence)
            published = published._replace(block=b"")
        return entry, published
