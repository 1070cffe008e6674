"""The stacks of all threads, for a signal and for the support bundle."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

_READER_TIMEOUT: Final = 0.5
"""Seconds that a reader has to take the next part."""
_PIPE_BYTES: Final = 1024 * 1024
"""The largest pipe that Linux allows to users."""


def write_on_signal(then: Callable[[], None] = lambda: None) -> None:
    """On SIGUSR1, write all stacks to stderr, also while the main thread is stuck. Call it on the main thread.

    A thread writes them, because a handler only runs when the main thread next runs Python. It holds the interpreter
    lock while it reads the stacks: ``faulthandler`` reads them without it, which crashed processes whose other threads
    ran. What does not fit into an unread pipe is left out. ``then`` is called on the main thread.
    """
    descriptor = _never_waiting(sys.__stderr__)
    if descriptor is None:
        return
    received, wakeup = os.pipe()
    os.set_blocking(wakeup, False)

    def write() -> None:
        while numbers := os.read(received, select.PIPE_BUF):
            if signal.SIGUSR1 in numbers:
                _write(descriptor, all_stacks().encode(errors="backslashreplace"))

    with suppress(RuntimeError):  # the system allows no thread at all: the daemon refuses to start for that
        threading.Thread(target=write, name="stacks", daemon=True).start()
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    signal.signal(signal.SIGUSR1, lambda *_: then())


def _never_waiting(stream: TextIO | None) -> int | None:
    """A descriptor of the same file on which a write never waits; stderr itself where that is impossible (a socket).

    A flag of stderr itself would be seen by all processes that share it, so the file is opened again. A pipe is
    enlarged, so that the stacks fit.
    """
    try:
        own = -1 if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
    if own < 0:
        return None
    try:
        descriptor = os.open(f"/proc/self/fd/{own}", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    except OSError:
        return own
    with suppress(AttributeError, OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    with suppress(OSError):
        while data and ready.poll(_READER_TIMEOUT * 1000):
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]


def all_stacks() -> str:
    """The stacks of all threads by name, the last call last, without the values of any variable (any thread)."""
    names = {each.ident: each.name for each in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - its documented name
        lines = "".join(traceback.format_list(traceback.StackSummary.extract(traceback.walk_stack(frame))[::-1]))
        parts.append(f"Thread {names.get(ident, ident)}:\n{lines}")
    return "\n".join(parts)
