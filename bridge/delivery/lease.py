"""The ownership of a shard: the permission to hand the records of its sessions to a producer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from bridge.clock import monotonic

_INTERVAL = 0.1
"""Seconds between two checks whether a waiting caller was stopped."""

_LATEST = 5_000_000_000
"""No clock shows a later epoch (the year 2128), and there are ten digits for those that follow."""


class Prover(Protocol):
    """Proves that this process is a member of the group. Thread rule: any thread."""

    @property
    def proven_at(self) -> float:
        """When the newest successful proof was requested, by :func:`bridge.clock.monotonic`."""

    def ask(self) -> None:
        """Request a proof soon; never waits."""

    def prove(self, since: float, is_over: Callable[[], bool]) -> bool:
        """Wait for a proof requested after ``since``; False when ``is_over()`` or membership has ended."""


class LeaseState(Enum):
    """What a lease allows."""

    ACTIVE = auto()
    SUSPENDED = auto()
    """The owner of the shard is not known at present. At least once: events that are read wait in memory. Exactly once:
    transactions continue, because a new owner's ``init_transactions`` fences them."""
    REVOKED = auto()
    """For ever: the next ownership of the shard is another lease."""


class Lease:
    """One ownership of one shard, from its assignment until it is released or lost.

    A process that was paused, or cut off from its group, does not know that another one took its shards. So everything
    harmful waits for a proof of membership: a new epoch, because consumers would drop the successor's numbers in the
    older one, and the events that a reader still holds after a stall.

    Thread rule: any thread.
    """

    def __init__(self, shard: int, prover: Prover) -> None:
        self.shard = shard
        self.fencing_token: int | None = None
        """The offset of this owner's newest claim; None before the first one was read."""
        self.first_token: int | None = None
        """The offset of its first claim: everything it ever wrote lies behind. None in a recreated topic as well."""
        self.highest_epoch = 0
        """The highest epoch that is known in the shard: a new one is above it."""
        self.epoch_floor = 0
        """The highest epoch of the shard's sessions that were forgotten, as far as Kafka has it."""
        self.released = threading.Event()
        """Set when this process uses nothing of the shard any more."""
        self._prover = prover
        self._state = LeaseState.ACTIVE
        self._changed = threading.Condition()
        self._waiting = 0

    @property
    def is_over(self) -> bool:
        """Whether it was revoked: nothing of the shard may be handed to a producer."""
        return self._state is LeaseState.REVOKED

    @property
    def is_suspended(self) -> bool:
        return self._state is LeaseState.SUSPENDED

    @property
    def is_waited_for(self) -> bool:
        return self._waiting > 0

    def revoke(self) -> None:
        self._change(LeaseState.REVOKED)

    def suspend(self) -> None:
        """Membership was lost: the owner of the shard is not known until the group assigns it."""
        self._change(LeaseState.SUSPENDED)

    def resume(self) -> None:
        """No other process had the shard."""
        self._change(LeaseState.ACTIVE)

    def _change(self, state: LeaseState) -> None:
        with self._changed:
            if not self.is_over:
                self._state = state
            self._changed.notify_all()

    def claimed(self, token: int) -> None:
        """Note a claim of this owner that was read; of several, the newest counts (two threads may write claims)."""
        with self._changed:
            if self.first_token is None or self.fencing_token is None:
                self.first_token = self.fencing_token = token
            else:
                self.first_token, self.fencing_token = min(self.first_token, token), max(self.fencing_token, token)

    def know_epoch(self, epoch: int) -> None:
        """Note an epoch that somebody has used in the shard. One damaged record must not lift all sessions of it."""
        with self._changed:
            self.highest_epoch = max(self.highest_epoch, epoch if epoch < _LATEST else 0)

    def raise_epoch_floor(self, epoch: int) -> None:
        """Note the highest epoch of the shard's sessions that were forgotten: it comes from valid checkpoints."""
        self.epoch_floor = max(self.epoch_floor, epoch)
        with self._changed:
            self.highest_epoch = max(self.highest_epoch, epoch)

    def topic_was_recreated(self) -> None:
        """Offsets start at 0 again: the next claim counts, also with a lower token than before."""
        with self._changed:
            self.first_token = None

    def prove(self, stopped: Callable[[], bool] = bool) -> bool:
        """Wait until the group has accepted this process as a member after this call.

        False when the lease is over, or ``stopped()``.
        """
        with self._changed:
            self._waiting += 1
        try:
            return self._prove(lambda: self.is_over or stopped())
        finally:
            with self._changed:
                self._waiting -= 1

    def _prove(self, is_over: Callable[[], bool]) -> bool:
        asked_at, was_suspended = monotonic(), False

        def is_interrupted() -> bool:
            nonlocal was_suspended
            was_suspended = self.is_suspended
            return was_suspended or is_over()

        while not is_over():
            was_suspended = self.is_suspended
            if was_suspended:
                with self._changed:
                    self._changed.wait_for(lambda: not self.is_suspended, _INTERVAL)
            elif self._prover.prove(asked_at, is_interrupted):
                return not self.is_over
            elif not was_suspended:  # it may have been resumed since, before this thread had processor time
                return False
        return False

    def is_proven_within(self, seconds: float) -> bool:
        """Whether membership was proven in the last ``seconds``; if not it requests a proof. Never waits."""
        if self._state is not LeaseState.ACTIVE:
            return False
        if monotonic() - self._prover.proven_at <= seconds:
            return True
        self._prover.ask()
        return False
