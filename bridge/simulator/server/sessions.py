"""What all sessions of the simulated server have in common: their listing and their readers."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.clock import rfc3339
from bridge.simulator.encoding import Dispatched, dispatched, event_block
from bridge.simulator.faults.kinds import Ending
from bridge.simulator.scripts.agent_script import ScriptedEvent

_FIXED = "the events of a load test are fixed"


@dataclass(slots=True)
class SessionInfo:
    """What ``GET /api/sessions`` lists of a session."""

    id: str
    title: str
    created: float
    """Unix seconds."""
    parent: str | None = None
    """The session that started it, if it is a subagent's."""
    published: Counter[str] = field(default_factory=Counter)
    """How many events of each name."""

    def to_json(self) -> dict[str, Any]:
        questions, answers = self.published["user_message_created"], self.published["complete"]
        listed = {
            "id": self.id,
            "title": self.title,
            "sessionType": "main" if self.parent is None else "subagent",
            "createdAt": rfc3339(int(self.created * 1000)),
            "browserMode": "local-browser-service",
            "userMessageCount": questions,
            "assistantMessageCount": answers,
            "toolCallCount": self.published["tool_execution_complete"],
            "promptTokens": 900 * questions,
            "completionTokens": 350 * answers,
            "cost": round(0.012 * answers, 6),
        }
        if self.parent is not None:
            listed |= {"parentSessionId": self.parent, "subagentType": "general-purpose"}
        return listed


class RawEvent(NamedTuple):
    """An event that renders its own bytes from its id."""

    render: Callable[[str], bytes]


UnsentEvent = ScriptedEvent | RawEvent
"""An event before it has an id."""


class Reader:
    """One open stream: its position, and how its task is woken."""

    __slots__ = ("_transport", "_wake", "ended", "ending", "heartbeat_due", "position", "queue")

    def __init__(self, position: int, transport: asyncio.WriteTransport) -> None:
        self.position = position
        self.queue: deque[tuple[int, bytes]] = deque()
        """Sequences and blocks, where each reader gets its own events; 0 for what is not an event of the session."""
        self._transport = transport
        self._wake = asyncio.Event()
        self.heartbeat_due = False
        self.ended = False
        self.ending: Ending = "fin"

    def end(self, how: Ending = "fin") -> None:
        """Close the connection now, also when the client has not read everything."""
        self.ended = True
        self.ending = how
        self.wake()
        if self._transport.get_write_buffer_size():
            self._transport.abort()  # the stream's task waits for buffer space that a stalled client never makes

    def request_heartbeat(self) -> None:
        self.heartbeat_due = True
        self.wake()

    def wake(self) -> None:
        """Wake the stream's task, or make its next wait return immediately."""
        self._wake.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Return after the next ``wake``, or after ``seconds``."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
            self._wake.clear()


class Session:
    """One session. Its events are fixed, as in a load test, unless a subclass can publish."""

    head = 0
    """How many events were published: the sequence of the newest one."""

    def __init__(self, info: SessionInfo) -> None:
        self.info = info
        self.readers: dict[Reader, None] = {}
        """In the order of their connections."""
        self.opened = 0
        """Streams so far."""
        self.most_readers = 0
        """The most streams at the same time."""
        self.closed = False
        """Whether no more events follow: streams send what is left and end."""

    async def publish(self, _events: Sequence[UnsentEvent]) -> None:
        """Write the events to the journal and send them to the readers."""
        raise ValueError(_FIXED)

    def next_events(self, _count: int) -> list[ScriptedEvent]:
        """Return the next events of the session's script."""
        raise ValueError(_FIXED)

    def lost(self) -> list[tuple[int, int]]:
        """Return the ranges of sequences that no reader received whole and none can receive any more."""
        raise ValueError(_FIXED)

    def attach(self, reader: Reader) -> None:
        self.readers[reader] = None
        self.opened += 1
        self.most_readers = max(self.most_readers, len(self.readers))

    def detach(self, reader: Reader) -> None:
        self.readers.pop(reader, None)

    def wake_readers(self) -> None:
        for reader in self.readers:
            reader.wake()

    def close(self) -> None:
        """End the session: streams send what is left and end."""
        self.closed = True
        self.wake_readers()

    def counters(self) -> dict[str, int]:
        counts = {"published": self.head, "readers": len(self.readers)}
        return counts | {"opened": self.opened, "most_readers": self.most_readers}


def rendered(event: UnsentEvent, event_id: str | None) -> tuple[Dispatched, bytes]:
    """Return what a client dispatches, and the block that is sent."""
    if isinstance(event, RawEvent):
        block = event.render(event_id) if event_id else event.render("0").replace(b"id: 0\n", b"")
        return dispatched(block)[0], block
    return Dispatched(event_id, *event), event_block(*event, event_id)


def missing(available: bytearray) -> list[tuple[int, int]]:
    """Return the ranges of sequences, which start at 1, whose byte is 0."""
    return [(found.start() + 1, found.end()) for found in re.finditer(rb"\0+", available)]
