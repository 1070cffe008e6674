"""Exactly once: one transactional producer and one thread per shard, which commits every ``transaction_interval``.

Workers produce straight into the shard's open transaction. To end it, the shard's thread closes each session's fast
path, writes each session's position into the same transaction, commits, and opens the fast paths again: the commit
acknowledges everything. Events, dead letters, lifecycle records and checkpoints are in Kafka together or not at all, so
the transaction is the only barrier. Numbers never change: no consumer has read what was aborted.

What a crash leaves, by step:

- During ``init_transactions``: the former owner's open transaction is aborted, or the next owner's call aborts it.
- After that, before the claim: nothing visible; the next owner does both again.
- While records are produced: an open transaction. Consumers of committed records wait behind it until the next owner's
  ``init_transactions``, or until the brokers abort it after its time-out. The server sends its events again, from the
  position of the last commit.
- Between the checkpoints and the commit: the same.
- During the commit: the brokers have the request or not. If they have it, the transaction is committed before the next
  owner's ``init_transactions`` returns, and its restore finds the new checkpoints; if not, it is aborted, and the
  restore finds the old ones.
- Between the commit and the next transaction: nothing is lost, and no outcome is unknown.
- During an abort, a new producer or a read of the stored checkpoints: as while records are produced.

After a failure the memory is whole: what was aborted is sent again from there, and no stream is touched. If a commit or
an abort is not answered, a new producer calls ``init_transactions``, which settles the old transaction and fences what
may still arrive; the stored checkpoints then tell its outcome. A fenced producer, and one whose transaction the brokers
aborted for its age, get the same error: only a proof of membership shows whether the shard is still ours, and without
it ``init_transactions`` is never called again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from bridge.clock import monotonic
from bridge.core.durations import Durations
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.core.records.topics import SizeLimits
from bridge.delivery.checkpoint_writer import CheckpointWriter, OwnTopics
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import KafkaAnswers, Limits, OpenSessions, Reclaim, Waiting
from bridge.delivery.publisher import SessionPublisher
from bridge.delivery.session import Session
from bridge.delivery.shard_thread import ShardThread
from bridge.delivery.transactional_sender import TransactionalSender
from bridge.kafka.producer import IdempotentProducer
from bridge.kafka.transactional import TransactionalProducer

_HEARTBEAT_INTERVAL = 0.25
"""Seconds between two heartbeats."""
_HANGS = 120.0
"""Seconds without a turn after which a shard's thread counts as hanging: every wait for Kafka ends sooner."""


class ExactlyOnce:
    """Delivery of all sessions, with the methods of :class:`bridge.delivery.at_least_once.AtLeastOnce`.

    Thread rule: as there. Its own thread sends heartbeats while no shard's thread hangs.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its collaborators, given once
        self,
        make: Callable[[int], TransactionalProducer],
        make_probe: Callable[[], IdempotentProducer],
        topics: OwnTopics,
        sizes: SizeLimits,
        limits: Limits,
        reclaim: Reclaim,
        heartbeat: Callable[[], None],
        durations: Durations | None = None,
    ) -> None:
        """``make`` creates the producer of a shard, ``make_probe`` one that only asks whether Kafka answers."""
        self.sessions = OpenSessions(limits.max_buffer_bytes, self._closed)
        self.answers = KafkaAnswers(self._ask)
        self._durations = Durations() if durations is None else durations
        self._make = make
        self._make_probe = make_probe
        self._probe: IdempotentProducer | None = None
        self._topics = topics
        self._sizes = sizes
        self._limits = limits
        self._reclaim = reclaim
        self._heartbeat = heartbeat
        self._shards: dict[int, ShardThread] = {}
        self._leaving: list[ShardThread] = []
        self._is_stopping = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="delivery", daemon=True)

    @property
    def bug(self) -> Exception | None:
        return next((shard.bug for shard in self._threads() if shard.bug is not None), None)

    @property
    def waiting(self) -> Waiting:
        waiting = [shard.progress.waiting for shard in self._shards.copy().values()]
        return Waiting(max((each.seconds for each in waiting), default=0.0), any(each.is_throttled for each in waiting))

    def enter(self, lease: Lease, ready: Callable[[], None]) -> None:
        """Fence the former owner before the shard is read."""
        make, answered = partial(self._make, lease.shard), self.answers.note
        shard = self._shards[lease.shard] = ShardThread(
            lease, make, self._limits, self.sessions.budget, reclaim=self._reclaim, ready=ready, answered=answered
        )
        if self._is_stopping:
            shard.stop()
        shard.start()

    def open(
        self, key: SessionKey, encoder: Encoder, fingerprint: str, restored: Checkpoint | None, lease: Lease
    ) -> SessionPublisher:
        shard = self._shards[lease.shard]
        encoder.follow(self._sizes)
        session = Session(key, encoder, restored, self.sessions.budget, lease, self._durations.publish_of(key.server))
        present = shard.present
        answered = self.answers.note_checkpoint
        checkpoints = CheckpointWriter(session, fingerprint, restored, self._topics, present, answered)
        sender = TransactionalSender(session, checkpoints, present, shard.senders.request_turn)
        publisher = SessionPublisher(session, sender, self._limits.max_in_flight)
        self.sessions.add(publisher)
        shard.senders.add(key, sender)
        return publisher

    def _closed(self, publisher: SessionPublisher) -> None:
        self._shards[publisher.session.lease.shard].senders.remove(publisher.key)

    def flush(self, shard: int) -> None:
        if shard in self._shards:
            self._shards[shard].flush()

    def leave(self, lease: Lease) -> None:
        """Forget a shard; its thread aborts an open transaction."""
        lease.revoke()
        shard = self._shards.get(lease.shard)
        if shard is None or shard.lease is not lease:
            return
        self.sessions.revoke(lease.shard)
        shard.leave()
        del self._shards[lease.shard]
        self._leaving.append(shard)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping = True
        for shard in self._threads():
            shard.stop()

    def join(self, deadline: float) -> bool:
        if not all(shard.join(deadline) for shard in self._threads()):
            return False
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive() and not self.sessions.unsettled

    def abort(self) -> None:
        for shard in self._threads():
            shard.leave()
        self._ended.set()

    def _ask(self, timeout: float) -> bool:
        probe = self._probe = self._probe or self._make_probe()
        return probe.answers(self._topics.checkpoints, timeout)

    def rewrite_checkpoints(self, partitions: int) -> None:
        self.sessions.begin_again(partitions)
        self.renew_clients("the checkpoints topic is a new one")

    def renew_clients(self, why: str) -> None:
        self._probe = None
        for shard in self._threads():
            shard.renewal = why

    def _threads(self) -> list[ShardThread]:
        return [*self._shards.copy().values(), *self._leaving]

    def _watch(self) -> None:
        while not self._ended.wait(_HEARTBEAT_INTERVAL):
            now = monotonic()
            if all(now - shard.turned_at < _HANGS for shard in self._shards.copy().values()):
                self._heartbeat()
            self.sessions.budget.keeps_share = self.answers.are_recent
            for shard in [each for each in self._leaving if each.bug is None and each.join(now)]:
                shard.senders.free_memory()
                self._leaving.remove(shard)
            self.sessions.budget.wake()
