"""A session of the server snapshot of August 2025, and its script.

Readers take part: the first open stream runs a message and gets its events, each other one gets the error that the
session is busy, and a reader that leaves while a message runs cancels it.
The script is pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any

from bridge.simulator.encoding import event_block
from bridge.simulator.scripts import agent_texts as texts
from bridge.simulator.scripts.agent_script import ScriptedEvent, encode
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.sessions import Reader, Session, SessionInfo, UnsentEvent, missing, rendered

PER_CHUNK = 16
"""Waiting events that share one chunk."""
_QUEUE = 100 + PER_CHUNK
"""Events queued for a slow reader, with those of the chunk that is being written. Further ones are dropped without a
notice."""
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


class SnapshotSession(Session):
    """A session whose readers take part."""

    def __init__(self, info: SessionInfo, script: Iterator[ScriptedEvent], journal: Journal) -> None:
        super().__init__(info)
        self._script = script
        self._journal = journal
        self._sent = bytearray()
        """A byte for each event: 1 once a connection sent it."""
        self._runner: Reader | None = None
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

    def dequeue(self, reader: Reader, count: int, *, is_sent: bool) -> None:
        """Remove the oldest blocks of a reader's queue, which were sent whole or not at all."""
        for _ in range(count):
            sequence = reader.queue.popleft()[0]
            if is_sent:
                _mark(self._sent, sequence)

    def lost(self) -> list[tuple[int, int]]:
        available = self._sent.copy()
        for reader in self.readers:
            for sequence, _ in reader.queue:
                _mark(available, sequence)
        return missing(available)

    def counters(self) -> dict[str, int]:
        own = {"cancelled_runs": self.cancelled_runs, "refused_runs": self.refused_runs, "dropped": self.dropped}
        return super().counters() | own

    def _publish(self, event: UnsentEvent) -> None:
        seen, block = rendered(event, None)
        if not self.is_running or self._runner is None:
            self._begin_run()
        self.head += 1
        self._sent.append(0)
        self._journal.append([JournalEntry(self.info.id, self.head, seen.id or "", seen.event, seen.data)])
        self.info.published[seen.event] += 1
        if self._runner is not None and not _offer(self._runner, self.head, block):
            self.dropped += 1
        self.is_running = seen.event not in _LAST_OF_A_RUN

    def _begin_run(self) -> None:
        self._runner, *others = self.readers or (None,)
        for reader in others:
            self.refused_runs += 1
            _offer(reader, 0, event_block(*_BUSY))


def _offer(reader: Reader, sequence: int, block: bytes) -> bool:
    """Queue an event. False: the queue is full."""
    if len(reader.queue) >= _QUEUE:
        return False
    reader.queue.append((sequence, block))
    reader.wake()
    return True


def _mark(sent: bytearray, sequence: int) -> None:
    if sequence:
        sent[sequence - 1] = 1
