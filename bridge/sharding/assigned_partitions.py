"""The shards that the group has assigned to this process, and those that it is just releasing. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from structlog.stdlib import get_logger

log = get_logger("bridge.membership")


class RebalanceListener(Protocol):
    """Works on the shards. Called on the membership thread; every method returns immediately."""

    def assigned(self, shards: frozenset[int]) -> None:
        """The group assigns these shards to this process."""

    def revoked(self, shards: frozenset[int]) -> Callable[[], bool]:
        """These shards must be released; the result says whether they are.

        If they are not within ``release_timeout`` seconds, ``lost`` is called for them.
        """

    def lost(self, shards: frozenset[int]) -> None:
        """Another process may own these shards already: nothing of them may be handed to a producer."""


@dataclass(frozen=True, slots=True)
class _Release:
    """Shards that the listener is releasing."""

    shards: frozenset[int]
    partitions: frozenset[int]
    """The partitions that the group waits for; none at the shutdown."""
    is_released: Callable[[], bool]
    deadline: float

    def is_over(self, now: float) -> bool:
        return self.is_released() or now >= self.deadline


class AssignedPartitions:
    """The shards of one member. Thread rule: the membership thread."""

    def __init__(self, listener: RebalanceListener, release_timeout: float) -> None:
        """``release_timeout`` in seconds."""
        self.owned: frozenset[int] = frozenset()
        """The shards that this process owns, including those that it is releasing."""
        self._listener = listener
        self._release_timeout = release_timeout
        self._releases: list[_Release] = []
        self._shutdown: _Release | None = None

    @property
    def is_releasing(self) -> bool:
        """Whether the group waits for this process."""
        return bool(self._releases)

    def assign(self, shards: frozenset[int]) -> None:
        """The group assigned these shards; ignored during the shutdown."""
        if self._shutdown is not None:
            return
        self.owned |= shards
        if shards:
            log.info("shards assigned", shards=sorted(shards))
        self._listener.assigned(shards)

    def revoke(self, partitions: frozenset[int], now: float) -> bool:
        """The group revokes these partitions; True when they must be kept until ``released`` returns them."""
        shards = partitions & self.owned
        if not shards:
            return False
        if self._shutdown is None:
            release = self._begin(shards, partitions, now)
        else:
            release = _Release(shards, partitions, self._shutdown.is_released, self._shutdown.deadline)
        self._releases.append(release)
        return True

    def _begin(self, shards: frozenset[int], partitions: frozenset[int], now: float) -> _Release:
        log.info("shards revoked", shards=sorted(shards))
        return _Release(shards, partitions, self._listener.revoked(shards), now + self._release_timeout)

    def released(self, now: float) -> frozenset[int]:
        """The partitions that need not be kept any more: released, lost meanwhile, or past their deadline."""
        over = [each for each in self._releases if each.is_over(now) or not each.shards & self.owned]
        for release in over:
            self._releases.remove(release)
            self._end(release)
        return frozenset[int]().union(*(release.partitions for release in over))

    def _end(self, release: _Release) -> None:
        if release.is_released():
            self.owned -= release.shards
            return
        if late := sorted(release.shards & self.owned):
            log.error("shards released without a last checkpoint: the release took too long", shards=late)
        self.lose(release.shards)

    def lose(self, shards: frozenset[int]) -> None:
        lost = shards & self.owned
        self.owned -= lost
        if lost:
            log.warning("shards lost", shards=sorted(lost))
            self._listener.lost(lost)

    def shut_down(self, now: float) -> None:
        """Begin to release everything."""
        shards = self.owned.difference(*(release.shards for release in self._releases))
        if shards:
            self._shutdown = self._begin(shards, frozenset(), now)
        else:
            self._shutdown = _Release(shards, frozenset(), bool, now)

    def is_shut_down(self, now: float) -> bool:
        """Whether nothing is left to wait for."""
        return self._shutdown is not None and not self._releases and (not self.owned or self._shutdown.is_over(now))

    def close(self) -> None:
        """Own nothing any more; shards that were not released are lost."""
        if self._shutdown is not None and self._shutdown.shards:
            self._end(self._shutdown)
        self.lose(self.owned)
