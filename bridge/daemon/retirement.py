"""When the bridge itself ends a connection: a late replay, its age, other credentials, another address."""

from __future__ import annotations

from bridge.daemon.address_watch import own_delay
from bridge.daemon.connection import StreamConnection, own_share_of_age
from bridge.daemon.session_stream import SessionStream
from bridge.daemon.source import Source

_RENEWAL = 20.0
"""Seconds within which all streams of a server reconnect with its new token; files are looked at every 30 s."""


class Retirement:
    """Decides for the connections of one session. Thread rule: the supervisor."""

    def __init__(self, source: Source, stream: SessionStream, share: float) -> None:
        """``share``: of the time over which the sessions of a server renew their connections, 0 to 1."""
        self._source = source
        self._stream = stream
        age = source.settings.max_connection_age
        self._max_age = None if age is None else own_share_of_age(stream.key, age)
        self._renew_after = _RENEWAL * share
        self._gone_since: tuple[StreamConnection, float] | None = None
        """The connection whose address has gone from the server's name, and since when."""

    def is_due(self, connection: StreamConnection, now: float, busy: float) -> bool:
        """Whether to end this connection; ``busy``: seconds for which the process was too busy to read."""
        late = connection.is_replay_late(now, busy)
        is_old = self._is_too_old(connection, now) or self._has_old_credentials(connection, now)
        return late or is_old or self._has_moved(connection, now)

    def _is_too_old(self, connection: StreamConnection, now: float) -> bool:
        """Without ids each reconnect loses events, and may cancel a run: then only in a quiet moment."""
        if self._max_age is None:
            return False
        if self._stream.has_ids:
            return connection.is_too_old(now, self._max_age)
        age = self._source.settings.max_connection_age or self._max_age
        return self._stream.runs.is_quiet(now) and connection.is_too_old(now, 0.9 * age)

    def _has_old_credentials(self, connection: StreamConnection, now: float) -> bool:
        """Whether the server's token or headers were changed: not all streams reconnect at once, and within a minute.

        Without ids a reconnect loses events: it waits for a quiet moment, and the server may cut the stream before.
        """
        changed_at = self._source.credentials_changed_at
        if changed_at is None or connection.requested_at >= changed_at or now < changed_at + self._renew_after:
            return False
        return (self._stream.has_ids or self._stream.runs.is_quiet(now)) and connection.retire()

    def _has_moved(self, connection: StreamConnection, now: float) -> bool:
        """Whether the name of the server has led elsewhere for a while, which differs from session to session."""
        if not self._source.address_watch.has_gone(connection.peer):
            self._gone_since = None
            return False
        if self._gone_since is None or self._gone_since[0] is not connection:
            self._gone_since = connection, now
        is_time = now - self._gone_since[1] >= own_delay(self._stream.key)
        return is_time and (self._stream.has_ids or self._stream.runs.is_quiet(now)) and connection.retire()
