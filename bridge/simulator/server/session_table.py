"""All sessions of the simulated server and the agents at work in them. Event loop thread only."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from itertools import islice
from typing import Any

from bridge.clock import monotonic, unix_ms
from bridge.simulator.faults.registry import FaultRegistry
from bridge.simulator.scripts.agent_script import AgentScript, ScriptedEvent, encode, session_id_of
from bridge.simulator.scripts.load_script import LOAD_EVENT, LoadScript
from bridge.simulator.scripts.scripted_runs import LiveTrack, LoadTrack
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.options import ServerKind, ServerOptions
from bridge.simulator.server.sessions import Facts, LiveSession, LoadSession, Said, Session, Talk
from bridge.simulator.server.snapshot_session import SnapshotScript, SnapshotSession

# Agents look at the clock this often: finer would cost more than it shows, coarser would make bursts.
_TICK = 0.005
# An agent that was held up (a slow reader, a pause) goes on at its rate; it does not make up for more than this.
_LONGEST_CATCH_UP = 0.5
_ENDLESS = 10**12
# Events a second of an agent that writes at about the speed of a model.
_USUAL_RATE = 20.0


class UnknownSession(KeyError):
    """No such session."""


class Roster:
    """Creates, deletes and lists sessions; ``session_created`` and ``session_deleted`` go to all other streams."""

    def __init__(self, options: ServerOptions, journal: Journal, book: FaultRegistry) -> None:
        self._options = options
        self._journal = journal
        self._book = book
        book.watch(self._ring)
        self._load = _load_script(options) if options.load else None
        self._sessions: dict[str, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._agents: dict[str, asyncio.Task[None]] = {}
        self._running = asyncio.Event()
        self._made = 0

    def open(self) -> None:
        """Create the sessions of the options and let their agents begin."""
        if not self._options.held:
            self.resume()
        mains = [self.create(announce=False) for _ in range(self._options.sessions)]
        for number in range(self._options.subagents):
            self.create(parent=mains[number % len(mains)].facts.id, announce=False)
        if self._load is not None and self._options.rate:
            self._spawn(self._ring_all())

    async def close(self) -> None:
        """End all agents and all streams."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for session in self._sessions.values():
            session.close()

    # --- sessions

    def get(self, session_id: str) -> Session:
        """The session; UnknownSession if there is none."""
        try:
            return self._sessions[session_id]
        except KeyError:
            raise UnknownSession(session_id) from None

    def all(self) -> list[Session]:
        """All sessions, oldest first."""
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
        """A new session with its agent; what is not given is as the options say."""
        self._made += 1
        chosen = session_id or session_id_of(self._options.seed, self._made)
        if chosen in self._sessions:
            raise ValueError(f"session {chosen} exists")
        kind = "Subagent" if parent else "Session"
        facts = Facts(chosen, title or f"{kind} {self._made}", created or unix_ms() / 1000, parent)
        session = self._sessions[chosen] = self._session_of(facts)
        if announce:
            self._announce("session_created", session, title=facts.title, createdAt=int(facts.created))
        if isinstance(session, Talk):
            pace = next(given for given in (rate, self._options.rate, _USUAL_RATE) if given is not None)
            budget = self._options.events if events is None else events
            self._agents[chosen] = self._spawn(self._perform(session, pace, budget))
        return session

    def _session_of(self, facts: Facts) -> Session:
        if self._load is not None:
            session = LoadSession(facts, LoadTrack(self._load, monotonic, self._options.rate or math.inf))
            if self._running.is_set():
                session.begin()
            return session
        if self._options.kind is ServerKind.SNAPSHOT:
            return SnapshotSession(facts, self._journal, SnapshotScript(self._options.seed, facts.id).events())
        script = AgentScript(self._options.seed, facts.id, lambda: unix_ms() // 1000)
        track = LiveTrack(facts.id, self._options.replay, self._options.per_write)
        return LiveSession(facts, track, self._journal, self._book, script.events())

    def delete(self, session_id: str) -> None:
        """The session is gone: new streams are refused, open ones get what is left, ``session_deleted``, and end."""
        session = self.get(session_id)
        del self._sessions[session_id]
        agent = self._agents.pop(session_id, None)
        if agent is not None:
            agent.cancel()
        self._announce("session_deleted", session)
        self._spawn(self._say_goodbye(session))

    async def _say_goodbye(self, session: Session) -> None:
        if isinstance(session, LiveSession):
            await session.publish([_about("session_deleted", session)])
        session.close()

    def _announce(self, name: str, about: Session, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        for session in self._sessions.values():
            if session is not about and isinstance(session, LiveSession):
                # On its own: one stream that stands still must not hold back the news from the others.
                self._spawn(session.publish([_about(name, about, **fields)]))

    # --- what agents say

    async def burst(self, session_id: str, count: int) -> None:
        """The session's agent says its next ``count`` events at once."""
        talk = self.talk(session_id)
        await talk.publish(talk.scripted(count))

    async def publish(self, session_id: str, events: Sequence[Said]) -> None:
        """Publish exactly these events."""
        await self.talk(session_id).publish(events)

    def pause(self) -> None:
        """All agents fall silent; what a load test has begun goes on."""
        self._running.clear()

    def resume(self) -> None:
        """All agents go on, and a load test that was held begins."""
        self._running.set()
        for session in self._sessions.values():
            if isinstance(session, LoadSession):
                session.begin()

    def journal(self, session_id: str, after: int = 0, limit: int | None = None) -> list[JournalEntry]:
        """What was published in a session, a deleted one too, above sequence ``after``. May be called by any thread."""
        if self._load is None:
            return list(islice(self._journal.entries(session_id, after), limit))
        script, head = self._load, self.get(session_id).head
        last = head if limit is None else min(head, after + limit)
        return [JournalEntry(session_id, n, str(n), LOAD_EVENT, script.data(n)) for n in range(after + 1, last + 1)]

    def journalled(self) -> dict[str, int]:
        """How many events the journal has of each session, deleted ones too; none of a load test."""
        return self._journal.counts()

    def disconnect(self, session_id: str) -> int:
        """Cut the session's streams where they are; how many there were."""
        readers = list(self.get(session_id).readers)
        for reader in readers:
            reader.end()
        return len(readers)

    def talk(self, session_id: str) -> Talk:
        """A session in which something can be said; UnknownSession or ValueError if there is none."""
        session = self.get(session_id)
        if not isinstance(session, Talk):
            raise ValueError("the events of a load test are fixed")  # noqa: TRY004 - a wrong request, not a wrong type
        return session

    async def _perform(self, session: Talk, rate: float, budget: int | None) -> None:
        """One agent: its events at ``rate`` a second on average, until its budget is spent."""
        left = budget
        due_at = monotonic()
        while rate and left != 0:
            await self._running.wait()
            now = monotonic()
            due_at = max(due_at, now - _LONGEST_CATCH_UP)
            count = _due(now - due_at, rate, left)
            await session.publish(session.scripted(count))
            due_at += count / rate
            left = None if left is None else left - count
            # Ended by cancel(), as every wait of an agent.
            await asyncio.sleep(max(_TICK, due_at - monotonic()))

    async def _ring_all(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._ring()

    def _ring(self) -> None:
        for session in self._sessions.values():
            session.ring()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _load_script(options: ServerOptions) -> LoadScript:
    return LoadScript(options.seed, options.event_bytes, options.events or _ENDLESS, options.per_write)


def _due(elapsed: float, rate: float, left: int | None) -> int:
    """How many events are due: one at the start, then one each 1/rate seconds."""
    count = int(elapsed * rate) + 1
    return count if left is None else min(count, left)


def _about(name: str, session: Session, **fields: Any) -> ScriptedEvent:  # noqa: ANN401 - JSON values
    return encode(name, {"type": name, "sessionId": session.facts.id, **fields})
