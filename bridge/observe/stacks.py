"""The stacks of all threads, for a signal and for the support bundle."""

from __future__ import annotations

import faulthandler
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

SHOWN_BY_INTERPRETER: Final = 100
"""Threads that the interpreter's own dump shows at most; it needs no thread that still runs Python."""

_READER_TIMEOUT: Final = 0.5
"""Seconds that a reader has to take the next part."""
_PIPE_BYTES: Final = 1024 * 1024
"""The largest pipe that Linux allows to users."""


def write_on_signal(then: Callable[[], None] | None = None) -> None:
    """On SIGUSR1, write all stacks to stderr, even if every thread is stuck in a lock. Call it on the main thread.

    The handler runs on the main thread, so it must not wait for the reader of stderr: what does not fit is left out.
    ``then`` is called in it at the end.
    """
    descriptor = _never_waiting(sys.__stderr__)
    if descriptor is None:
        return

    def write_the_rest(*_: object) -> None:
        """After the interpreter's own dump: with more threads than it shows, all of them, with their names."""
        if threading.active_count() > SHOWN_BY_INTERPRETER:
            _write(descriptor, all_stacks().encode(errors="backslashreplace"))
        if then is not None:
            then()

    signal.signal(signal.SIGUSR1, write_the_rest)
    faulthandler.register(signal.SIGUSR1, file=descriptor, all_threads=True, chain=True)


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
    """The stacks of all threads by name, without the values of any variable (any thread)."""
    names = {each.ident: each.name for each in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - its documented name
        lines = "".join(traceback.format_list(traceback.StackSummary.extract(traceback.walk_stack(frame))[::-1]))
        parts.append(f"Thread {names.get(ident, ident)}:\n{lines}")
    return "\n".join(parts)
