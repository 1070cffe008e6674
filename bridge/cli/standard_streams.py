"""Standard streams that are closed or that nobody reads: how a command starts, prints its last error and ends."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TextIO

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_READER_TIMEOUT = 1.0
"""Seconds that the reader of stderr has to take the next part of an error."""
_PART = select.PIPE_BUF
"""A pipe that is ready takes this many bytes without waiting."""


def open_missing() -> None:
    """Open ``/dev/null`` in place of each that is closed; before any other file is opened.

    Otherwise the first connections of the process get these numbers, and a line that the Kafka client or the
    interpreter writes to standard error would get into a stream of Kafka's protocol.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for ever
            setattr(sys, f"__{name}__", getattr(sys, name))


def print_error(message: str) -> None:
    """Print a message to stderr, after the log lines so far. Given up when its reader takes nothing for a second."""
    stderr: TextIO | None = sys.stderr
    if not message or stderr is None:
        return
    _flush_logs()
    is_own = stderr is sys.__stderr__
    if not is_own:  # replaced: by a test, or by the demo's screen
        stderr.write(f"{message}\n")
        return
    # Without Python's buffer, which would be flushed again at exit, without a timeout.
    descriptor, data = stderr.fileno(), f"{message}\n".encode(stderr.encoding, "backslashreplace")
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    with suppress(OSError, ValueError):  # its reader is gone, or it is closed
        while data and ready.poll(_READER_TIMEOUT * 1000):
            data = data[os.write(descriptor, data[:_PART]) :]


def exit_at_once(code: int) -> NoReturn:
    """End the process without waiting for its threads or for a reader of its output; log lines have a moment."""
    _flush_logs()
    os._exit(code)


def exit_if_unread(code: int, is_noticed: Callable[[], bool], seconds: int = 5) -> None:
    """End the process after a while, unless it has noticed the signal that is being handled.

    For signal handlers that only tell the main thread: it may wait for a reader of stdout, for ever.
    """

    def ring(_number: int, _frame: object) -> None:
        if not is_noticed():
            os._exit(code)

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)


def _flush_logs() -> None:
    if "bridge.observe.log_writer" in sys.modules:  # otherwise nothing was logged, and importing it would take time
        from bridge.observe.log_writer import flush_logs

        flush_logs()
