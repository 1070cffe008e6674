"""A session of the server snapshot of August 2025, and its script.

Readers take part: the first open stream runs a message and gets its events, each other one gets the error that the
session is busy, and a reader that leaves while a message runs cancels it.
Thread rule: the server's event loop thread; the script is pure.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any

from bridge.simulator.encoding import Dispatched, dispatched, event_block
from bridge.simulator.scripts import agent_texts as texts
from bridge.simulator.scripts.agent_script import ScriptedEvent, encode
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.sessions import RawEvent, Reader, Session, SessionInfo, UnsentEvent, missing

_QUEUE = 100
"""Events queued for a slow reader. Further ones are dropped without a notice."""
_LAST_OF_A_RUN = {"complete", "error", "rate_limit_error"}
_BUSY = encode("error", {"error": "session is currently processing another request"})


def snapshot_script(seed: int, session_id: str) -> Iterator[ScriptedEvent]:
    """Yield one run after the other, without end: other events than the contract's, with raw U+0085 in their text."""
    rng = Random(f"{seed}/{session_id}/snapshot")  # noqa: S311 - a repeatable script, not a secret
    while True:
        for _ in range(rng.randint(1, 3)):
            yield from _tool_call(rng)
        if rng.random() < 0.1:  # noqa: PLR2004 - the share of runs that fill the context
            yield encode("summarize", {"type": "summarize", "progress": "the context is summarized\u0085"})
        yield _end_of_run(rng)


def _tool_call(rng: Random) -> Iterator[ScriptedEvent]:
    tool, call = rng.choice(texts.TOOLS), f"toolu_{rng.getrandbits(64):016x}"
    fields: dict[str, Any] = {"type": "tool", "name": tool.name, "input": json.dumps(tool.parameters), "id": call}
    yield encode("tool", fields | {"status": "pending"})
    if tool.needs_permission:
        yield encode("permission", {"type": "permission", "id": call, "toolName": tool.name, "action": "execute"})
    for status in ("running", "running", "completed"):
        yield encode("tool", fields | {"status": status})


def _end_of_run(rng: Random) -> ScriptedEvent:
    if rng.random() < 0.05:  # noqa: PLR2004 - the share of runs that the provider refuses
        return encode("rate_limit_error", {"type": "rate_limit_error", "error": "too many requests"})
    content = rng.choice(texts.ANSWERS) + "\u0085"
    return encode("complete", {"type": "complete", "content": content, "done": True})


class SnapshotReader(Reader):
    """One open stream with its queue."""

    __slots__ = ("in_flight", "queue")

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        super().__init__(0, transport)
        self.queue: deque[tuple[int, bytes]] = deque()
        """(sequence, block); the sequence is 0 for what is not an event of the session."""
        self.in_flight: list[tuple[int, bytes]] = []
        """Taken from the queue and not yet sent whole."""

    def take(self, most: int) -> bytes:
        """Return the next blocks, which are then in flight."""
        self.in_flight = [self.queue.popleft() for _ in range(min(most, len(self.queue)))]
        return b"".join(block for _, block in self.in_flight)

    def offer(self, sequence: int, block: bytes) -> bool:
        """Queue an event. False: the queue is full."""
        if len(self.queue) >= _QUEUE:
            return False
        self.queue.append((sequence, block))
        self.wake()
        return True


class SnapshotSession(Session):
    """A session whose readers take part."""

    def __init__(self, info: SessionInfo, script: Iterator[ScriptedEvent], journal: Journal) -> None:
        super().__init__(info)
        self._script = script
        self._journal = journal
        self._sent = bytearray()
        """A byte for each event: 1 once a connection sent it."""
        self._runner: SnapshotReader | None = None
        self._is_cancelled = False
        self.is_running = False
        """True from a run's first event to its last: no heartbeats in between."""
        self.cancelled_runs = 0
        self.refused_runs = 0
        self.dropped = 0

    def detach(self, reader: Reader) -> None:
        """Remove a stream that has ended. This cancels a run, whichever reader runs it."""
        super().detach(reader)
        if self.is_running:
            self.cancelled_runs += 1
            self.is_running, self._is_cancelled = False, True

    def next_events(self, count: int) -> list[ScriptedEvent]:
        """Return the agent's next events. The rest of a cancelled run is left out."""
        if self._is_cancelled:
            self._is_cancelled = False
            next(event for event in self._script if event.name in _LAST_OF_A_RUN)
        return list(islice(self._script, count))

    async def publish(self, events: Sequence[UnsentEvent]) -> None:
        """Send the events to the reader that runs the message, if there is one, without waiting for it."""
        for event in events:
            self._publish(event)

    def mark_sent(self, reader: SnapshotReader) -> None:
        """Record that the blocks in flight were sent whole."""
        _mark(self._sent, reader.in_flight)
        reader.in_flight = []

    def lost(self) -> list[tuple[int, int]]:
        available = self._sent.copy()
        for reader in self._snapshot_readers():
            _mark(available, (*reader.in_flight, *reader.queue))
        return missing(available)

    def counters(self) -> dict[str, int]:
        own = {"cancelled_runs": self.cancelled_runs, "refused_runs": self.refused_runs, "dropped": self.dropped}
        return super().counters() | own

    def _publish(self, event: UnsentEvent) -> None:
        seen, block = _rendered(event)
        if not self.is_running or self._runner is None:
            self._begin_run()
        self.head += 1
        self._sent.append(0)
        self._journal.append([JournalEntry(self.info.id, self.head, seen.id or "", seen.event, seen.data)])
        self.info.count(seen.event)
        if self._runner is not None and not self._runner.offer(self.head, block):
            self.dropped += 1
        self.is_running = seen.event not in _LAST_OF_A_RUN

    def _begin_run(self) -> None:
        readers = self._snapshot_readers()
        self._runner = readers[0] if readers else None
        for each in readers[1:]:
            self.refused_runs += 1
            each.offer(0, event_block(*_BUSY))

    def _snapshot_readers(self) -> list[SnapshotReader]:
        return [each for each in self.readers if isinstance(each, SnapshotReader)]


def _mark(sent: bytearray, blocks: Iterable[tuple[int, bytes]]) -> None:
    for sequence, _ in blocks:
        if sequence:
            sent[sequence - 1] = 1


def _rendered(event: UnsentEvent) -> tuple[Dispatched, bytes]:
    if isinstance(event, RawEvent):
        block = event.render("0").replace(b"id: 0\n", b"")
        return dispatched(block)[0], block
    return Dispatched(None, *event), event_block(*event)
