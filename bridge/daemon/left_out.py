"""The sessions that this process has no thread or descriptor for: they are counted, shown and logged, not started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.snapshot import ServerSnapshot, SessionSnapshot
from bridge.daemon.capacity import Capacity

log = get_logger("bridge.supervisor")

_LASTS = 2.0
"""Seconds."""
STATE = "not_bridged"
"""In the status, beside the states of workers."""


class LeftOut:
    """The sessions that do not fit. Thread rule: the main thread, except for ``snapshots`` and ``added`` (any)."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._keys: dict[str, tuple[SessionKey, ...]] = {}
        """By server; each value is replaced as a whole."""
        self._count = self._reported = 0
        self._counted_at = 0.0

    def fitting(self, server: str, wanted: Sequence[SessionKey], running: int) -> Sequence[SessionKey]:
        """The sessions that may start beside those that run; the others are left out."""
        room = self._capacity.room(running, len(wanted), monotonic())
        self._keys[server] = tuple(wanted[room:])
        return wanted[:room]

    def report(self, now: float) -> None:
        """Log a change of their number, once it lasts: shards and lists come one after the other."""
        count = sum(len(keys) for keys in self._keys.values())
        if count != self._count:
            self._count, self._counted_at = count, now
        if count == self._reported or now - self._counted_at < _LASTS:
            return
        self._reported, fit = count, self._capacity.fit
        if not count:
            log.info("all sessions have a thread again")
            return
        log.error(
            "more sessions than threads or descriptors: the rest is NOT bridged; raise the limit, or start another"
            " replica",
            not_bridged=count, sessions_fit=fit.sessions, limit=fit.limit, most=fit.most, reserved=fit.reserved,
            limited=True,
        )  # fmt: skip

    def snapshots(self) -> tuple[SessionSnapshot, ...]:
        """These sessions in the status."""
        error = f"no room in this process: {self._capacity.fit.limit}"
        return tuple(
            SessionSnapshot(key.server, key.session_id, STATE, last_error=error)
            for keys in tuple(self._keys.values())
            for key in keys
        )

    def added(self, server: str, snapshot: ServerSnapshot) -> ServerSnapshot:
        """The server with the sessions that are left out."""
        count = len(self._keys.get(server, ()))
        return replace(snapshot, not_bridged=snapshot.not_bridged + count, without_thread=count) if count else snapshot
