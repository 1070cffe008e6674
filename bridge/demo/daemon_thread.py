"""The unchanged bridge daemon on a thread of the demo's process."""

from __future__ import annotations

import threading

from bridge.clock import monotonic
from bridge.daemon.daemon import Daemon
from bridge.daemon.topics import watch_nothing
from bridge.errors import EXIT_OK, Unreachable
from bridge.kafka.topics import TopicLimits
from bridge.settings import Settings

_POLL_INTERVAL = 0.02


class DaemonThread:
    """Thread rule: one thread.

    A thread starts half a second earlier than a process. Only the demo gets Ctrl-C and then shuts the daemon down
    gracefully, and nothing remains when the demo is killed.
    """

    def __init__(self, settings: Settings, limits: TopicLimits) -> None:
        self._daemon = Daemon(settings, lambda *_: limits, watch_nothing)
        self._exit_code: int | None = None
        self.failure: Exception | None = None
        """Why it ended, unless it was stopped."""
        self._thread = threading.Thread(target=self._run, name="daemon", daemon=True)

    def start(self, timeout: float) -> int:
        """Start it and return the port of its HTTP endpoint. Raises the daemon's own error, or Unreachable."""
        self._thread.start()
        deadline = monotonic() + timeout
        while self._daemon.http_port is None:
            self._thread.join(_POLL_INTERVAL)
            if self.failure is not None:
                raise self.failure
            if monotonic() > deadline:
                raise Unreachable(f"the bridge did not start within {timeout:g} s")
        return self._daemon.http_port

    def _run(self) -> None:
        try:
            self._exit_code = self._daemon.run()
        except Exception as failure:  # noqa: BLE001 - the demo's thread raises it again
            self.failure = failure

    @property
    def is_well(self) -> bool:
        """Whether it runs, or has ended with everything delivered."""
        return self._thread.is_alive() or self._exit_code == EXIT_OK

    def stop(self) -> None:
        """Request a graceful shutdown; the second call, an immediate end."""
        self._daemon.stop()

    def join(self, deadline: float) -> bool:
        """Wait for its end until ``deadline`` (:func:`bridge.clock.monotonic`). Return whether it has ended."""
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()
