"""One connection to a session's stream: its age, and the time by which its replay must begin."""

from __future__ import annotations

import zlib
from enum import Enum, auto

from bridge.core.identity import SessionKey
from bridge.core.stream.event import Event
from bridge.daemon.reader_watch import Waiting
from bridge.sse.event_stream import EventStream

STABLE_AFTER = 5.0
"""Seconds after which a connection that moved no id counts as one that worked: heartbeats are rarer than that, and one
request every five seconds does not flood a server."""


class Replay(Enum):
    """Whether the known events at the start of a connection have come."""

    AWAITED = auto()
    NOT_AWAITED = auto()
    """It has begun, or none is expected."""
    TIMED_OUT = auto()


class StreamConnection:
    """An open connection to a session's stream.

    Thread rule: made and read by the session's worker; ``is_too_old``, ``retire`` and ``is_replay_late`` are called by
    the supervisor. Each of them returns True only once.
    """

    def __init__(
        self,
        stream: EventStream,
        now: float,
        replay_timeout: float | None,
        requested_at: float | None = None,
        *,
        peer: str | None = None,
    ) -> None:
        """``replay_timeout``: seconds for the first known event of a replay; None if none is expected.

        ``requested_at``: before the headers of its request were made; default: ``now``. ``peer``: the address that it
        is connected to.
        """
        self.stream = stream
        self.peer = peer
        self.replay = Replay.NOT_AWAITED if replay_timeout is None else Replay.AWAITED
        self._replay_timeout = replay_timeout or 0.0
        self.requested_at = now if requested_at is None else requested_at
        self._opened_at = self._awaited_since = now
        self._opened_after = stream.last_event_id
        self._is_retired = False

    def read(self, waiting: Waiting, linger: float = 0.0) -> list[Event]:
        """Wait for the next events, and for more of them for up to ``linger`` seconds. Raises ``Disconnected``."""
        with waiting:
            if linger and self.replay is not Replay.AWAITED:
                self.stream.gather(linger)
            return self.stream.read()

    def is_too_old(self, now: float, age: float) -> bool:
        """Whether it is older than ``age`` seconds, and was not retired for that before."""
        return now - self._opened_at > age and self.retire()

    def retire(self) -> bool:
        """Whether it was not retired before."""
        was_retired, self._is_retired = self._is_retired, True
        return not was_retired

    def is_replay_late(self, now: float, busy: float) -> bool:
        """Whether the replay has not begun for too long. Nothing else wakes a reader to which nothing is sent.

        ``busy``: seconds since the last call in which the process was too busy to read; they do not count.
        """
        self._awaited_since += busy
        if self.replay is not Replay.AWAITED or busy or now - self._awaited_since <= self._replay_timeout:
            return False
        self.replay = Replay.TIMED_OUT
        return True

    def replay_began(self) -> None:
        if self.replay is Replay.AWAITED:
            self.replay = Replay.NOT_AWAITED

    def has_worked(self, now: float, *, is_new: bool) -> bool:
        """Whether the next connection may follow soon. ``is_new``: not only known events came.

        A block alone proves nothing: it may be an old server's answer for an unknown session. Nor does an id that
        moved over known events: a finite stream sends them again at each request.
        """
        moved = is_new and self.stream.last_event_id != self._opened_after
        return self.stream.blocks > 0 and (moved or now - self._opened_at >= STABLE_AFTER)


def own_share_of_age(key: SessionKey, age: float) -> float:
    """``age`` less up to a tenth, by session: connections made together do not all end together."""
    return age * (1 - zlib.crc32(key.record_key) / 2**32 / 10)
