"""Restores what ``bridge.observe.logs.configure`` changes in the process of the tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from bridge.observe import logs
from bridge.observe.log_writer import LogWriter


@contextmanager
def restored_logging() -> Iterator[None]:
    """Restore handlers, levels and structlog, and end the writing thread."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs._LEAST_LEVELS}
    yield
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    for handler in root.handlers:
        if isinstance(handler, LogWriter):
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)
