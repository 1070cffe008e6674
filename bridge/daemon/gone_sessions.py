"""Whether a session that the server answers with 404 has ended, or whether the answer comes from an outage.

A proxy without a server behind it answers 404 for every session. Two observations show that: the server's list, which
still has the session or does not come, and, without a list, that most sessions are gone at once.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Final

_OUTAGE_FACTOR: Final = 20
"""Without a list, an outage is believed for so many times ``gone_after`` (10 minutes by default)."""


class GoneSessions:
    """The sessions of one server that run here: which of them have streamed, and which are gone.

    Thread rule: any thread. The lock is held only while the fields are read or changed.
    """

    def __init__(self, gone_after: float, *, discovers: bool) -> None:
        self._gone_after = gone_after
        self._lock = threading.Lock()
        self._streaming: dict[str, float | None] = {}
        """Sessions that have streamed, and since when they are gone."""
        self._restored: set[str] = set()
        """Sessions that streamed before this process started, as their stored positions show."""
        self._has_streamed = False
        """Whether the server has sent any stream to this process."""
        self._has_list = discovers
        self._listed: Collection[str] = ()
        self._listed_at = float("-inf")

    def list_came(self, sessions: Collection[str], now: float) -> None:
        with self._lock:
            self._has_list = True
            self._listed, self._listed_at = sessions, now

    def has_no_list(self) -> None:
        """The server does not list sessions. One that did so before, or that has sent no stream yet, is in an outage.

        After a restart during an outage, a proxy answers 404 for the list and for every stream.
        """
        with self._lock:
            self._has_list = self._has_list and (self._listed_at >= 0 or not self._has_streamed)

    def restored(self, session: str) -> None:
        """The session runs and has a stored position, so it has streamed before."""
        with self._lock:
            self._restored.add(session)

    def streamed(self, session: str) -> None:
        with self._lock:
            self._streaming[session], self._has_streamed = None, True

    def failed(self, session: str, since: float | None) -> None:
        """A request for this session's stream failed; ``since``: it is gone since then, None: not gone."""
        with self._lock:
            if session in self._streaming or session in self._restored:
                self._streaming[session] = since

    def left(self, session: str) -> None:
        with self._lock:
            self._streaming.pop(session, None)
            self._restored.discard(session)

    def may_end(self, session: str, since: float, now: float) -> bool:
        """Whether nothing contradicts that this session, which is gone since then, has ended."""
        with self._lock:
            if self._has_list:
                return self._listed_at > since and session not in self._listed
            gone = sorted(moment for moment in self._streaming.values() if moment is not None)
            is_outage = len(gone) > 1 and len(gone) > len(self._streaming) / 2
            return not is_outage or now - gone[0] >= _OUTAGE_FACTOR * self._gone_after
