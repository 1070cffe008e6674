"""The bridge itself, as it is, on a thread of the demo's process."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bridge.clock import monotonic
from bridge.daemon.daemon import Daemon
from bridge.daemon.topics import watch_nothing
from bridge.errors import EXIT_OK, Unreachable
from bridge.kafka.topics import TopicLimits
from bridge.settings import Settings

_LOOK = 0.02


class DaemonThread:
    """Thread rule: one thread.

    A thread and not a process: it is there half a second earlier, Ctrl-C reaches the demo alone, which then stops it in
    good order, and nothing can be left behind when the demo is killed.
    """

    def __init__(self, settings: Settings, prepare_ground: Callable[[Settings], TopicLimits]) -> None:
        self._daemon = Daemon(settings, prepare_ground, watch_nothing)
        self._code: int | None = None
        self.failure: Exception | None = None
        """Why it ended, if not because it was asked to."""
        self._thread = threading.Thread(target=self._run, name="daemon", daemon=True)

    def start(self, patience: float) -> int:
        """Start it; the port of its HTTP endpoint. Raises what kept it from starting, or Unreachable."""
        self._thread.start()
        deadline = monotonic() + patience
        while self._daemon.http_port is None:
            self._thread.join(_LOOK)
            if self.failure is not None:
                raise self.failure
            if monotonic() > deadline:
                raise Unreachable(f"the bridge did not start within {patience:g} s")
        return self._daemon.http_port

    def _run(self) -> None:
        try:
            self._code = self._daemon.run()
        except Exception as failure:  # noqa: BLE001 - the demo's own thread raises it again
            self.failure = failure

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    @property
    def is_well(self) -> bool:
        """Whether it runs, or has ended with everything delivered."""
        return self.runs or self._code == EXIT_OK

    def stop(self) -> None:
        """Ask for its orderly stop; the second call asks for its end at once."""
        self._daemon.stop()

    def join(self, deadline: float) -> bool:
        """Wait for its end until ``deadline``, by :func:`bridge.clock.monotonic`; whether it has come."""
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()
