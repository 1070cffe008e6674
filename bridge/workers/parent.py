"""The parent: starts the workers, starts those that ended again, forwards signals, and serves one endpoint for all."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from structlog.stdlib import get_logger

from bridge import __version__
from bridge.clock import monotonic, unix_ms
from bridge.daemon.endpoint import server_tls
from bridge.daemon.reload import Parts, Reloader, Reloading
from bridge.daemon.service import Notify, SignalQueue
from bridge.errors import EXIT_FATAL, EXIT_OK
from bridge.kafka.client_properties import ClientProperties
from bridge.observe.api import HttpEndpoint
from bridge.observe.log_levels import LogLevels
from bridge.observe.metrics.of_bridge import Seats
from bridge.observe.stacks import write_on_signal
from bridge.settings.values import plain
from bridge.workers.endpoint import application, own_status
from bridge.workers.process import GiveUp, Slot, StartAgain, WorkerProcess
from bridge.workers.queries import Health, HealthChecks, Place, Workers

log = get_logger("bridge.workers")

_TICK: Final = 0.25
"""Seconds: how soon the end of a worker is noticed, where no signal wakes the parent."""
_HANGS: Final = 30.0
"""Seconds without a good answer of ``/livez`` after which a worker that listened is killed."""
_RETRY: Final = 5.0
"""Seconds before a process that could not be started is tried again."""
_GRACE: Final = 5.0
"""Seconds beyond ``drain_timeout`` after which a worker that does not end is killed."""
_STOPPED: Final = frozenset({EXIT_OK, -signal.SIGTERM})
"""Exit codes of workers that stopped as asked: one that was still starting had no handler, and had read nothing."""
_EXTENSION: Final = 30_000_000
"""Microseconds by which the service manager waits longer, each time."""


class Parent:
    """Thread rule: one thread calls ``run``; ``show_stacks`` is for signal handlers."""

    def __init__(
        self, reloading: Reloading, arguments: Sequence[str], environ: Mapping[str, str], notify: Notify
    ) -> None:
        """``arguments``: of the parent's command line. Raises ``SettingsError``."""
        settings = self._settings = reloading.loaded.settings
        self._arguments = arguments
        self._environ = {
            name: value for name, value in environ.items() if name not in {"NOTIFY_SOCKET", "WATCHDOG_PID"}
        }
        self._notify = notify
        self.signals = SignalQueue()
        """For signal handlers."""
        self._slots = [Slot(number) for number in range(1, settings.workers + 1)]
        self._moved_at = monotonic()
        self._notified_at = 0.0
        self._was_ready = False
        self._levels = LogLevels(settings.log.level)
        self._endpoint = self._make_endpoint(reloading)

    def _make_endpoint(self, reloading: Reloading) -> HttpEndpoint | None:
        http, tls = self._settings.http, server_tls(self._settings)
        token = plain(http.token)
        port = 0 if http.port is None else http.port
        endpoint = HttpEndpoint(
            http.host, port, token, _no_snapshot, self._levels, None if tls is None else tls.context
        )
        clients = ClientProperties(self._settings.kafka)
        parts = Parts(self._levels, {}, clients, endpoint.tokens, tls, lambda: None)
        self._reloader = Reloader(reloading, parts)
        self._workers = Workers(self._places, endpoint.tokens.valid)
        self._health_checks = HealthChecks(self._workers)
        own = partial(own_status, self._settings, unix_ms())
        endpoint.instead = application(
            self._workers, own, lambda: monotonic() - self._moved_at, self._seats, self._levels, endpoint.tokens
        )
        return None if http.port is None else endpoint

    def show_stacks(self) -> None:
        """Ask the workers for the stacks of their threads: those that listen have the handler."""
        for _, process in self._running():
            if process.port is not None:
                process.send(signal.SIGUSR1)

    def run(self) -> int:
        """Supervise until a stop is requested; returns the exit code."""
        if self._endpoint is not None:
            self._endpoint.start()
        log.info("starting workers", workers=len(self._slots), version=__version__)
        code = EXIT_OK
        while not self.signals.stops and code == EXIT_OK:
            self._moved_at = monotonic()
            code = self._turn()
            self.signals.wait(_TICK)
        code = self._shut_down(code)
        if self._endpoint is not None:
            self._endpoint.stop()
            self._endpoint.join(monotonic() + 1.0)
        return code

    def _turn(self) -> int:
        """One turn; returns the exit code with which the parent must end, or 0."""
        code = EXIT_OK
        for ended in self._reap():
            code = self._ended(*ended) or code
        now = monotonic()
        for slot in self._slots:
            if slot.process is None and now >= slot.start_at and code == EXIT_OK:
                self._start(slot)
            elif slot.process is not None and slot.process.read_port() and slot.wants_reload:
                slot.process.send(signal.SIGHUP)
        if self.signals.take_reload():
            self._reload()
        self._reloader.turn()
        self._levels.expire()
        if health := self._health_checks.next(now):
            self._judge(health, now)
        self._tell(now)
        return code

    # Processes

    def _start(self, slot: Slot) -> None:
        try:
            slot.process = WorkerProcess.start(self._settings, self._arguments, slot.number, self._environ)
        except OSError as error:  # no memory, or the system allows no more processes: the other workers continue
            slot.start_at = monotonic() + _RETRY
            log.error("cannot start a worker: trying again", worker=slot.number, error=str(error), retry_in=_RETRY)  # noqa: TRY400 - the message says it all
            return
        slot.starts += 1
        slot.fails_since, slot.is_ready, slot.wants_reload = None, False, False
        log.info("worker started", worker=slot.number, pid=slot.process.pid, starts=slot.starts)

    def _reap(self) -> list[tuple[Slot, WorkerProcess, int]]:
        """Collect all ended children, also those of others: the first process of a container must.

        Returns the workers among them with their exit codes.
        """
        ended: list[tuple[Slot, WorkerProcess, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            for slot, process in self._running():
                if process.pid == pid:
                    process.close()
                    slot.process, slot.is_ready = None, False
                    ended.append((slot, process, os.waitstatus_to_exitcode(status)))

    def _ended(self, slot: Slot, process: WorkerProcess, code: int) -> int:
        seconds = monotonic() - process.started_at
        decision, slot.lives = slot.lives.ended(code, seconds)
        match decision:
            case GiveUp(final):
                log.error("a worker cannot run: shutting down all", worker=slot.number, exit_code=code, after=seconds)
                return final
            case StartAgain(delay):
                slot.start_at = monotonic() + delay
                log.error(
                    "a worker ended: starting it again",
                    worker=slot.number,
                    exit_code=code,
                    after=seconds,
                    start_in=delay,
                )
        return EXIT_OK

    def _running(self) -> list[tuple[Slot, WorkerProcess]]:
        return [(each, each.process) for each in self._slots if each.process is not None]

    def _reload(self) -> None:
        if self._was_ready:
            self._notify.send_reloading()
        self._reloader.reload()
        for slot, process in self._running():
            if process.port is None:
                slot.wants_reload = True
            else:
                process.send(signal.SIGHUP)
        if self._was_ready:
            self._notify.send(READY=1)

    def _shut_down(self, code: int) -> int:
        """Stop all workers gracefully; the second request, or the time limit, ends them."""
        self._notify.send(STOPPING=1)
        deadline = monotonic() + self._settings.delivery.drain_timeout + _GRACE
        codes: list[int] = []
        was_hurried = False
        for _, process in self._running():
            process.send(signal.SIGTERM)
        while self._running() and monotonic() < deadline:
            self._moved_at = monotonic()
            if self.signals.stops > 1 and not was_hurried:
                was_hurried = True
                for _, process in self._running():
                    process.send(signal.SIGTERM)
            codes += [each for _, _, each in self._reap()]
            self._notify.send(EXTEND_TIMEOUT_USEC=_EXTENSION, WATCHDOG=1)
            if self._running():
                self.signals.wait(_TICK)
        for _, process in self._running():
            process.send(signal.SIGKILL)
            codes.append(EXIT_FATAL)
        if code != EXIT_OK:
            return code
        return EXIT_OK if _STOPPED.issuperset(codes) else EXIT_FATAL

    # Health

    def _judge(self, health: Health, now: float) -> None:
        """Kill a worker that hangs: the others, and this process, continue."""
        for slot, process in self._running():
            slot.is_ready = slot.is_ready or slot.number in health.restored
            hangs_for = slot.looked(now, is_well=process.port is None or slot.number in health.alive)
            if hangs_for > _HANGS:
                log.error(
                    "a worker hangs: killing it", worker=slot.number, pid=process.pid, hangs_for=round(hangs_for, 1)
                )
                process.send(signal.SIGKILL)

    def _tell(self, now: float) -> None:
        """Tell the service manager: ready once all workers are, alive while this loop moves."""
        becomes_ready = not self._was_ready and all(each.is_ready for each in self._slots)
        if not self._notify.is_on or (now - self._notified_at < 1.0 and not becomes_ready):
            return
        self._notified_at = now
        running = len(self._running())
        values: dict[str, object] = {"WATCHDOG": 1, "STATUS": f"{running} of {len(self._slots)} workers run"}
        if becomes_ready:
            values["READY"] = 1
        elif not self._was_ready:
            values["EXTEND_TIMEOUT_USEC"] = _EXTENSION
        if self._notify.send(**values) and becomes_ready:
            self._was_ready = True

    # Any thread

    def _seats(self) -> Seats:
        return {each.number: (each.process is not None, max(0, each.starts - 1)) for each in self._slots}

    def _places(self) -> list[Place]:
        return [Place(each.number, each.process.port if each.process is not None else None) for each in self._slots]


def _no_snapshot() -> Any:  # noqa: ANN401 - never called
    raise AssertionError("the parent has no snapshot of its own")


def run(reloading: Reloading, arguments: Sequence[str], notify: Notify) -> int:
    """Supervise the workers on the main thread until SIGTERM or SIGINT; returns the exit code."""
    parent = Parent(reloading, arguments, os.environ, notify)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: parent.signals.stop())  # the second one asks for an immediate stop
    signal.signal(signal.SIGHUP, lambda *_: parent.signals.reload())
    signal.signal(signal.SIGCHLD, lambda *_: parent.signals.wake())
    write_on_signal(parent.show_stacks)
    return parent.run()
