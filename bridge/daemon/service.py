"""What the process and its surroundings tell each other: signals, and systemd's notifications (``sd_notify(3)``).

The notifications say when the bridge is ready, that it is alive, and what it is doing.
"""

from __future__ import annotations

import os
import queue
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from bridge.clock import monotonic
from bridge.core.snapshot import BridgeSnapshot
from bridge.observe.health import moving, readiness

_SEND: Final = 0.5
"""Seconds that a message may take while the manager's queue is full."""
_INTERVAL: Final = 1.0
"""Seconds between two messages at most: the watchdog of the units is 30 s."""
_STATUS_INTERVAL: Final = 5.0
"""Seconds between two looks at all sessions for the status line."""
_EXTENSION: Final = 30.0
"""Seconds by which a start or a shutdown is extended, each time: a process that hangs is ended after this time."""


class Notify:
    """Sends messages to the service manager; nothing happens without one. Never raises. Any thread."""

    def __init__(self, address: str | None) -> None:
        """``address``: of the manager's socket, an abstract one with ``@``; None or empty: there is no manager."""
        self._address = "\0" + address[1:] if address and address[0] == "@" else address or ""

    @property
    def is_on(self) -> bool:
        """Whether there is a service manager."""
        return bool(self._address)

    def send(self, **values: object) -> bool:
        """Send one message of ``NAME=value`` lines; False if it was not taken: the manager restarts, or is busy."""
        if not self.is_on:
            return False
        text = "\n".join(f"{name}={value}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND)
                sender.sendto(text.encode(), self._address)
        except OSError:
            return False
        return True

    def send_reloading(self) -> bool:
        """A reload begins; READY must follow."""
        return self.send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


class Phase(Enum):
    """What the service manager waits for."""

    STARTING = auto()
    RUNNING = auto()
    STOPPING = auto()


class Service:
    """Decides what to send. Thread rule: the main thread."""

    def __init__(
        self, notify: Notify, snapshot: Callable[[], BridgeSnapshot], now: Callable[[], float] = monotonic
    ) -> None:
        self._notify = notify
        self._snapshot = snapshot
        self._now = now
        self._phase = Phase.STARTING
        self._sent_at = self._looked_at = -_EXTENSION

    def turn(self, ages: Mapping[str, float], sessions: int = 0, *, is_ready: bool = False) -> None:
        """Call it at least once a second.

        ``ages``: of the heartbeats; a stuck loop stops the watchdog. ``sessions``: how many run.
        """
        now, becomes_ready = self._now(), is_ready and self._phase is Phase.STARTING
        if not self._notify.is_on or (now - self._sent_at < _INTERVAL and not becomes_ready):
            return
        values: dict[str, object] = {}
        if becomes_ready:
            values["READY"] = 1
        if moving(ages, sessions).ok:
            values["WATCHDOG"] = 1
            if self._phase is not Phase.RUNNING and not becomes_ready:
                values["EXTEND_TIMEOUT_USEC"] = round(_EXTENSION * 1_000_000)
        if becomes_ready or now - self._looked_at >= _STATUS_INTERVAL:
            self._looked_at, values["STATUS"] = now, status_line(self._snapshot())
        self._sent_at = now
        if values and self._notify.send(**values) and becomes_ready:
            self._phase = Phase.RUNNING

    def stopping(self) -> None:
        """The shutdown begins."""
        self._phase = Phase.STOPPING
        self._notify.send(STOPPING=1, STATUS="shutting down: delivering what was read")

    def reloading(self) -> None:
        """A reload begins; ``reloaded`` must follow."""
        if self._phase is Phase.RUNNING:
            self._notify.send_reloading()

    def reloaded(self) -> None:
        """The reload is over."""
        if self._phase is Phase.RUNNING:
            self._notify.send(READY=1)


def status_line(snapshot: BridgeSnapshot) -> str:
    """One line for ``systemctl status``: how many sessions stream, and the checks of ``/readyz`` that fail."""
    streaming = sum(each.state == "streaming" for each in snapshot.sessions)
    failing = [check.name for check in readiness(snapshot).checks if not check.ok]
    trouble = f"; not ready: {', '.join(failing)}" if failing else ""
    owned = sum(each.stage == "owned" for each in snapshot.replica.shards)
    return f"{streaming} of {len(snapshot.sessions)} sessions stream, {owned} shards owned{trouble}"


def notify_of(environ: Mapping[str, str] = os.environ) -> Notify:
    """The service manager of this process, as its environment names it."""
    return Notify(environ.get("NOTIFY_SOCKET"))


class Request(Enum):
    """One request to the main thread."""

    STOP = auto()
    RELOAD = auto()
    WAKE = auto()


class SignalQueue:
    """Thread rule: ``stop``, ``reload`` and ``wake`` are for any thread and signal handlers, the rest for the main one.

    It is a ``SimpleQueue`` because anything with a lock of its own, as ``Event.set``, can deadlock in a signal handler.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._stops = 0
        self._reloads = 0

    def stop(self) -> None:
        self._requests.put(Request.STOP)

    def reload(self) -> None:
        self._requests.put(Request.RELOAD)

    def wake(self) -> None:
        self._requests.put(Request.WAKE)

    def wait(self, seconds: float) -> None:
        with suppress(queue.Empty):
            self._note(self._requests.get(timeout=seconds))

    @property
    def stops(self) -> int:
        self._drain()
        return self._stops

    def take_reload(self) -> bool:
        """Whether a reload was asked for since the last call: several requests are one."""
        self._drain()
        reloads, self._reloads = self._reloads, 0
        return reloads > 0

    def _drain(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._note(self._requests.get_nowait())

    def _note(self, request: Request) -> None:
        self._stops += request is Request.STOP
        self._reloads += request is Request.RELOAD
