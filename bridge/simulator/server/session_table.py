"""All sessions of the simulated server, and the agents that publish in them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from functools import partial
from itertools import islice
from typing import Any

from bridge.clock import monotonic, unix_ms
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import AgentScript, ScriptedEvent, encode, session_id_of
from bridge.simulator.server.agent_session import AgentSession
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.load_session import LOAD_EVENT, LoadScript, LoadSession
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.sessions import Session, SessionInfo
from bridge.simulator.server.snapshot_session import SnapshotSession, snapshot_script

# How often agents look at the clock: a shorter interval would cost CPU, a longer one would make bursts.
_TICK = 0.005
# An agent that was delayed (a slow reader, a pause) makes up for at most this many seconds.
_LONGEST_CATCH_UP = 0.5
_ENDLESS = 10**12
# Events a second of an agent that writes at about the speed of a model.
_DEFAULT_RATE = 20.0


class UnknownSession(KeyError):
    """No such session."""


class SessionTable:
    """Creates, deletes and lists sessions; all other streams get ``session_created`` and ``session_deleted``."""

    def __init__(self, options: ServerOptions, journal: Journal, registry: FaultRegistry) -> None:
        self._options = options
        self._journal = journal
        self._registry = registry
        registry.watch(self._wake_readers)
        script = partial(LoadScript, options.seed, options.event_bytes, options.events or _ENDLESS, options.per_write)
        self._load = script() if options.load else None
        self._sessions: dict[str, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._agents: dict[str, asyncio.Task[None]] = {}
        self._running = asyncio.Event()
        self._created = 0

    def open(self) -> None:
        if not self._options.held:
            self.resume()
        mains = [self.create(announce=False) for _ in range(self._options.sessions)]
        for number in range(self._options.subagents):
            self.create(parent=mains[number % len(mains)].info.id, announce=False)
        if self._load is not None and self._options.rate:
            self._spawn(self._wake_readers_forever())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for session in self._sessions.values():
            session.close()

    def get(self, session_id: str) -> Session:
        """Return the session. Raises UnknownSession."""
        if session_id not in self._sessions:
            raise UnknownSession(session_id)
        return self._sessions[session_id]

    def all(self) -> list[Session]:
        return list(self._sessions.values())

    def create(  # noqa: PLR0913 - what a test may choose about a session
        self,
        *,
        session_id: str | None = None,
        title: str | None = None,
        parent: str | None = None,
        created: float | None = None,
        rate: float | None = None,
        events: int | None = None,
        announce: bool = True,
    ) -> Session:
        """Create a session with its agent. The options decide what is not given."""
        self._created += 1
        chosen = session_id or session_id_of(self._options.seed, self._created)
        if chosen in self._sessions:
            raise ValueError(f"session {chosen} exists")
        kind = "Subagent" if parent else "Session"
        info = SessionInfo(chosen, title or f"{kind} {self._created}", created or unix_ms() / 1000, parent)
        session = self._sessions[chosen] = self._session_of(info)
        if announce:
            self._announce("session_created", session, title=info.title, createdAt=int(info.created))
        if self._load is None:
            pace = next(given for given in (rate, self._options.rate, _DEFAULT_RATE) if given is not None)
            budget = next(given for given in (events, self._options.events, _ENDLESS) if given is not None)
            self._agents[chosen] = self._spawn(self._run_agent(session, pace, budget))
        return session

    def _session_of(self, info: SessionInfo) -> Session:
        if self._load is not None:
            session = LoadSession(info, self._load, monotonic, self._options.rate or math.inf)
            if self._running.is_set():
                session.begin()
            return session
        if self._options.kind == "snapshot":
            return SnapshotSession(info, snapshot_script(self._options.seed, info.id), self._journal)
        script = AgentScript(self._options.seed, info.id, lambda: unix_ms() // 1000)
        return AgentSession(info, script.events(), self._options, self._journal, self._registry)

    def delete(self, session_id: str) -> None:
        """Delete a session: new streams are refused, open ones get what is left, ``session_deleted``, and end."""
        session = self.get(session_id)
        del self._sessions[session_id]
        agent = self._agents.pop(session_id, None)
        if agent is not None:
            agent.cancel()
        self._announce("session_deleted", session)
        self._spawn(self._end(session))

    async def _end(self, session: Session) -> None:
        if isinstance(session, AgentSession):
            await session.publish([_event_about("session_deleted", session)])
        session.close()

    def _announce(self, name: str, about: Session, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        for session in self._sessions.values():
            if session is not about and isinstance(session, AgentSession):
                # One task each: a stalled stream must not delay the event for the others.
                self._spawn(session.publish([_event_about(name, about, **fields)]))

    def disconnect(self, session_id: str) -> int:
        readers = list(self.get(session_id).readers)
        for reader in readers:
            reader.end()
        return len(readers)

    async def burst(self, session_id: str, count: int) -> None:
        session = self.get(session_id)
        await session.publish(session.next_events(count))

    def pause(self) -> None:
        """Pause all agents. A load test that has begun continues."""
        self._running.clear()

    def resume(self) -> None:
        """Let all agents continue, and start a load test that was held."""
        self._running.set()
        for session in self._sessions.values():
            if isinstance(session, LoadSession):
                session.begin()

    async def _run_agent(self, session: Session, rate: float, left: int) -> None:
        """Publish at ``rate`` events a second on average, until there are none left."""
        due_at = monotonic()
        while rate and left:
            await self._running.wait()
            now = monotonic()
            due_at = max(due_at, now - _LONGEST_CATCH_UP)
            count = min(int((now - due_at) * rate) + 1, left)  # one at the start, then one every 1/rate seconds
            await session.publish(session.next_events(count))
            due_at += count / rate
            left -= count
            await asyncio.sleep(max(_TICK, due_at - monotonic()))  # ended by cancel(), like every wait of an agent

    def journal(self, session_id: str, after: int = 0, limit: int | None = None) -> list[JournalEntry]:
        """Return a session's published events above sequence ``after``, deleted sessions too. Any thread."""
        if self._load is None:
            return list(islice(self._journal.entries(session_id, after), limit))
        script, head = self._load, self.get(session_id).head
        last = head if limit is None else min(head, after + limit)
        return [JournalEntry(session_id, n, str(n), LOAD_EVENT, script.data(n)) for n in range(after + 1, last + 1)]

    async def _wake_readers_forever(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._wake_readers()

    def _wake_readers(self) -> None:
        for session in self._sessions.values():
            session.wake_readers()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _event_about(name: str, session: Session, **fields: Any) -> ScriptedEvent:  # noqa: ANN401 - JSON values
    return encode(name, {"type": name, "sessionId": session.info.id, **fields})
