"""The daemon: everything put together, started, run and shut down."""

from __future__ import annotations

import gc
import os
import queue
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import TypeVar

from structlog.stdlib import get_logger

from bridge import __version__
from bridge.clock import monotonic, unix_ms
from bridge.core.identity import SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.snapshot import BridgeSnapshot, Replica
from bridge.daemon.guarantees import make_delivery
from bridge.daemon.limits import keep_stacks_small, raise_open_files, share_memory_among_threads
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.daemon.supervisor import Supervisor
from bridge.daemon.topic_watch import Follower, NoTopicWatch, TopicWatch
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Delivery
from bridge.errors import EXIT_FATAL, EXIT_OK, FatalFault, Stopped, Unreachable
from bridge.kafka.config import client_config
from bridge.kafka.topic_admin import TopicAdmin, prepare
from bridge.kafka.topics import TopicLimits
from bridge.kafka.transaction_trial import try_transactions
from bridge.observe.api import HttpEndpoint
from bridge.observe.health import KAFKA_LIMIT, Heartbeats
from bridge.settings import Settings
from bridge.settings.naming import trial_transactional_id
from bridge.sharding.coordinator import ShardCoordinator

log = get_logger("bridge.daemon")

_TICK = 0.5
"""Seconds between two looks at the sessions when nothing wakes the supervisor; also its beat."""
_QUICK_TICK = 0.025
"""While a shard is given up: another replica, and its sessions, wait for it."""
_REBALANCE = 60.0
"""Seconds beyond ``start_timeout`` in which the group must give out the shards: Kafka is there by then, but it waits
for its slowest member, a dead one included."""
_PROBE_AFTER = 3.0
"""Seconds without a word from Kafka after which it is asked something: ``/readyz`` wants an answer every 10 s."""
_PROBE_TIMEOUT = 1.0
_TRIAL = 3.0
"""Seconds for Kafka to let a transaction begin: only between two attempts is a signal heard."""
_RETRY_FIRST, _RETRY_LONGEST = 0.5, 5.0
"""Seconds between two attempts to reach Kafka at the start."""
_LEAVE = 2.0
"""Seconds of ``drain_timeout`` that are kept for the last words to the group."""

_COLLECT = (50_000, 20, 50)
"""Objects and turns between two searches for cycles. Records in flight are no cycles, but with Python's own 700 each of
them is looked at again and again: a tenth of all processor time at full speed."""

T = TypeVar("T")
Prepare = Callable[[Settings], TopicLimits]
Watch = Callable[[Settings, TopicLimits, Follower], TopicWatch | NoTopicWatch]


def prepare_topics(settings: Settings) -> TopicLimits:
    """Create or check the topics of a real Kafka, and see that it lets the bridge begin the transactions it is to."""
    config = client_config(settings.kafka, "mix-bridge")
    limits = prepare(settings, TopicAdmin(config))
    if settings.delivery.guarantee == "exactly_once":
        try_transactions(config, trial_transactional_id(settings.namespace), _TRIAL)
    return limits


def watch_topics(settings: Settings, limits: TopicLimits, follower: Follower) -> TopicWatch:
    """Watch the topics of a real Kafka."""
    return TopicWatch(settings, limits, TopicAdmin(client_config(settings.kafka, "mix-bridge")), follower)


def watch_nothing(_settings: Settings, limits: TopicLimits, _follower: Follower) -> NoTopicWatch:
    """Watch nothing: an embedded Kafka has no topic settings that could change."""
    return NoTopicWatch(limits.max_request_bytes)


