"""The log levels of a running process: that of the settings, and others for a limited time."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from structlog.stdlib import get_logger

from bridge import clock
from bridge.observe.logs import set_level

LEVELS: Final = ("debug", "info", "warning", "error")
LOGGER: Final = re.compile(r"bridge(\.[a-z_]+)*")
"""Loggers whose level may be changed: those of the bridge, in whose lines secrets are masked."""
DEFAULT_SECONDS: Final = 600.0
MOST_SECONDS: Final = 86_400.0

log = get_logger("bridge.logs")


class LevelChange(NamedTuple):
    """A level for a limited time."""

    level: str
    logger: str | None = None
    """None: all loggers."""
    seconds: float = DEFAULT_SECONDS


class LogLevels:
    """Thread rule: any thread; the main thread calls ``expire``."""

    def __init__(self, level: str, now: Callable[[], float] = clock.monotonic) -> None:
        """``level``: that of the settings, which is in effect already."""
        self._now = now
        self._lock = threading.Lock()
        self._level = level
        self._changes: dict[str | None, tuple[str, float]] = {}

    @property
    def level(self) -> str:
        return self._level

    def follow_settings(self, level: str) -> None:
        """The settings have this level from now on; a level for a limited time stays until its end."""
        with self._lock:
            self._level = level
            if None not in self._changes:
                set_level(level)

    def change(self, change: LevelChange) -> None:
        """Set a level that falls back by itself."""
        with self._lock:
            self._changes[change.logger] = (change.level, self._now() + change.seconds)
            _set(change.logger, change.level)
        log.warning("log level changed", level=change.level, of=change.logger or "all", seconds=change.seconds)

    def expire(self) -> None:
        """Return to the settings' level where the time is over."""
        now = self._now()
        with self._lock:
            over = [logger for logger, (_, until) in self._changes.items() if until <= now]
            for logger in over:
                del self._changes[logger]
                _set(logger, self._level if logger is None else None)
        for logger in over:
            log.warning("log level is that of the settings again", level=self._level, of=logger or "all")


def _set(logger: str | None, level: str | None) -> None:
    if logger is not None:
        logging.getLogger(logger).setLevel(logging.NOTSET if level is None else level.upper())
    elif level is not None:
        set_level(level)
