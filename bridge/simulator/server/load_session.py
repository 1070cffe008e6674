"""A session of a load test: every event follows from its number, so nothing is kept. Event loop thread only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import NoReturn

from bridge.simulator.scripts.load_script import LoadScript
from bridge.simulator.server.agent_session import number_of
from bridge.simulator.server.sessions import Session, SessionInfo, UnsentEvent


class LoadSession(Session):
    """Events become available at ``rate`` a second from ``begin`` on."""

    floor = 0

    def __init__(self, info: SessionInfo, script: LoadScript, clock: Callable[[], float], rate: float) -> None:
        super().__init__(info)
        self._script = script
        self._clock = clock
        self._rate = rate
        self._began: float | None = None

    def begin(self) -> None:
        """Make the events available. Can be called twice."""
        if self._began is None:
            self._began = self._clock()
        self.wake_readers()

    def close(self) -> None:
        """End all streams now: a load test without a rate never ends."""
        for reader in self.readers:
            reader.end()

    @property
    def head(self) -> int:
        """How many events are available."""
        if self._began is None:
            return 0
        if self._rate == inf:
            return self._script.events
        return min(self._script.events, int((self._clock() - self._began) * self._rate))

    def chunks_after(self, sequence: int) -> tuple[list[bytes], int]:
        """Return HTTP chunks with the next available events, and the sequence of the last one."""
        return self._script.chunks_after(sequence, self.head)

    def id_at(self, sequence: int) -> str:
        """Return the event's id, which is its sequence."""
        return str(sequence)

    def resume_position(self, last_event_id: str) -> int | None:
        """Return the sequence after which a client with this id continues. None: the id is unknown."""
        number = number_of(last_event_id)
        return None if number is None else min(number, self.head)

    async def publish(self, _events: Sequence[UnsentEvent]) -> None:
        """Refuse: the events are fixed."""
        self._refuse()

    def next_events(self, _count: int) -> NoReturn:
        """Refuse: the events are fixed."""
        self._refuse()

    def lost(self) -> NoReturn:
        """Refuse: nothing is kept, so nothing can be lost."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ValueError("the events of a load test are fixed")
