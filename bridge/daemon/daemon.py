"""The daemon: start, main loop, shutdown."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from structlog.stdlib import get_logger

from bridge import __version__
from bridge.clock import Backoff, monotonic, unix_ms
from bridge.core.snapshot import BridgeSnapshot
from bridge.daemon.capacity import Reserve, read_fit
from bridge.daemon.endpoint import http_endpoint, server_tls
from bridge.daemon.pipeline import Pipeline, make_pipeline
from bridge.daemon.reload import Parts, Reloader, Reloading, kafka_contents
from bridge.daemon.schema_ids import SchemaIds
from bridge.daemon.service import Notify, Service, SignalQueue
from bridge.daemon.source import Source
from bridge.daemon.start_budget import StartBudget
from bridge.daemon.supervisor import TICK
from bridge.daemon.topics import Prepare, Watch, prepare_topics, watch_topics
from bridge.errors import EXIT_FATAL, EXIT_OK, FatalFault, Stopped, Unreachable
from bridge.kafka.client_properties import ClientProperties
from bridge.kafka.statistics import librdkafka_version
from bridge.observe.health import Heartbeats, Verdict, moving
from bridge.observe.log_levels import LogLevels
from bridge.observe.log_writer import LINES, dropped_lines
from bridge.settings import Loaded, Settings
from bridge.settings.naming import settings_sha256
from bridge.settings.quotes import quoted_secrets

log = get_logger("bridge.daemon")

_URGENT_TICK = 0.025
"""While a shard is released: another replica, and its sessions, wait for it."""
_KAFKA_RETRY = Backoff(0.5, 5.0)
"""Seconds between two attempts to reach Kafka at the start."""
_CLOSE = 1.0
"""Seconds to wait for the HTTP endpoint at shutdown."""

T = TypeVar("T")


class Daemon:
    """One bridge process.

    Thread rule: one thread calls ``run``; ``stop`` and ``snapshot`` are for any thread, ``stop`` for signal handlers.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the settings, and what the demo, a worker and tests replace
        self,
        settings: Settings,
        prepare: Prepare = prepare_topics,
        watch: Watch = watch_topics,
        reloading: Reloading | None = None,
        notify: Notify | None = None,
        tell_port: Callable[[int], None] | None = None,
    ) -> None:
        """``tell_port`` gets the port of the HTTP endpoint in a worker, whose parent asks there.

        Raises ``SettingsError`` when a file that the settings name cannot be used.
        """
        self._tell_port = tell_port
        reloading = reloading or Reloading.never(Loaded(settings, {}))
        self._settings = settings
        self._prepare = prepare
        self._watch = watch
        self._started_ms = unix_ms()
        self._build = {
            "version": __version__, "python": platform.python_version(), "librdkafka": librdkafka_version(),
        }  # fmt: skip
        self._settings_sha256 = settings_sha256(settings)
        self._budget = StartBudget(settings.start_timeout)
        self._signals = SignalQueue()
        self._heartbeats = Heartbeats()
        self._schema_ids = SchemaIds(settings)
        self._sources = {name: Source(name, settings, self._schema_ids.found) for name in settings.servers}
        self._pipeline: Pipeline | None = None
        self._kafka_failure: str | None = None
        """Why Kafka was not ready at the last attempt of the start."""
        self._has_started = False
        self.http_port: int | None = None
        """The port of the HTTP endpoint once it listens."""
        self._levels = LogLevels(settings.log.level)
        tls = server_tls(settings)
        self._http = http_endpoint(settings, self.snapshot, self.liveness, self._levels, tls)
        tokens = None if self._http is None else self._http.tokens
        self._clients = ClientProperties(settings.kafka, kafka_contents(reloading.loaded))
        parts = Parts(self._levels, self._sources, self._clients, tokens, tls, self._renew_clients)
        self._reloader = Reloader(reloading, parts)
        self._service = Service(notify or Notify(None), self.snapshot)

    def stop(self) -> None:
        """Ask for a graceful shutdown; the second call asks for an immediate one. Safe in a signal handler."""
        self._signals.stop()

    def reload(self) -> None:
        """Ask for a reload of the settings. Safe in a signal handler."""
        self._signals.reload()

    def _renew_clients(self) -> None:
        if self._pipeline is not None:
            self._pipeline.renew_clients()

    def run(self) -> int:
        """Bridge until a stop is requested; returns the exit code. Raises ``BridgeError`` when it cannot start."""
        try:
            return self._run()
        except Exception:
            if self._pipeline is not None:
                self._pipeline.abort()
            raise

    def _run(self) -> int:
        try:
            self._main_loop(self._start())
        except Stopped:
            log.info("stop requested: shutting down")
        except FatalFault:
            self._shut_down()  # gracefully: only a restart helps, but what was read can be delivered
            raise
        return self._shut_down()

    def _start(self) -> Pipeline:
        settings = self._settings
        for warning in quoted_secrets(settings):
            log.warning("setting", setting=warning.key, warning=warning.message)
        read_fit(Reserve.of(settings, settings.topics.shards, brokers=1)).require()  # before any other thread
        if self._http is not None:
            self.http_port = self._http.start(is_worker=self._tell_port is not None)
            if self._tell_port is not None:
                self._tell_port(self.http_port)
        self._schema_ids.start()
        limits = self._retry(lambda: self._prepare(settings, self._clients))
        for warning in limits.warnings:
            log.warning("topic", setting=warning.key, warning=warning.message)
        pipeline = self._pipeline = make_pipeline(
            settings, self._clients, limits, self._sources, self._heartbeats, self._watch, self._signals.wake
        )
        pipeline.start()
        return pipeline

    def _main_loop(self, pipeline: Pipeline) -> None:
        self._wait(0.0)  # a stop ends it before the first tick, which starts all sessions
        while True:
            self._heartbeats.record("supervisor")
            pipeline.tick()
            self._check_start(pipeline)
            self._wait(_URGENT_TICK if pipeline.is_urgent else TICK)

    def _shut_down(self) -> int:
        """Stop the readers, deliver what is in memory, write the last checkpoints."""
        self._service.stopping()
        deadline = monotonic() + self._settings.delivery.drain_timeout
        is_delivered = self._pipeline is None or self._pipeline.drain(deadline, self._wait_for)
        if self._http is not None:
            self._http.stop()
            self._http.join(monotonic() + _CLOSE)
        self._schema_ids.stop()
        if is_delivered:
            log.info("stopped: everything read is delivered and checkpointed")
            return EXIT_OK
        log.error(
            "stopped before everything was delivered: the rest is read again at the next start",
            setting="delivery.drain_timeout",
        )
        return EXIT_FATAL

    def _retry(self, attempt: Callable[[], T]) -> T:
        """Retry until it works, a stop is requested, or the start budget is used up."""
        failures = 0
        while True:
            try:
                return attempt()
            except Unreachable as error:
                if self._budget.is_used_up():
                    raise
                self._kafka_failure = str(error)
                delay = _KAFKA_RETRY.delay(failures)
                log.warning("Kafka is not ready: retrying", detail=str(error), retry_in=delay, limited=True)
            self._wait(delay)
            failures += 1

    def _check_start(self, pipeline: Pipeline) -> None:
        coordinator = pipeline.coordinator
        if not self._has_started and coordinator.has_started:
            self._has_started = True
            self._budget.restart()  # the servers' own time: Kafka and the restore are not their delay
            log.info(
                "started", version=__version__, namespace=self._settings.namespace,
                checkpoints=coordinator.restored, shards=len(coordinator.snapshot().shards),
            )  # fmt: skip
        if self._has_started:
            self._budget.check_servers(self._sources.values(), asked=pipeline.supervisor.asks_servers)
        else:
            self._budget.check_shards(coordinator.connection_failure)

    def _wait(self, seconds: float) -> None:
        self._service.turn(self._loops(), self._session_count(), is_ready=self._has_started)
        self._signals.wait(seconds)
        if self._signals.stops:
            raise Stopped
        if self._signals.take_reload():
            self._service.reloading()
            self._reloader.reload()
            if self._pipeline is not None:
                self._pipeline.supervisor.shards.refusals.retry()
            self._service.reloaded()
        self._reloader.turn()
        self._levels.expire()

    def _wait_for(self, join: Callable[[float], bool], deadline: float) -> bool:
        """Wait for one step of the shutdown, in slices, so that a second stop is noticed."""
        while not join(min(deadline, monotonic() + 0.1)):
            self._heartbeats.record("supervisor")
            self._service.turn(self._loops(), self._session_count())
            if self._signals.take_reload():
                log.warning("settings not reloaded: the process is shutting down")
            if self._pipeline is not None:
                self._pipeline.raise_bug()
            if self._signals.stops > 1 or monotonic() > deadline:
                return False
        return True

    def _loops(self) -> dict[str, float]:
        """The ages of all heartbeats, for /livez and for the service manager's watchdog."""
        ages = self._heartbeats.ages()
        return ages if self._pipeline is None else {**ages, "sessions": self._pipeline.supervisor.readers.age}

    def liveness(self) -> Verdict:
        """Whether all loops move. A probe must not wait until a starved process has looked at thousands of sessions."""
        return moving(self._loops(), self._session_count())

    def _session_count(self) -> int:
        return 0 if self._pipeline is None else self._pipeline.supervisor.session_count

    def snapshot(self) -> BridgeSnapshot:
        pipeline, settings, now = self._pipeline, self._settings, monotonic()
        starting = BridgeSnapshot(
            version=__version__,
            namespace=settings.namespace,
            started_at_ms=self._started_ms,
            restored=self._has_started,
            buffer_bytes=0,
            buffer_limit=settings.delivery.max_buffer_bytes,
            checkpoints_written=0,
            kafka_last_answer_age=None,
            kafka_failure=self._kafka_failure,
            loops=self._loops(),
            taken_at_ms=unix_ms(),
            build=self._build,
            settings_sha256=self._settings_sha256,
            log_lines=LINES.snapshot(),
            certificates=self._reloader.certificates,
            taken_at=now,
            log_lines_dropped=dropped_lines(),
        )
        if pipeline is None:
            return starting
        delivery, answered_at = pipeline.delivery, pipeline.delivery.answers.last
        waiting = delivery.waiting
        return replace(
            starting,
            buffer_bytes=delivery.sessions.budget.held,
            checkpoints_written=delivery.sessions.checkpoints_written,
            kafka_last_answer_age=None if answered_at is None else now - answered_at,
            waits_for=waiting.seconds,
            is_throttled=waiting.is_throttled,
            kafka_failure=pipeline.coordinator.kafka_failure,
            delivers=delivery.bug is None,
            sessions=pipeline.supervisor.sessions(now),
            session_capacity=pipeline.supervisor.capacity.fit.sessions,
            servers=pipeline.supervisor.servers(),
            topics=() if pipeline.topics is None else pipeline.topics.snapshot(),
            replica=pipeline.coordinator.snapshot(),
            last_checkpoint_ms=delivery.answers.last_checkpoint_ms,
            durations=pipeline.measurements.durations.snapshot(),
            kafka_clients=pipeline.measurements.producers.snapshot(),
        )
