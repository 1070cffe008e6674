"""Which shards are this process's, and which of them it is just giving up. No Kafka here: the clock is an argument."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from structlog.stdlib import get_logger

log = get_logger("bridge.membership")


class Listener(Protocol):
    """Who works on the shards. Called on the membership thread, and returns at once."""

    def assigned(self, shards: frozenset[int]) -> None:
        """They are this process's now."""
        ...

    def revoked(self, shards: frozenset[int]) -> threading.Event:
        """They are to be given up; the event is set when that is done.

        Not done within ``give_up_within`` seconds, ``lost`` is called for them.
        """
        ...

    def lost(self, shards: frozenset[int]) -> None:
        """They are somebody else's, as of now or since a while: nothing more may be handed over."""
        ...


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Shards that the listener is just giving up."""

    shards: frozenset[int]
    held: frozenset[int]
    """The partitions that the group waits for; none when everything goes because this process ends."""
    released: threading.Event
    deadline: float

    def is_over(self, now: float) -> bool:
        return self.released.is_set() or now >= self.deadline


class AssignedPartitions:
    """The shards of one member. Thread rule: the membership thread."""

    def __init__(self, listener: Listener, give_up_within: float) -> None:
        """``give_up_within`` in seconds."""
        self.owned: frozenset[int] = frozenset()
        """Those whose owner this process is, also while it gives them up."""
        self._listener = listener
        self._give_up_within = give_up_within
        self._leaving: list[_Leaving] = []
        self._end: _Leaving | None = None

    @property
    def is_giving_up(self) -> bool:
        """Whether the group waits for this process."""
        return bool(self._leaving)

    def gain(self, shards: frozenset[int]) -> None:
        """The group has given them to this process; at the end they are not taken any more."""
        if self._end is not None:
            return
        self.owned |= shards
        if shards:
            log.info("shards assigned", shards=sorted(shards))
        self._listener.assigned(shards)

    def give_up(self, partitions: frozenset[int], now: float) -> bool:
        """The group asks for partitions; True when they are to be held until ``let_go`` names them."""
        shards = partitions & self.owned
        if not shards:
            return False
        if self._end is None:
            leaving = self._begin(shards, partitions, now)
        else:
            leaving = _Leaving(shards, partitions, self._end.released, self._end.deadline)
        self._leaving.append(leaving)
        return True

    def _begin(self, shards: frozenset[int], held: frozenset[int], now: float) -> _Leaving:
        log.info("shards are given up", shards=sorted(shards))
        return _Leaving(shards, held, self._listener.revoked(shards), now + self._give_up_within)

    def let_go(self, now: float) -> list[frozenset[int]]:
        """The partitions that need not be held any more: given up, lost meanwhile, or past their deadline."""
        gone = [each for each in self._leaving if each.is_over(now) or not each.shards & self.owned]
        for leaving in gone:
            self._leaving.remove(leaving)
            self._finish(leaving)
        return [leaving.held for leaving in gone]

    def _finish(self, leaving: _Leaving) -> None:
        if leaving.released.is_set():
            self.owned -= leaving.shards
            return
        if late := sorted(leaving.shards & self.owned):
            log.error("shards go without a last position: giving them up took too long", shards=late)
        self.lose(leaving.shards)

    def lose(self, shards: frozenset[int]) -> None:
        """They are not this process's any more."""
        lost = shards & self.owned
        self.owned -= lost
        if lost:
            log.warning("shards lost", shards=sorted(lost))
            self._listener.lost(lost)

    # The end

    def begin_end(self, now: float) -> None:
        """Everything is to be given up."""
        shards = self.owned.difference(*(leaving.shards for leaving in self._leaving))
        if shards:
            self._end = self._begin(shards, frozenset(), now)
        else:
            self._end = _Leaving(shards, frozenset(), threading.Event(), now)

    def is_at_end(self, now: float) -> bool:
        """Whether nothing is left to wait for."""
        return self._end is not None and not self._leaving and (not self.owned or self._end.is_over(now))

    def close(self) -> None:
        """Nothing is owned any more; what was not given up in good order is lost."""
        if self._end is not None and self._end.shards:
            self._finish(self._end)
        self.lose(self.owned)
