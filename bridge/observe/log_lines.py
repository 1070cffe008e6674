"""Counts the lines of the log by level."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping


class LineCounter(logging.Filter):
    """A filter that passes every line and counts it. Thread rule: any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()  # re-entrant: a destructor that runs while it is held may log
        self._counts: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Count the line and pass it."""
        with self._lock:
            self._counts[record.levelname.lower()] += 1
        return True

    def snapshot(self) -> Mapping[str, int]:
        """Lines by level since the start."""
        with self._lock:
            return dict(self._counts)


LINES = LineCounter()
"""Of this process: logging is global too, and ``bridge.observe.logs.configure`` may run again."""
