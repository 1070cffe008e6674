"""One ownership of one shard: what entitles a session's worker and its outbox to hand anything over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from bridge.clock import monotonic

_LOOK = 0.1
"""Seconds between two looks whether somebody who waits still does."""


class Prover(Protocol):
    """Proves that this process is still a member of the group (``sharding.membership.Membership``).

    Any thread.
    """

    @property
    def proven_at(self) -> float:
        """When the newest proof was asked for that succeeded, by :func:`bridge.clock.monotonic`."""
        ...

    def ask(self) -> None:
        """Have membership proven soon; never waits."""
        ...

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:
        """Wait for a proof that was asked for after ``since``; False when ``is_over()`` or membership has ended."""
        ...


class Lease:
    """From the moment a shard is assigned to this process until it is given up or lost.

    A process that was paused, or cut off from its group, does not know that its shards have gone to another one. What
    would do harm then waits for a proof: a new epoch, since the successor's numbers in the older one would be hidden
    behind it, and whatever a reader still holds after it stood still.

    Thread rule: any thread. Once over, for ever over: the shard's next ownership is another tenure.
    """

    def __init__(self, shard: int, prover: Prover) -> None:
        self.shard = shard
        self.term: int | None = None
        """The offset of this owner's newest claim, known once a claim has come by."""
        self.since: int | None = None
        """The offset of its first one: all that it ever wrote lies behind that."""
        self._prover = prover
        self._over = threading.Event()
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._begins_anew = False
        self._lock = threading.Lock()  # the main thread and a shard's own may claim it

    @property
    def is_over(self) -> bool:
        """Nothing of the shard may be handed over any more."""
        return self._over.is_set()

    def claimed(self, term: int) -> None:
        """A claim of this owner has come by; of several that were under way the newest counts."""
        with self._lock:
            if self.since is None or self.term is None or self._begins_anew:
                self.since = self.term = term
                self._begins_anew = False
            else:
                self.since, self.term = min(self.since, term), max(self.term, term)

    def begin_anew(self) -> None:
        """The topic is a new one: the next claim begins its offsets, whatever the claims before were."""
        with self._lock:
            self._begins_anew = True

    def revoke(self) -> None:
        """End it, at once and for ever."""
        self._over.set()

    @property
    def is_suspended(self) -> bool:
        """Whose the shard is, is not known at present: what is read waits in memory."""
        return not self._may_go_on.is_set()

    def suspend(self) -> None:
        """Membership was lost: hand nothing over before it is known that nobody else had the shard."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """Nobody else had it."""
        self._may_go_on.set()

    def prove(self, stopped: Callable[[], bool] = bool) -> bool:
        """Wait until the group has accepted this process as a member after this call.

        False when the tenure is over, or ``stopped()``.
        """

        def is_over() -> bool:
            return self.is_over or stopped()

        asked_at = monotonic()
        while not is_over():
            if self.is_suspended:
                self._may_go_on.wait(_LOOK)
            elif self._prover.prove(asked_at, lambda: is_over() or self.is_suspended):
                return not self.is_over
            elif not self.is_suspended:
                return False
        return False

    def is_proven_within(self, seconds: float) -> bool:
        """Whether membership was proven in the last ``seconds``; asks for a proof when it was not, and never waits."""
        if self.is_over or self.is_suspended:
            return False
        if monotonic() - self._prover.proven_at <= seconds:
            return True
        self._prover.ask()
        return False


class SoleOwner:
    """Proves everything: for one process that shares its sessions with nobody, as tests of single parts do."""

    @property
    def proven_at(self) -> float:
        """See :class:`Prover`."""
        return monotonic()

    def ask(self) -> None:
        """See :class:`Prover`."""

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:  # noqa: ARG002 - the protocol's
        """See :class:`Prover`."""
        return not is_over()
