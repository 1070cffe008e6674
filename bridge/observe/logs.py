"""Logs: structlog over the standard library's logging, to stderr. Only ``cli`` sets them up.

Every other module logs like this::

    from structlog.stdlib import get_logger

    log = get_logger("bridge.daemon")

    log.warning("cannot connect", server="local", session="42", error=str(error))

The message is a constant, and what varies goes into keys. A line with the key ``session`` is written at most once per
event, server, reason and interval, with a count (``bridge.observe.repeats``). ``limited=True`` does so for others.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TextIO, cast
from urllib.parse import quote

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, format_exc_info
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from bridge.clock import rfc3339
from bridge.core.terminal_text import visible
from bridge.observe.log_writer import LINES, LogWriter

LogFormat = Literal["console", "json"]

MASK = "**********"

SHORTEST_SECRET = 4
"""A shorter secret is part of ordinary words: masking it would spoil every line, and show what it is."""
DEEPEST = 8
"""Nesting of values beyond which a line shows dots; a value that contains itself would have no end."""

_LEAST_LEVELS = {"urllib3": logging.WARNING, "uvicorn": logging.ERROR, "asyncio": logging.WARNING}
"""urllib3 logs every retry and connection; uvicorn warns of every malformed request, so anybody could fill the log."""


def configure(
    level: str,
    log_format: LogFormat | None = None,
    secrets: Collection[str] = (),
    stream: TextIO | None = None,
) -> Redaction:
    """Send the logs of this process to ``stream`` (default: stderr) in this format, from this level on.

    ``log_format`` None: ``console`` on a terminal, else ``json``. ``secrets`` are masked wherever they appear in a
    line. Called once, by ``cli``; a second call replaces the first. Logging a line never raises and never waits for the
    stream: see ``LogWriter``.
    """
    out = sys.stderr if stream is None else stream
    is_terminal = _is_terminal(out)
    chosen = log_format or ("console" if is_terminal else "json")
    renderers = (
        _console(colors=is_terminal and "NO_COLOR" not in os.environ) if chosen == "console" else [JSONRenderer()]
    )
    handler = LogWriter(out)
    handler.addFilter(LINES)
    redaction = Redaction(secrets)
    handler.setFormatter(ProcessorFormatter(processors=[_own_keys_first, redaction, *renderers]))
    root = logging.getLogger()
    former, root.handlers[:] = root.handlers[:], [handler]
    for each in former:
        if isinstance(each, LogWriter):
            each.flush()  # nothing else waits for its lines: a later flush is for the new handler only
            each.close()
    set_level(level)
    logging.captureWarnings(capture=True)
    structlog.configure(
        # The formatter does the work inside the logging handler: an error there cannot reach the caller.
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # loggers are made at import, before this call, and a second call must count
    )
    return redaction


def set_level(level: str) -> None:
    """Write lines from this level on (any thread)."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name, least in _LEAST_LEVELS.items():
        logging.getLogger(name).setLevel(max(least, root.level))


class Redaction:
    """A processor that reduces a line to text, numbers, lists and mappings, and masks known secrets in each text.

    It is the last defence, for secrets that are not in a secret type any more. Thread rule: any thread.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._spellings: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these too: former secrets may still be in a line, and valid elsewhere."""
        long_enough = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        # As it is, as in a URL, and as in the repr of an object that contains it. The longest comes first, because one
        # secret may be the beginning of another.
        self._spellings |= {form for each in long_enough for form in (each, quote(each, safe=""), repr(each)[1:-1])}
        ordered = sorted(self._spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, _: object, __: str, line: EventDict) -> EventDict:
        return cast("EventDict", self._plain(line))

    def _plain(self, value: object, depth: int = 0) -> object:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)  # JSON has no infinity
        if depth > DEEPEST:
            return "..."
        if isinstance(value, Mapping):
            return {self.masked(str(key)): self._plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(each, depth + 1) for each in value]
        return self.masked(repr(value) if isinstance(value, bytes | BaseException) else str(value))

    def masked(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def _console(*, colors: bool) -> list[Processor]:
    renderer = ConsoleRenderer(colors=colors, pad_event_to=0, sort_keys=False, exception_formatter=plain_traceback)
    return [_visible_line, renderer]


def _visible_line(_: object, __: str, line: EventDict) -> EventDict:
    """Escape each character that could move the cursor, and indent the blocks of lines that may follow the first.

    ConsoleRenderer prints ``exception`` and ``stack`` as they are: without this, a line of an error's text could look
    like a log line. It prints other values that are not text with ``repr``, which escapes them.
    """
    blocks = {
        key: "\n".join(f"    {visible(each)}" for each in str(line.pop(key)).splitlines())
        for key in ("exception", "stack")
        if key in line
    }
    return {visible(key): visible(value) if isinstance(value, str) else value for key, value in line.items()} | blocks


def _own_keys_first(_: object, name: str, line: EventDict) -> EventDict:
    """The line with its own four keys first; a caller's key of the same name does not replace them."""
    record: logging.LogRecord = line.pop("_record")
    del line["_from_structlog"]
    own = {
        "timestamp": rfc3339(int(record.created * 1000)),
        "level": record.levelname.lower(),
        "event": line.pop("event"),
        "logger": record.name,
    }
    if hasattr(record, "client"):  # a line of librdkafka: what its client is for
        own["client"] = record.client
    return format_exc_info(None, name, own | dict(line) | own)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False
