"""How many sessions fit into this process, with a reserve of threads and descriptors for its Kafka clients.

A session needs a thread and a connection. A Kafka client that gets no thread does not fail: it ends the process with an
assertion (exit code 134), at every start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.snapshot import ServerSnapshot, SessionSnapshot
from bridge.daemon.machine import Limit, descriptor_limit, thread_limit
from bridge.errors import SettingsError
from bridge.settings import Settings

log = get_logger("bridge.supervisor")

_CLIENTS = 7
"""Kafka clients of a process: producers, the group's consumer, the reader of checkpoints, the watch of the topics."""
_SPARE_CLIENTS = 2
"""Clients that exist for a while beside the ones that they replace."""
_CLIENT_THREADS = 3
"""Threads of a client beside one per broker: its main thread, its bootstrap connection, its coordinator's."""
_PYTHON_THREADS = 12
"""Main, log, HTTP, delivery, membership, topics, reader, and a few that live shortly."""
_OWN_DESCRIPTORS = 80
"""Standard streams, the HTTP endpoint with its clients, discovery, and sessions that are connecting (two each)."""
_DESCRIPTORS_PER_THREAD = 3
"""Of a client: a socket, and a pipe that wakes the thread."""
RECHECK = 10.0
"""Seconds after which the limits are read again while sessions are left out: somebody may have raised them."""
_LASTS = 2.0
"""Seconds for which a number of left-out sessions lasts before it is logged."""
STATE = "not_bridged"
"""Of a session that is left out, in the status, beside the states of workers."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Threads and descriptors that are not for sessions."""

    threads: int
    descriptors: int

    @classmethod
    def of(cls, settings: Settings, shards: int, brokers: int) -> Reserve:
        """The reserve for the clients of this guarantee, with one thread and connection per client and broker."""
        producers = shards if settings.delivery.guarantee == "exactly_once" else 0
        clients = _CLIENTS + _SPARE_CLIENTS + producers
        of_clients = clients * (_CLIENT_THREADS + brokers)
        threads = _PYTHON_THREADS + len(settings.servers) + producers + of_clients
        return cls(threads, _OWN_DESCRIPTORS + _DESCRIPTORS_PER_THREAD * of_clients)


@dataclass(frozen=True, slots=True)
class Fit:
    """How many sessions fit, and which limit says so; None: no limit is known."""

    sessions: int | None = None
    limit: str = ""
    most: int = 0
    reserved: int = 0

    @classmethod
    def within(cls, threads: Limit | None, descriptors: Limit | None, reserve: Reserve) -> Fit:
        pairs = ((threads, reserve.threads), (descriptors, reserve.descriptors))
        fits = [cls(max(0, each.most - kept), each.name, each.most, kept) for each, kept in pairs if each is not None]
        return min(fits, key=lambda fit: fit.sessions or 0, default=cls())

    def require(self) -> None:
        """Raise ``SettingsError`` if no session fits: then not even the Kafka clients may get their threads."""
        if self.sessions == 0:
            raise SettingsError.of(
                self.limit, f"is {self.most} for this process, and Kafka's clients need {self.reserved}: raise it to"
                f" {self.reserved} and one for each session",
            )  # fmt: skip


class Capacity:
    """The capacity of this process. Thread rule: the main thread; ``fit`` any."""

    def __init__(self, reserve: Reserve, read: Callable[[Reserve], Fit] | None = None) -> None:
        self._reserve = reserve
        self._read = read or read_fit
        self.fit = self._read(reserve)
        self._read_at = float("-inf")

    def room(self, running: int, wanted: int, now: float) -> int:
        """How many of the ``wanted`` sessions may start beside those that run."""
        is_full = self.fit.sessions is not None and running + wanted > self.fit.sessions
        if is_full and now - self._read_at > RECHECK:
            self.fit, self._read_at = self._read(self._reserve), now
        most = self.fit.sessions
        return wanted if most is None else max(0, min(wanted, most - running))

    def refused(self, running: int, now: float) -> None:
        """The system refused a thread although one was expected: no more start until the limits are read again."""
        self.fit = Fit(running, self.fit.limit or "threads", self.fit.most, self.fit.reserved)
        self._read_at = now


def read_fit(reserve: Reserve) -> Fit:
    """Read the limits of this process now."""
    return Fit.within(thread_limit(), descriptor_limit(), reserve)


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
