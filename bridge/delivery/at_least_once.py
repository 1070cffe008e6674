"""At least once: one idempotent producer, one thread that polls it, one queue of batches per session.

Crash points: before a batch is acknowledged no checkpoint covers it, so a restart reads its events again and gives them
the same numbers. After that the timer writes only positions that are acknowledged. A first position and a new epoch are
acknowledged before their first record is produced (:class:`bridge.core.entries.CheckpointBarrier`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import Backoff, monotonic
from bridge.core.durations import Durations
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.encoder import Encoder
from bridge.core.records.topics import SizeLimits
from bridge.delivery.checkpoint_writer import CheckpointSchedule, CheckpointWriter, OwnTopics
from bridge.delivery.idempotent_sender import IdempotentSender
from bridge.delivery.lease import Lease
from bridge.delivery.producers import Place, Producers, TopicIds
from bridge.delivery.protocol import KafkaAnswers, Limits, OpenSessions, Waiting
from bridge.delivery.publisher import EpochLimits, SessionPublisher
from bridge.delivery.session import Session
from bridge.kafka.producer import IdempotentProducer, Role

log = get_logger("bridge.delivery")

_POLL = 0.025
"""Seconds of one wait for reports: a first position waits at most this long before it is sent."""
_STALL = 5.0
"""Seconds between two turns after which the process stalled: its shards may have other owners by now."""
_REPLACE_BACKOFF = Backoff(0.1, 10.0)
"""Seconds between two new sets of producers: a cluster that ends each at once must not be flooded. An acknowledgement
resets the back-off."""
_DRAIN = 1.0
"""Seconds that producers which have not failed get for the reports of what is under way, before they are replaced."""


class AtLeastOnce:
    """Delivery of all sessions: implements :class:`bridge.delivery.protocol.ShardDelivery`.

    Thread rule: what that protocol has is the supervisor's; the daemon's main thread starts and ends it; everything
    after ``_run`` is the delivery thread's, and publishers belong to their workers.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its collaborators, given once
        self,
        make_producer: Callable[[Role], IdempotentProducer],
        topics: OwnTopics,
        sizes: SizeLimits,
        topic_ids: TopicIds,
        limits: Limits,
        heartbeat: Callable[[], None],
        durations: Durations | None = None,
    ) -> None:
        """``make_producer`` creates a producer for a role; each turn and acknowledgement calls ``heartbeat``."""
        self.sessions = OpenSessions(limits.max_buffer_bytes, self._closed)
        self.answers = KafkaAnswers(lambda timeout: self._producers.checkpoints.answers(topics.checkpoints, timeout))
        self.bug: Exception | None = None
        """The exception that ended the delivery thread: nothing is delivered any more."""
        self._producers = Producers(
            make_producer, self.sessions.budget, lambda: (topics.checkpoints, *topics.counts.by_topic), heartbeat
        )
        self._replace_at, self._replaced = 0.0, 0
        self._topics = topics
        self._sizes = sizes
        self._topic_ids = topic_ids
        self._limits = limits
        self._heartbeat = heartbeat
        self._durations = Durations() if durations is None else durations
        self._senders: dict[SessionKey, IdempotentSender] = {}
        self._renewal: str | None = None  # set by any thread, as the next
        self._drain_until: float | None = None  # nothing is produced until then, or until all is reported
        self._turn_requests: deque[IdempotentSender] = deque()  # by any thread: they need a turn
        self._answered: list[IdempotentSender] = []  # by the reports of this poll
        self._waiting: dict[IdempotentSender, None] = {}  # in the order of their calls
        self._flushed: frozenset[int] = frozenset()
        self._stopping = threading.Event()
        self._aborted = threading.Event()
        self._checkpoint_schedule = CheckpointSchedule(limits.checkpoint_interval)
        self._turned_at, self._stalled_at = inf, -inf
        self._leases: dict[int, Lease] = {}
        self._lost: Mapping[Place, float] | None = None  # where replaced producers were introduced
        self._suspended: frozenset[Lease] = frozenset()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def enter(self, lease: Lease, ready: Callable[[], None]) -> None:  # noqa: ARG002 - part of the protocol
        ready()

    def open(
        self, key: SessionKey, encoder: Encoder, fingerprint: str, restored: Checkpoint | None, lease: Lease
    ) -> SessionPublisher:
        def answered() -> None:
            self.answers.note_checkpoint()
            self._durations.commit.observe(monotonic() - checkpoints.produced_at)
            sender.note_answer()

        encoder.follow(self._sizes)
        self._leases = {**self._leases, lease.shard: lease}
        session = Session(key, encoder, restored, self.sessions.budget, lease, self._durations.publish_of(key.server))
        checkpoints = CheckpointWriter(
            session, fingerprint, restored, self._topics, lambda: self._producers.checkpoints, answered
        )
        sender = IdempotentSender(
            session, checkpoints, self._producers, self._turn_requests.append, self._answered.append
        )
        publisher = SessionPublisher(session, sender, self._limits.max_in_flight, EpochLimits(encoder))
        self._senders[key] = sender
        self.sessions.add(publisher)
        sender.handover.request_turn()  # the delivery thread opens the fast path
        return publisher

    def _closed(self, publisher: SessionPublisher) -> None:
        del self._senders[publisher.key]

    def flush(self, shard: int) -> None:
        self._flushed |= {shard}

    def leave(self, lease: Lease) -> None:
        lease.revoke()
        self._flushed -= {lease.shard}
        self._leases = {shard: each for shard, each in self._leases.items() if each is not lease}
        self.sessions.revoke(lease.shard)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end: the records in memory are delivered, and the last checkpoints are written."""
        self._stopping.set()

    def join(self, deadline: float) -> bool:
        """Wait until all is delivered, by the clock of :func:`bridge.clock.monotonic`; False after the deadline."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive() and not self.sessions.unsettled

    def abort(self) -> None:
        """Abandon records that are not delivered yet; their events are read again after the next start."""
        self._aborted.set()

    @property
    def waiting(self) -> Waiting:
        return self._producers.progress.waiting

    def renew_clients(self, why: str) -> None:
        """Use new producers, for other limits or partitions of the topics, or other certificates (any thread)."""
        self._renewal = why

    def rewrite_checkpoints(self, partitions: int) -> None:
        """At once: a shard that is being released must not count as settled before its positions are written again."""
        self.sessions.begin_again(partitions)
        # The client looks for new partitions of a known topic every five minutes only, and produces nothing to them.
        self.renew_clients("the checkpoints topic is a new one")

    # The delivery thread

    def _run(self) -> None:
        try:
            while not self._aborted.is_set():
                self.turn()
                if self._stopping.is_set() and not self.sessions.unsettled:
                    return
        except Exception as bug:  # noqa: BLE001 - the main thread raises it: a thread's own death would go unnoticed
            self.bug = bug

    def turn(self) -> None:
        """Run one turn: run reports, send what waits, write checkpoints."""
        self._note_stall(monotonic())
        awaits_checkpoint = any(sender.awaits_checkpoint for sender in self._waiting)
        self._producers.poll(_POLL, awaits_checkpoint=awaits_checkpoint, sessions=len(self._senders))
        self._note_stall(monotonic())  # the thread spends most of its time in the poll, so most stalls fall into it
        self._note_suspension()
        if has_answers := bool(self._answered):  # the result of poll also counts errors about lost connections
            self.answers.note()
            self._replaced = 0
            for sender in self._answered:
                sender.advance()
            self._checkpoint_schedule.note_moved(self._answered)
            self._answered.clear()
        waits = any(sender.session.may_hand_over for sender in self._waiting)  # others wait for the group
        if stuck := self._producers.check_progress(monotonic(), has_answers=has_answers, waits=waits):
            self._renewal = stuck  # never None here: another thread may have set it just now
        self._replace_if_fatal()
        if self._producers.fatal is None and self._drain_until is None and self._has_sorted_out():
            self._resend()
        self.sessions.budget.keeps_share = self.answers.are_recent
        self.sessions.budget.wake()
        self._checkpoint_schedule.write_due(
            monotonic(), tuple(self._senders.values()), self._flushed, self._may_go, is_stopping=self._stopping.is_set()
        )

    def _resend(self) -> None:
        while self._turn_requests:
            self._waiting[self._turn_requests.popleft()] = None
        waiting = [sender for sender in self._waiting if not (self._may_go(sender) and sender.resend())]
        # The session that had the isolation producer waits behind the others for it.
        self._waiting = dict.fromkeys(sorted(waiting, key=lambda sender: sender.handover.piece is not None))

    def _note_stall(self, now: float) -> None:
        self._heartbeat()
        if now - self._turned_at > _STALL:
            self._stalled_at = now
            self._close_fast_paths()
        self._turned_at = now

    def _note_suspension(self) -> None:
        """Membership was lost: what waits in the client must not be written behind another owner's checkpoints."""
        suspended = frozenset(lease for lease in self._leases.values() if lease.is_suspended)
        if suspended - self._suspended:
            self._producers.replace_checkpoints()
            for sender in tuple(self._senders.values()):
                sender.lose_checkpoints()
        self._suspended = suspended

    def _may_go(self, sender: IdempotentSender) -> bool:
        """After a stall only sessions whose lease is proved: another process may have their shards."""
        lease, now = sender.session.lease, monotonic()
        self._note_stall(now)  # a turn of thousands of sessions takes long on a slow machine, which is no stall
        return lease.is_over or lease.is_proven_within(now - self._stalled_at)  # one that is over frees its memory

    def _replace_if_fatal(self) -> None:
        fatal, renewal = self._producers.fatal, self._renewal
        if (fatal is None and renewal is None) or monotonic() < self._replace_at:
            return
        if fatal is None and not self._is_drained():
            return
        self._drain_until = self._renewal = None  # new producers follow the topics as they are now
        if fatal is None:
            log.warning("using new producers", reason=renewal)
        else:
            log.error("A Kafka producer failed for good: sending again from memory with a new one", error=fatal)
        self._close_fast_paths()  # a record produced meanwhile would overtake what is lost
        self._lost = self._producers.introduced if self._lost is None else self._lost
        self._producers.replace()
        self._topic_ids.ask()
        self._replace_at = monotonic() + _REPLACE_BACKOFF.delay(self._replaced)
        self._replaced += 1

    def _is_drained(self) -> bool:
        """Whether all that was produced is reported, or had time for it: the rest goes to the topics as they are now.

        Where partitions were added, it is then in two partitions, and a consumer of the second one takes it again.
        """
        if self._drain_until is None:
            self._drain_until = monotonic() + _DRAIN
            self._close_fast_paths()
        return not self._producers.events.outstanding or monotonic() >= self._drain_until

    def _close_fast_paths(self) -> None:
        for sender in tuple(self._senders.values()):
            sender.handover.close_fast_path_and_wait()

    def _has_sorted_out(self) -> bool:
        """Whether all records of replaced producers wait again; never waits for the topics' ids: that were a stall."""
        if self._lost is not None and self._topic_ids.is_answered:
            recreated = self._topic_ids.recreated()
            for sender in tuple(self._senders.values()):
                sender.lose_producers(recreated, self._lost)
            self._lost = None
        return self._lost is None
