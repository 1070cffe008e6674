"""The daemon as a process: its limits and its signals."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from bridge.daemon.daemon import Daemon
from bridge.daemon.limits import prepare_process
from bridge.daemon.reload import Reloading
from bridge.daemon.service import Notify
from bridge.observe.stacks import write_on_signal


def run(reloading: Reloading, notify: Notify, tell_port: Callable[[int], None] | None = None) -> int:
    """Run the daemon on the main thread until SIGTERM or SIGINT; returns the exit code. SIGHUP reloads the settings."""
    daemon = Daemon(reloading.loaded.settings, reloading=reloading, notify=notify, tell_port=tell_port)

    def stop(_number: int, _frame: FrameType | None) -> None:
        daemon.stop()

    def reload(_number: int, _frame: FrameType | None) -> None:
        daemon.reload()

    prepare_process()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
    write_on_signal()
    return daemon.run()
