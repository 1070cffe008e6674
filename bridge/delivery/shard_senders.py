"""The senders of one shard's sessions: those that asked for a turn, and those that are isolated."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from math import inf

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.delivery.transactional_sender import TransactionalSender


class ShardSenders:
    """The sessions of one shard's thread.

    Thread rule: the supervisor calls ``add`` and ``remove``; any thread calls ``request_turn``; everything else runs in
    the shard's thread.
    """

    def __init__(self, checkpoint_interval: float) -> None:
        """``checkpoint_interval``: seconds between two searches for positions that only skipped events moved."""
        self.wake = threading.Event()
        """Set when the thread must not wait any longer."""
        self._senders: dict[SessionKey, TransactionalSender] = {}
        self._turn_requests: deque[TransactionalSender] = deque()
        self._checkpoint_interval = checkpoint_interval
        self._next_unwritten_check = 0.0

    def add(self, key: SessionKey, sender: TransactionalSender) -> None:
        self._senders[key] = sender
        self.request_turn(sender)

    def remove(self, key: SessionKey) -> None:
        """Remove a session that is settled or revoked."""
        self.request_turn(self._senders.pop(key))  # its memory is freed

    def request_turn(self, sender: TransactionalSender) -> None:
        self._turn_requests.append(sender)
        self.wake.set()

    def request_turns(self, senders: Iterable[TransactionalSender]) -> None:
        """Request turns without waking the thread, which makes the request."""
        self._turn_requests.extend(senders)

    def take_requests(self) -> list[TransactionalSender]:
        """Return the senders that asked so far: a later request waits for the poll that reports why."""
        return [self._turn_requests.popleft() for _ in range(len(self._turn_requests))]

    def all(self) -> tuple[TransactionalSender, ...]:
        return tuple(self._senders.values())

    @property
    def is_settled(self) -> bool:
        return not any(
            sender.session.in_flight.entries or sender.is_unwritten
            for sender in self.all()
            if not sender.session.is_revoked
        )

    def find_unwritten(self, present: Mapping[TransactionalSender, None], *, is_flush: bool) -> None:
        """Request turns for sessions outside of the ``present`` transaction whose checkpoint is not written."""
        now = monotonic()
        if now >= self._next_unwritten_check or is_flush:
            self._next_unwritten_check = now + self._checkpoint_interval
            self.request_turns(each for each in self.all() if each not in present and each.is_unwritten)

    def close_fast_paths(self) -> None:
        for sender in self.all():
            sender.handover.close_fast_path_and_wait()

    def resolve(self, found: Mapping[SessionKey, Checkpoint]) -> None:
        """Learn from the stored checkpoints whether a transaction was committed."""
        for key, sender in tuple(self._senders.items()):
            if not sender.resolve(found.get(key)):
                sender.restart(found.get(key))
            self.request_turn(sender)

    def free_memory(self) -> None:
        """Free what revoked sessions held (any thread, after the end of the shard's thread)."""
        while self._turn_requests:
            self._turn_requests.popleft().discard_if_revoked()


_SHARE = 5
"""An isolated transaction that fails may take a fifth of the time, one that succeeds half of it: the
others wait meanwhile."""
_LONGEST = 20.0
"""Seconds: a longer one waited for something else, for example a new producer."""


class IsolationQueue:
    """Isolated transactions and those of the other sessions alternate: neither starves the other.

    Thread rule: the shard's thread.
    """

    def __init__(self) -> None:
        self._waiting: dict[TransactionalSender, None] = {}
        self._not_before = 0.0
        self._has_just_tried = False

    def add(self, sender: TransactionalSender) -> None:
        self._waiting[sender] = None

    def next(self) -> TransactionalSender | None:
        """The session whose transaction is next; None: it is the turn of the others."""
        now = monotonic()
        one = None
        if not self._has_just_tried and now >= self._not_before:
            one = next((sender for sender in self._waiting if sender.handover.retry_at <= now), None)
        self._has_just_tried = one is not None
        if one is not None:
            del self._waiting[one]
        return one

    def note(self, began: float, *, has_helped: bool, has_others: bool) -> None:
        """An isolated transaction took from ``began`` until now.

        ``has_helped``: it moved its session's position, or it narrowed the search; ``has_others``: other sessions of
        the shard wait.
        """
        now = monotonic()
        if has_helped and not has_others:
            self._not_before = now
            return
        # It may have waited for a new producer as well, for as long as Kafka was away.
        took = min(now - began, _LONGEST)
        self._not_before = now + took * (1 if has_helped else _SHARE - 1)

    @property
    def rest(self) -> float:
        """Seconds until the next one may be due."""
        now = monotonic()
        return min((max(sender.handover.retry_at, self._not_before) - now for sender in self._waiting), default=inf)
