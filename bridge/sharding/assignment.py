"""What other threads have to say about shards: noted here, acted on by the main thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

from bridge.core.checkpoint_log import CheckpointRecord
from bridge.delivery.lease import Lease, Prover
from bridge.sharding.read_state import Taken
from bridge.sharding.states import Turn


class AllGone(threading.Event):
    """Set when so many shards are gone. Counted down by the main thread alone."""

    def __init__(self, shards: int) -> None:
        super().__init__()
        self._left = shards
        if not shards:
            self.set()

    def count_down(self) -> None:
        """One more is gone."""
        self._left -= 1
        if self._left <= 0:
            self.set()


class Note(NamedTuple):
    """Something about a shard; about ``tenure`` alone, if there is one."""

    shard: int
    turn: Turn | None = None
    """None with a tenure: it is assigned."""
    lease: Lease | None = None
    taken: Taken | None = None
    word: CheckpointRecord | None = None
    """One that somebody else wrote."""
    gone: AllGone | None = None
    """To be counted down when the shard is gone."""


class Assignment:
    """The group's word on which shards are this process's; see :class:`bridge.sharding.membership.Listener`.

    Thread rule: ``assigned``, ``revoked`` and ``lost`` are the membership thread's, ``note`` is any thread's, ``notes``
    the main thread's.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """``changed`` wakes the main thread."""
        self._changed = changed
        self._prover: Prover | None = None
        self._lock = threading.Lock()
        self._leases: dict[int, Lease] = {}
        self._assigned: set[int] = set()
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()

    def trust(self, prover: Prover) -> None:
        """Who proves membership; before the first assignment."""
        self._prover = prover

    def assigned(self, shards: Collection[int]) -> None:
        """The group gives these to this process: the rest of what was lost before it has given to others."""
        with self._lock:
            self._assigned |= set(shards)
            for shard, lease in list(self._leases.items()):
                if lease.is_suspended and shard not in self._assigned:
                    del self._leases[shard]
                    lease.revoke()
                    self.note(Note(shard, Turn.GIVEN_AWAY, lease))
            for shard in shards:
                known = self._leases.get(shard)
                if known is None or not known.is_suspended:
                    known = self._leases[shard] = self._new(shard)
                self.note(Note(shard, None, known))

    def replaced(self, lease: Lease) -> Lease | None:
        """A new tenure of a shard that somebody else had meanwhile (the main thread); None: it is lost again."""
        with self._lock:
            if lease.shard not in self._assigned or self._leases.get(lease.shard) is not lease:
                return None
            new = self._leases[lease.shard] = self._new(lease.shard)
            return new

    def _new(self, shard: int) -> Lease:
        if self._prover is None:
            raise AssertionError("assigned before anybody can prove it")
        return Lease(shard, self._prover)

    def revoked(self, shards: Collection[int]) -> threading.Event:
        """The group wants these back; the event is set when they are given up."""
        with self._lock:
            self._assigned -= set(shards)
            # They stay known: what is lost while it is being given up must end at once as well.
            leases = [lease for shard in shards if (lease := self._leases.get(shard)) is not None]
        gone = AllGone(len(leases))
        for lease in leases:
            self.note(Note(lease.shard, Turn.REVOKED, lease, gone=gone))
        return gone

    def lost(self, shards: Collection[int]) -> None:
        """Another process may have these by now: from here on nothing of theirs is handed over."""
        with self._lock:
            self._assigned -= set(shards)
            for shard in shards:
                lease = self._leases.get(shard)
                if lease is not None:
                    lease.suspend()  # at once, whoever is busy
                    self.note(Note(shard, Turn.LOST, lease))

    def note(self, note: Note) -> None:
        """Have the main thread look at this."""
        self._notes.put(note)
        self._changed()

    def notes(self) -> Iterator[Note]:
        """What was noted and not yet acted on."""
        with suppress(queue.Empty):
            while True:
                yield self._notes.get_nowait()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is noted that was not acted on."""
        return self._notes.empty()
