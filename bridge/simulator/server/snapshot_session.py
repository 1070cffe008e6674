"""A session of the server snapshot of August 2025, and what its agents say. Event loop thread only; the script is pure.

A reader takes part: the first of the open streams runs a message and gets its events, each other one is told that the
session is busy, and a reader that leaves while a message runs cancels it.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from bridge.simulator.scripts import agent_texts as texts
from bridge.simulator.scripts.agent_script import ScriptedEvent, encode
from bridge.simulator.scripts.spans import Spans
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.reference_reader import Dispatched, dispatched
from bridge.simulator.server.sessions import Facts, RawEvent, Reader, Said, Session, Talk

_QUEUE = 100
"""Events that wait for a slow reader; further ones are gone without a word."""
_LAST_OF_A_RUN = {"complete", "error", "rate_limit_error"}
_BUSY = encode("error", {"error": "session is currently processing another request"})


def snapshot_block(event: ScriptedEvent) -> bytes:
    """``event`` and ``data`` on one line each, LF, nothing else."""
    return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data.replace(b"\n", b"\ndata: "))


class SnapshotScript:
    """What agents say there: other events than the contract's, raw U+0085 among their text. Pure."""

    def __init__(self, seed: int, session_id: str) -> None:
        self._rng = Random(f"{seed}/{session_id}/snapshot")  # noqa: S311 - a script must repeat, it keeps no secret

    def events(self) -> Iterator[ScriptedEvent]:
        """One run after the other, for ever."""
        while True:
            for _ in range(self._rng.randint(1, 3)):
                yield from self._tool()
            if self._rng.random() < 0.1:  # noqa: PLR2004 - now and then the context is full
                yield encode("summarize", {"type": "summarize", "progress": "the context is summarized\u0085"})
            yield self._end()

    def _tool(self) -> Iterator[ScriptedEvent]:
        tool, call = self._rng.choice(texts.TOOLS), f"toolu_{self._rng.getrandbits(64):016x}"
        told: dict[str, Any] = {"type": "tool", "name": tool.name, "input": json.dumps(tool.parameters), "id": call}
        yield encode("tool", told | {"status": "pending"})
        if tool.needs_permission:
            yield encode("permission", {"type": "permission", "id": call, "toolName": tool.name, "action": "execute"})
        for status in ("running", "running", "completed"):
            yield encode("tool", told | {"status": status})

    def _end(self) -> ScriptedEvent:
        if self._rng.random() < 0.05:  # noqa: PLR2004 - the provider is busy now and then
            return encode("rate_limit_error", {"type": "rate_limit_error", "error": "too many requests"})
        content = self._rng.choice(texts.ANSWERS) + "\u0085"
        return encode("complete", {"type": "complete", "content": content, "done": True})


def _rendered(event: Said) -> tuple[Dispatched, bytes]:
    if isinstance(event, RawEvent):
        block = event.render("0").replace(b"id: 0\n", b"")
        return dispatched(block)[0], block
    return Dispatched(None, event.name, event.data), snapshot_block(event)


class SnapshotReader(Reader):
    """One open stream with its queue."""

    __slots__ = ("queue", "under_way")

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        super().__init__(0, transport)
        self.queue: deque[tuple[int, bytes]] = deque()
        """(sequence, block); 0 for what is no event of the session."""
        self.under_way: list[tuple[int, bytes]] = []
        """Taken from the queue and not yet handed over whole."""

    def take(self, most: int) -> bytes:
        """The next blocks, which are then under way."""
        self.under_way = [self.queue.popleft() for _ in range(min(most, len(self.queue)))]
        return b"".join(block for _, block in self.under_way)

    def offer(self, sequence: int, block: bytes) -> bool:
        """Hand an event over; False if there is no room for it."""
        if len(self.queue) >= _QUEUE:
            return False
        self.queue.append((sequence, block))
        self.notifier.ring()
        return True


class SnapshotSession(Session, Talk):
    """See the module."""

    def __init__(self, facts: Facts, journal: Journal, script: Iterator[ScriptedEvent]) -> None:
        Session.__init__(self, facts)
        Talk.__init__(self, script)
        self._journal = journal
        self._head = 0
        self._handed = Spans()
        self._runner: SnapshotReader | None = None
        self._is_abandoned = False
        self.is_running = False
        """True from a run's first event to its last: no heartbeats meanwhile."""
        self.cancelled_runs = 0
        self.refused_runs = 0
        self.dropped = 0

    @property
    def head(self) -> int:
        """See ``Session``."""
        return self._head

    def detach(self, reader: Reader) -> None:
        """A stream has ended: what runs is cancelled, whoever runs it."""
        super().detach(reader)
        if self.is_running:
            self.cancelled_runs += 1
            self.is_running, self._is_abandoned = False, True

    def scripted(self, count: int) -> list[ScriptedEvent]:
        """The agent's next events; the rest of a cancelled run is never said."""
        if self._is_abandoned:
            self._is_abandoned = False
            next(event for event in self._script if event.name in _LAST_OF_A_RUN)
        return super().scripted(count)

    async def publish(self, events: Sequence[Said]) -> None:
        """See ``Talk``: to whom runs it, to nobody if nobody is there; waits for nobody."""
        for event in events:
            self._publish(event)

    def handed(self, reader: SnapshotReader) -> None:
        """What was under way went out whole."""
        for sequence, _ in reader.under_way:
            if sequence:
                self._handed.add(sequence, sequence)
        reader.under_way = []

    def lost(self) -> list[tuple[int, int]]:
        """See ``Talk``."""
        there = self._handed.copy()
        for reader in self._snapshot_readers():
            for sequence, _ in (*reader.under_way, *reader.queue):
                there.add(max(1, sequence), sequence)
        return there.gaps(self._head)

    def close(self) -> None:
        """Nothing more comes: readers get what is left, then the end of the stream."""
        self.closed = True
        self.ring()

    def facts_for_tests(self) -> dict[str, int]:
        """See ``Session``."""
        own = {"cancelled_runs": self.cancelled_runs, "refused_runs": self.refused_runs, "dropped": self.dropped}
        return super().facts_for_tests() | own

    def _publish(self, event: Said) -> None:
        seen, block = _rendered(event)
        if not self.is_running or self._runner is None:
            self._begin_run()
        self._head += 1
        self._journal.append([JournalEntry(self.facts.id, self._head, seen.id or "", seen.event, seen.data)])
        self.facts.count(seen.event)
        if self._runner is not None and not self._runner.offer(self._head, block):
            self.dropped += 1
        self.is_running = seen.event not in _LAST_OF_A_RUN

    def _begin_run(self) -> None:
        readers = self._snapshot_readers()
        self._runner = readers[0] if readers else None
        for each in readers[1:]:
            self.refused_runs += 1
            each.offer(0, snapshot_block(_BUSY))

    def _snapshot_readers(self) -> list[SnapshotReader]:
        return [each for each in self.readers if isinstance(each, SnapshotReader)]