class Daemon:
    """One bridge process.

    Thread rule: one thread calls ``run``; ``stop`` may come from any, signal handlers included.
    """

    def __init__(self, settings: Settings, prepare: Prepare = prepare_topics, watch: Watch = watch_topics) -> None:
        """Raises ``SettingsError`` when a file the settings name cannot be used."""
        self._settings = settings
        self._prepare = prepare
        self._watch = watch
        self._started_ms = unix_ms()
        self._budget_from = monotonic()
        self._signals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stops = 0
        self._kafka_is_silent = False
        self._heartbeats = Heartbeats()
        self._stall_detector = StallDetector()
        self._sources = {name: Source(name, settings) for name in settings.servers}
        self._delivery: Delivery | None = None
        self._supervisor: Supervisor | None = None
        self._share: ShardCoordinator | None = None
        self._has_begun = False
        self._topics: TopicWatch | NoTopicWatch = NoTopicWatch(0)
        self.http_port: int | None = None
        """Where the HTTP endpoint listens, from its start on."""
        token = settings.http.token
        self._http = (
            None
            if settings.http.port is None
            else HttpEndpoint(
                settings.http.host, settings.http.port, token.get_secret_value() if token else None, self.snapshot
            )
        )

    def stop(self) -> None:
        """Ask for an orderly stop; the second call asks to stop at once. Safe in a signal handler."""
        self._signals.put("stop")

    def run(self) -> int:
        """Bridge until a stop is asked for; returns the exit code. Raises ``BridgeError`` when it cannot start."""
        try:
            return self._run()
        except Exception:
            self._abandon()
            raise

    def _run(self) -> int:
        try:
            self._start()
            self._serve()
        except Stopped:
            log.info("stop asked for")
        except FatalFault:
            self._shut_down()  # in order: only a new start helps, but nothing is wrong with what was read
            raise
        return self._shut_down()

    # Start

    def _start(self) -> None:
        settings = self._settings
        if self._http is not None:
            self.http_port = self._http.start()
        limits = self._insist(lambda: self._prepare(settings))
        self._topics = NoTopicWatch(limits.max_request_bytes)
        for warning in limits.warnings:
            log.warning("topic", setting=warning.key, warning=warning.message)
        self._delivery = delivery = self._make_delivery(limits)
        delivery.last_answer = monotonic()
        delivery.start()
        count = limits.checkpoint_partitions
        self._supervisor = Supervisor(self._sources, count, delivery, self._stall_detector, self._look)
        self._supervisor.start()
        self._share = share = ShardCoordinator(
            settings, count, delivery, self._supervisor, self._heartbeats.beat, self._look
        )
        self._topics = self._watch(settings, limits, share)
        self._topics.start()
        share.start()

    def _look(self) -> None:
        self._signals.put("look")

    def _insist(self, attempt: Callable[[], T]) -> T:
        """Try until it works, a stop is asked for, or the start budget is used up."""
        delay = _RETRY_FIRST
        while True:
            try:
                return attempt()
            except Unreachable as error:
                if self._budget_is_used_up():
                    raise
                log.warning("Kafka is not ready: trying again", detail=str(error), again_in=delay)
            self._wait_for_signal(delay)
            delay = min(2 * delay, _RETRY_LONGEST)

    def _budget_is_used_up(self, more: float = 0.0) -> bool:
        budget = self._settings.start_timeout
        return budget > 0 and monotonic() - self._budget_from > budget + more

    def _make_delivery(self, limits: TopicLimits) -> Delivery:
        def limit() -> int:
            return self._topics.max_request_bytes

        return make_delivery(self._settings, limits.checkpoint_partitions, limit, self._reclaim, self._beat_of_delivery)

    def _reclaim(self, lease: Lease) -> Mapping[SessionKey, Checkpoint]:
        if self._share is None:
            raise AssertionError("no shard before there is a share")
        return self._share.reclaim(lease)

    def _beat_of_delivery(self) -> None:
        self._heartbeats.beat("delivery")
        self._stall_detector.beat()

    # Run

    def _serve(self) -> None:
        supervisor, delivery, share = self._supervisor, self._delivery, self._share
        if supervisor is None or delivery is None or share is None:
            raise AssertionError("not started")
        if self._stop_is_asked_for():
            raise Stopped  # before the first tick, which starts all sessions
        while True:
            self._heartbeats.beat("supervisor")
            self._raise_bug()
            share.tick()
            self._note_start(share)
            supervisor.tick()
            self._ask_kafka(delivery)
            self._keep_budget(supervisor, share)
            self._wait_for_signal(_QUICK_TICK if share.is_leaving or supervisor.is_behind else _TICK)

    def _note_start(self, share: ShardCoordinator) -> None:
        if self._has_begun or not share.has_begun:
            return
        self._has_begun = True
        share.note_start()
        self._budget_from = monotonic()  # the servers' own: what Kafka and the restore took is not their delay
        log.info(
            "started", version=__version__, namespace=self._settings.namespace,
            checkpoints=share.restored, shards=len(share.snapshot().shards),
        )  # fmt: skip

    def _keep_budget(self, supervisor: Supervisor, share: ShardCoordinator) -> None:
        if not self._has_begun and self._budget_is_used_up(_REBALANCE):
            raise Unreachable(
                f"Kafka: not ready within start_timeout and {_REBALANCE:g} s for the group to share the shards:"
                f" {share.connection_failure()} (start_timeout=0 waits for ever)"
            )
        if self._has_begun and not supervisor.wants_any:
            self._budget_from = monotonic()  # a replica without sessions asks nobody; once it has some, the time begins
        asks_in_vain = self._has_begun and supervisor.wants_any and not supervisor.any_reached()
        if asks_in_vain and self._budget_is_used_up():
            raise Unreachable(
                f"no server answered within start_timeout: {', '.join(self._settings.servers)}"
                " (servers.<name>.url; start_timeout=0 waits for ever)"
            )

    def _ask_kafka(self, delivery: Delivery) -> None:
        if delivery.last_answer is None or monotonic() - delivery.last_answer > _PROBE_AFTER:
            delivery.kafka_answers(_PROBE_TIMEOUT)
        silence = 0.0 if delivery.last_answer is None else monotonic() - delivery.last_answer
        if (silence > KAFKA_LIMIT) != self._kafka_is_silent:
            self._kafka_is_silent = not self._kafka_is_silent
            if self._kafka_is_silent:
                log.warning("Kafka does not answer: what is read waits in memory, tried for ever", silent_for=silence)
            else:
                log.info("Kafka answers again")

    def _wait_for_signal(self, seconds: float) -> None:
        with suppress(queue.Empty):
            self._note(self._signals.get(timeout=seconds))
        self._take_signals()
        if self._stops:
            raise Stopped

    def _stop_is_asked_for(self) -> bool:
        self._take_signals()
        return self._stops > 0

    def _take_signals(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._note(self._signals.get_nowait())

    def _note(self, what: str) -> None:
        self._stops += what == "stop"

    # Shutdown: readers first, then what is in memory, then the last checkpoints

    def _shut_down(self) -> int:
        deadline = monotonic() + self._settings.delivery.drain_timeout
        clean = self._drain(deadline)
        self._topics.stop()
        self._topics.join(monotonic() + 1.0)
        if self._http is not None:
            self._http.stop()
            self._http.join(monotonic() + 1.0)
        if clean:
            log.info("stopped: everything read is delivered and checkpointed")
            return EXIT_OK
        log.error(
            "stopped before everything was delivered: what is missing is read again at the next start",
            setting="delivery.drain_timeout",
        )
        return EXIT_FATAL

    def _drain(self, deadline: float) -> bool:
        supervisor, delivery, share = self._supervisor, self._delivery, self._share
        if supervisor is None or delivery is None or share is None:
            return True
        supervisor.stop()
        share.stop(deadline - _LEAVE)
        has_left = self._await(share.join, deadline)
        delivery.stop()
        clean = self._await(delivery.join, deadline) and not share.left_undelivered
        if not has_left:
            share.abort()
        if not clean:
            delivery.abort()
        share.close(monotonic() + 1.0)
        return clean

    def _await(self, join: Callable[[float], bool], deadline: float) -> bool:
        """Wait in slices, so that a second signal is heard."""
        while not join(min(deadline, monotonic() + 0.1)):
            self._heartbeats.beat("supervisor")
            self._raise_bug()
            self._take_signals()
            if self._stops > 1 or monotonic() > deadline:
                return False
        return True

    def _raise_bug(self) -> None:
        """What ended the delivery thread ends the process: it would read on, and deliver nothing for ever."""
        if self._delivery is not None and self._delivery.bug is not None:
            raise self._delivery.bug

    def _abandon(self) -> None:
        """Nothing more is handed over; what is not delivered is read again."""
        if self._supervisor is not None:
            self._supervisor.stop()
        if self._share is not None:
            self._share.leave(monotonic() + _LEAVE)
        if self._delivery is not None:
            self._delivery.abort()

    # What is told

    def snapshot(self) -> BridgeSnapshot:
        """The daemon at this moment (any thread)."""
        supervisor, delivery = self._supervisor, self._delivery
        answered = delivery.last_answer if delivery else None
        sessions = supervisor.sessions() if supervisor else ()
        return BridgeSnapshot(
            version=__version__,
            namespace=self._settings.namespace,
            started_at_ms=self._started_ms,
            restored=self._has_begun,
            buffer_bytes=delivery.budget.held if delivery else 0,
            buffer_limit=self._settings.delivery.max_buffer_bytes,
            checkpoints_written=delivery.checkpoints_written if delivery else 0,
            kafka_last_answer_age=None if answered is None else monotonic() - answered,
            delivers=delivery is None or delivery.bug is None,
            sessions=sessions,
            servers=supervisor.servers() if supervisor else {},
            loops=self._heartbeats.ages(),
            topics=self._topics.snapshot(),
            replica=self._share.snapshot() if self._share else Replica(),
        )


def run(settings: Settings) -> int:
    """Run the daemon on this, the main, thread until SIGTERM or SIGINT; returns the exit code."""
    daemon = Daemon(settings)

    def stop(_number: int, _frame: FrameType | None) -> None:
        daemon.stop()  # only a SimpleQueue.put: anything with a lock can deadlock in a signal handler

    gc.set_threshold(*_COLLECT)
    share_memory_among_threads()
    keep_stacks_small()
    raise_open_files()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    code = daemon.run()
    if code != EXIT_OK:
        # Threads of Kafka clients and readers may still wait for somebody who does not answer: nothing they could do
        # now is worth waiting for, and an exit that hangs is worse.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
