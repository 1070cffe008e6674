"""Writes log lines on a thread of its own: no other thread ever waits for the reader of stderr.

A pipe that nobody reads takes 64 KiB, then a write to it never returns. With a handler that writes, each session would
stop at its next line, and so would the shutdown.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, TextIO

from bridge.clock import monotonic
from bridge.observe.repeats import RepeatLimiter

QUEUE_BYTES = 4 * 1024 * 1024
"""Characters of lines that wait for the stream: about 20,000 lines, or a minute of the busiest start."""
FLUSH_TIMEOUT = 2.0
"""Seconds that an exit waits for the stream to take the last lines."""
_REPORT_INTERVAL = 10.0
"""Seconds between two lines about dropped lines while the stream is too slow."""

RECENT_LINES = 1000
_LONGEST_RECENT = 2000
"""Characters: with ``RECENT_LINES`` at most 2 MB for the support bundle."""

Write = Callable[[str], None]


class LogWriter(logging.Handler):
    """A handler that never blocks: it queues each line, and its thread writes them.

    When ``QUEUE_BYTES`` wait, further lines are dropped and counted, and one line says so once the stream takes lines
    again. Repeated lines are limited (``RepeatLimiter``).

    Thread rule: any thread. The queue needs no lock that a destructor could find taken; the counts of queued and of
    dropped lines are changed under the handler's own lock, the others by the writing thread only.
    """

    def __init__(self, stream: TextIO | None, now: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._write = _write_to(stream)
        self._now = now
        self._repeats = RepeatLimiter()
        self._lines: queue.SimpleQueue[str | threading.Event | None] = queue.SimpleQueue()
        self._recent: deque[str] = deque(maxlen=RECENT_LINES)
        self._queued = self._taken = 0  # characters
        self._dropped = self._failed = 0  # lines
        self._reported = 0
        self._report_at = now()
        self._stuck_at: int | None = None
        self._is_closed = False
        # A daemon thread: it may wait for the stream for ever.
        self._thread: Final = threading.Thread(target=self._run, name="log", daemon=True)
        with suppress(RuntimeError):  # the system allows no thread at all: the daemon refuses to start for that
            self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written since the start."""
        return self._dropped + self._failed

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line. Called with the handler's lock held."""
        try:
            if self._repeats.admits(record, self._now()):
                self._put(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a line that cannot be formatted must not reach the caller
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's own signature
        """Write a line about a line that could not be formatted, without anything from it."""
        error = sys.exc_info()[0]
        self._put(f'{{"level": "error", "event": "a log line was lost", "why": "{error and error.__name__}"}}\n')

    def flush(self) -> None:
        """Wait until the lines logged so far are written, but no longer than ``FLUSH_TIMEOUT``.

        If the stream has taken nothing since another call timed out, this call does not wait.
        """
        if self._stuck_at == self._taken or not self._thread.is_alive():
            return
        written = threading.Event()
        self._lines.put(written)
        if not written.wait(FLUSH_TIMEOUT):
            self._stuck_at = self._taken

    def close(self) -> None:
        """End the thread once it has written everything. Can be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._lines.put(None)
        super().close()

    def recent(self) -> list[str]:
        """The last lines, also those that nobody has read (any thread)."""
        self.acquire()
        try:
            return list(self._recent)
        finally:
            self.release()

    def _put(self, line: str) -> None:
        self._recent.append(line if len(line) <= _LONGEST_RECENT else f"{line[:_LONGEST_RECENT]}...\n")
        if self._queued - self._taken + len(line) > QUEUE_BYTES:
            self._dropped += 1
            return
        self._queued += len(line)
        self._lines.put(line)

    # The thread

    def _run(self) -> None:
        while True:
            self._write_summaries()
            try:
                item = self._lines.get(timeout=self._until_next_summary())
            except queue.Empty:
                continue
            match item:
                case None:
                    return
                case str(line):
                    is_written = self._write_line(line)
                    self._taken += len(line)
                    if is_written:
                        self._report_dropped()
                case written:
                    self._write_summaries(all_kinds=True)
                    written.set()

    def _until_next_summary(self) -> float | None:
        at = self._repeats.next_at
        return None if at is None else max(0.0, at - self._now())

    def _write_summaries(self, *, all_kinds: bool = False) -> None:
        for record in self._repeats.due(self._now(), all_kinds=all_kinds):
            self._write_record(record)

    def _report_dropped(self) -> None:
        """Say how many lines were dropped, as soon as there is room again; seldom if that does not last."""
        count, now = self.dropped, self._now()
        has_room = self._queued - self._taken < QUEUE_BYTES // 2
        if count == self._reported or not has_room or now < self._report_at:
            return
        dropped, self._reported, self._report_at = count - self._reported, count, now + _REPORT_INTERVAL
        text = f"{dropped} log lines were dropped: the reader of stderr was too slow"
        self._write_record(logging.LogRecord("bridge.log", logging.WARNING, "", 0, text, None, None))

    def _write_record(self, record: logging.LogRecord) -> None:
        try:
            self._write_line(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - the thread must continue
            self._failed += 1

    def _write_line(self, line: str) -> bool:
        try:
            self._write(line)
        except (OSError, ValueError):  # its reader is gone, the disk is full, or it is closed
            self._failed += 1
            return False
        return True


def dropped_lines() -> int:
    """The log lines of this process that were not written."""
    return sum(each.dropped for each in logging.getLogger().handlers if isinstance(each, LogWriter))


def flush_logs() -> None:
    """Give the lines logged so far a moment to be written, before the process ends or prints something itself."""
    for each in logging.getLogger().handlers:
        each.flush()


def _write_to(stream: TextIO | None) -> Write:
    """How a line is written. For this process's own stderr, without Python's buffer.

    A thread that waits inside that buffer holds its lock, and an interpreter that exits meanwhile aborts.
    """
    if stream is None:
        return lambda _: None
    chosen: TextIO = stream
    if stream is sys.__stderr__:
        return lambda line: _write_all(chosen.fileno(), line.encode(chosen.encoding, "backslashreplace"))
    return lambda line: _write_through(chosen, line)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another program that shares the descriptor has made it non-blocking
            select.select([], [descriptor], [])


def _write_through(stream: TextIO, line: str) -> None:
    stream.write(line)
    stream.flush()


def recent_lines() -> list[str]:
    """The last lines of this process's log, as they were written."""
    writers = [each for each in logging.getLogger().handlers if isinstance(each, LogWriter)]
    return [line for each in writers for line in each.recent()]


class LineCounter(logging.Filter):
    """A filter that passes every line and counts it. Thread rule: any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()  # re-entrant: a destructor that runs while it is held may log
        self._counts: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        with self._lock:
            self._counts[record.levelname.lower()] += 1
        return True

    def snapshot(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._counts)


LINES = LineCounter()
"""Of this process: logging is global too, and ``bridge.observe.logs.configure`` may run again."""
