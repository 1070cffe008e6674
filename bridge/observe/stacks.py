"""The stacks of all threads, for a signal and for the support bundle."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
import traceback
from typing import Final

SHOWN_BY_INTERPRETER: Final = 100
"""Threads that the interpreter's own dump shows at most; it needs no thread that still runs Python."""


def write_on_signal() -> None:
    """On SIGUSR1, write all stacks to stderr, even if every thread is stuck in a lock. Call it on the main thread."""
    signal.signal(signal.SIGUSR1, _write_the_rest)
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)


def _write_the_rest(*_: object) -> None:
    """After the interpreter's own dump: with more threads than it shows, all of them, with their names."""
    if threading.active_count() > SHOWN_BY_INTERPRETER:
        sys.stderr.write(all_stacks())
        sys.stderr.flush()


def all_stacks() -> str:
    """The stacks of all threads by name, without the values of any variable (any thread)."""
    names = {each.ident: each.name for each in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - its documented name
        lines = "".join(traceback.format_list(traceback.StackSummary.extract(traceback.walk_stack(frame))[::-1]))
        parts.append(f"Thread {names.get(ident, ident)}:\n{lines}")
    return "\n".join(parts)
