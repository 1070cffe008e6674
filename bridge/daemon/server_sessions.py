"""The sessions of one server that should run here, by its settings, its list and the restored checkpoints.

Above ``max_sessions``, a session without an event for ``idle_after`` gives its place to one that is new, or whose entry
in the server's list has changed. It is resumed at its checkpoint when its own entry changes, or when a place is free:
nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.snapshot import Counters, ServerSnapshot
from bridge.daemon.discovery import Discovery
from bridge.daemon.shard_sessions import ShardSessions
from bridge.daemon.source import Source

log = get_logger("bridge.supervisor")

_AT_ONCE = 1000
"""Sessions that are stopped in one tick: as many as may connect in some seconds."""


class IdlePlaces:
    """The idle sessions of one server. Thread rule: one thread."""

    def __init__(self, idle_after: float | None) -> None:
        self._idle_after = idle_after
        self._resting: dict[str, int | None] = {}
        """The sessions that were stopped, the longest ago first, and the marks of their entries at that time."""
        self._stopping: set[str] = set()

    def resting(self, running: AbstractSet[str], marks: Mapping[str, int]) -> Sequence[str]:
        """The stopped sessions whose entry has not changed, the longest ago first. ``marks``: of the present list."""
        self._stopping &= running
        if not self._resting:
            return ()
        return [
            each
            for each, mark in self._resting.items()
            if marks.get(each, mark) == mark and (each not in running or each in self._stopping)
        ]

    def started(self, sessions: Iterable[str]) -> None:
        for each in sessions:
            self._resting.pop(each, None)

    def to_stop(
        self, running: Iterable[tuple[str, float]], needed: int, marks: Mapping[str, int], now: float
    ) -> Sequence[str]:
        """The sessions to stop for ``needed`` others, the longest idle first.

        ``running``: those that may be stopped, and since when they have been idle.
        """
        count = min(_AT_ONCE, needed - len(self._stopping))
        if self._idle_after is None or count <= 0:
            return ()
        idle = sorted(
            (since, each) for each, since in running if now - since >= self._idle_after and each not in self._stopping
        )
        chosen = [each for _, each in idle[:count]]
        # The mark of the last list: an event that came since then changes the next one.
        self._resting.update({each: marks.get(each) for each in chosen})
        self._stopping.update(chosen)
        return chosen


def select(  # noqa: PLR0913 - the sources in order of precedence
    configured: Iterable[str],
    checkpointed: Iterable[str],
    listed: Iterable[str],
    *,
    running: AbstractSet[str],
    cooling_down: AbstractSet[str],
    limit: int,
) -> tuple[list[str], int]:
    """Merge the sources, each session once, up to ``limit``. Also returns the number of those above it.

    A running session keeps its place, even when it is not listed. ``cooling_down``: sessions that ended a short while
    ago and are not started again yet.
    """
    wanted = dict.fromkeys([*running, *configured, *checkpointed, *listed])
    ordered = [session for session in wanted if session in running or session not in cooling_down]
    return ordered[:limit], max(0, len(ordered) - limit)


class OwnedPart:
    """The part of one server's lists that is in owned shards.

    The result for each list is kept until the list or the owned shards change: hashing the names of thousands of
    sessions on each tick would cost more than everything else. Thread rule: one thread.
    """

    def __init__(self, server: str, shard_of: Callable[[SessionKey], int]) -> None:
        self._server = server
        self._shard_of = shard_of
        self._cache: dict[str, tuple[Sequence[str], AbstractSet[int], tuple[str, ...]]] = {}

    def of(self, name: str, sessions: Sequence[str], owned: AbstractSet[int]) -> tuple[str, ...]:
        """The sessions that are in owned shards; ``name`` distinguishes the lists."""
        cached = self._cache.get(name)
        if cached is None or cached[0] is not sessions or cached[1] != owned:
            part = tuple(each for each in sessions if self._shard_of(SessionKey(self._server, each)) in owned)
            cached = self._cache[name] = (sessions, owned, part)
        return cached[2]


class ServerSessions:
    """Selects the sessions of one server, and polls it for its list if discovery is on.

    Thread rule: the main thread, except for ``snapshot`` (any).
    """

    def __init__(self, source: Source, shards: ShardSessions, changed: Callable[[], None]) -> None:
        """``changed`` is called on another thread after each list."""
        self.source = source
        self.discovery = Discovery(source, changed)
        self._shards = shards
        self._part = OwnedPart(source.name, shards.shard_of)
        self._configured = frozenset(source.settings.sessions)
        self._left_out = self._logged = 0
        self._idle = IdlePlaces(source.settings.idle_after)
        self._before: tuple[AbstractSet[str], int, Sequence[str]] = frozenset(), -1, ()
        """The last list, the version of the checkpoints, and the result of ``_listed_before`` for both."""

    def to_start(self, running: AbstractSet[str]) -> list[SessionKey]:
        """The sessions that should run and do not, in order of precedence."""
        name, settings, discovery, owned = self.source.name, self.source.settings, self.discovery, self._shards.owned
        unfinished = self._shards.checkpoints.unfinished(name) if settings.discover else ()
        listed = (*self._part.of("listed", discovery.listed, owned), *self._listed_before())
        resting = self._idle.resting(running, discovery.marks)
        if resting:  # they come last
            idle, known = {*resting}, {*unfinished, *listed}
            unfinished = [each for each in unfinished if each not in idle]
            resting = [each for each in resting if each in known]
            listed = (*(each for each in listed if each not in idle), *resting)
        chosen, left_out = select(
            self._part.of("configured", settings.sessions, owned),
            unfinished,
            listed,
            running=running,
            cooling_down=self._shards.cool_downs.active(name, monotonic(), self._is_unlisted),
            limit=settings.max_sessions,
        )
        self._report(max(0, left_out - len(resting)))
        starting = [each for each in chosen if each not in running]
        self._idle.started(starting)
        return [SessionKey(name, each) for each in starting]

    def _report(self, left_out: int) -> None:
        """Sessions that rest are not counted: they were bridged to their last event."""
        if left_out > self._logged:  # it falls while idle sessions give their places to others
            log.error(
                "more sessions than servers.*.max_sessions: the rest is NOT bridged",
                server=self.source.name, not_bridged=left_out, max_sessions=self.source.settings.max_sessions,
            )  # fmt: skip
        self._left_out, self._logged = left_out, max(left_out, self._logged) if left_out else 0

    def to_stop(self, running: Iterable[tuple[str, float]]) -> Sequence[str]:
        """The sessions that give their place to others; after ``to_start``."""
        movable = (each for each in running if each[0] not in self._configured)
        return self._idle.to_stop(movable, self._left_out, self.discovery.marks, monotonic())

    def _listed_before(self) -> Sequence[str]:
        """The listed sessions that have a checkpoint: they passed the filters once, and later filters do not matter."""
        listed, checkpoints = self.discovery.all_listed, self._shards.checkpoints
        if self._before[:2] != (listed, checkpoints.version):
            name = self.source.name
            found = tuple(each for each in listed if SessionKey(name, each) in checkpoints)
            self._before = listed, checkpoints.version, found
        return self._before[2]

    def _is_unlisted(self, session_id: str, moment: float) -> bool:
        return session_id not in self._configured and self.discovery.is_unlisted_since(session_id, moment)

    def is_over(self, session_id: str) -> bool:
        """Whether an ended session is wanted by nothing: it is not configured, and the last list lacks it."""
        discovery = self.discovery
        is_listed = session_id in discovery.all_listed or (
            self.source.settings.discover and (discovery.answered_at is None or discovery.is_failing)
        )
        return session_id not in self._configured and not is_listed

    def snapshot(self, ended: Counters) -> ServerSnapshot:
        """The server at this moment; ``ended``: the counters of its sessions that ended."""
        discovery = self.discovery
        answered_at = discovery.answered_at
        return ServerSnapshot(
            reachable=self.source.answers,
            discovers=self.source.settings.discover,
            discovery_fails=discovery.is_failing,
            last_discovery_age=None if answered_at is None else monotonic() - answered_at,
            lists_none=discovery.lists_none,
            listed=len(discovery.listed),
            entries_skipped=discovery.skipped,
            not_bridged=self._left_out,
            titles=discovery.titles,
            ended=ended,
            reconnects=self.source.reconnect_duration.snapshot(),
        )
