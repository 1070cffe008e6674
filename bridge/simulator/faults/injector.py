"""Injects faults: immediate ones at once, lasting ones until their time is over, a schedule at its times."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from bridge.clock import monotonic
from bridge.simulator.faults.kinds import (
    Disconnect,
    Evict,
    Fault,
    ImmediateFault,
    Jump,
    MalformedEvent,
    Refuse,
    Restart,
)
from bridge.simulator.faults.malformed_events import malformed_event
from bridge.simulator.faults.registry import FaultRecord, FaultRegistry
from bridge.simulator.faults.schedule import ScheduledFault
from bridge.simulator.server.agent_session import AgentSession
from bridge.simulator.server.session_table import SessionTable, UnknownSession
from bridge.simulator.server.sessions import RawEvent, Session


class FaultInjector:
    """Injects the faults that tests, the demo and the command line request."""

    def __init__(self, sessions: SessionTable, registry: FaultRegistry) -> None:
        self._sessions = sessions
        self._registry = registry
        self._schedule: asyncio.Task[None] | None = None

    async def inject(self, fault: Fault) -> FaultRecord[Fault]:
        """Inject a fault; an immediate one has happened when this returns. Raises UnknownSession or ValueError."""
        sessions = self._sessions.all() if fault.session is None else [self._sessions.get(fault.session)]
        if isinstance(fault, ImmediateFault):
            for session in sessions:
                await _apply(fault, session)
        record = self._registry.begin(fault)
        if fault.seconds is not None:
            asyncio.get_running_loop().call_later(fault.seconds, self._registry.clear, record.number)
        if isinstance(fault, Restart) and fault.down:
            await self.inject(Refuse(seconds=fault.down))
        return record

    def play(self, schedule: Iterable[ScheduledFault]) -> None:
        self._schedule = asyncio.get_running_loop().create_task(self._play(schedule))

    async def close(self) -> None:
        if self._schedule is not None:
            self._schedule.cancel()
            await asyncio.gather(self._schedule, return_exceptions=True)
        self._registry.clear()

    async def _play(self, schedule: Iterable[ScheduledFault]) -> None:
        began = monotonic()
        for scheduled in schedule:
            await asyncio.sleep(max(0.0, began + scheduled.at - monotonic()))  # ended by cancel()
            try:
                await self.inject(scheduled.fault)
            except (UnknownSession, ValueError) as failure:
                self._registry.fail(scheduled.fault, str(failure))


async def _apply(fault: Fault, session: Session) -> None:
    """Apply an immediate fault to one session."""
    if isinstance(fault, MalformedEvent):
        await session.publish([RawEvent(partial(malformed_event, fault.malformation, size=fault.size))])
        return
    if isinstance(fault, Disconnect | Restart):
        for reader in session.readers:
            reader.end(fault.how if isinstance(fault, Disconnect) else "fin")
    if isinstance(session, AgentSession):
        _change_history(session, fault)
    elif not isinstance(fault, Disconnect | Restart):
        raise ValueError(f"{fault.kind} is not possible: this session keeps no history")  # noqa: TRY004 - a wrong request


def _change_history(session: AgentSession, fault: Fault) -> None:
    if isinstance(fault, Evict):
        session.forget(fault.keep)
    elif isinstance(fault, Jump):
        session.ids.last += fault.by
    elif isinstance(fault, Restart):
        session.restart(fresh_ids=fault.ids == "fresh", forget=fault.history == "forget")
