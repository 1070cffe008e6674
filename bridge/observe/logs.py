"""Logs: structlog, through the standard library's logging, to stderr. Set up by ``cli`` alone.

The one idiom everywhere else, at the top of a module::

    from structlog.stdlib import get_logger

    _log = get_logger("bridge.daemon")

    _log.warning("cannot connect", server="local", session="42", error=str(error))

The message is a constant, what varies goes into keys; ``event`` is not a free key (it is the message's own).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, TextIO, cast
from urllib.parse import quote

import structlog
from structlog.typing import EventDict

from bridge.clock import rfc3339

LogFormat = Literal["console", "json"]

MASK = "**********"

# A shorter secret is a syllable of ordinary words: to mask it would spoil every line, and show what it is.
SHORTEST_SECRET = 4

# A value nested deeper than this is no log value; one that contains itself would have no end.
DEEPEST = 8

# urllib3 tells every retry and new connection; uvicorn warns of every malformed request, so that a stranger could fill
# the log. Their errors stay.
_QUIETER = {"urllib3": logging.WARNING, "uvicorn": logging.ERROR, "asyncio": logging.WARNING}

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}

_OWN = ("timestamp", "level", "event", "logger")

_BARE = re.compile(r"[^\s='\"\\]+")

Renderer = Callable[[object, str, EventDict], str]


def configure(
    level: str,
    log_format: LogFormat | None = None,
    secrets: Collection[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send the logs of this process to ``stream`` (default: stderr), in this format, from this level on.

    ``log_format`` ``None``: ``console`` on a terminal, else ``json``. ``secrets`` are masked wherever they turn up in a
    line. Call it once, from ``cli``; a second call replaces the first. Writing a line never raises.
    """
    out = sys.stderr if stream is None else stream
    terminal = _is_terminal(out)
    chosen = log_format or ("console" if terminal else "json")
    render = console_renderer(colours=terminal and "NO_COLOR" not in os.environ) if chosen == "console" else _json
    handler = _LineStream(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[_ordered, Redaction(secrets), render]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(capture=True)
    structlog.configure(
        # All real work is done by the formatter, inside the logging handler: an error there cannot reach the caller.
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # loggers are made at import, before this call; and a second call must count
    )


class Redaction:
    """A processor that leaves nothing but text, numbers, lists and mappings in a line, and no known secret in any text.

    The last line of defence, for what slipped through the secret types. Thread rule: any thread.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        # As it is, as a URL spells it, and as the repr of some object around it does; the longest first, since one
        # secret may be the beginning of another.
        spellings = {form for each in long_enough for form in (each, quote(each, safe=""), repr(each)[1:-1])}
        ordered = sorted(spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, _: object, __: str, line: EventDict) -> EventDict:
        """Return the line as plain values without the secrets."""
        return cast("EventDict", self._plain(line))

    def _plain(self, value: object, depth: int = 0) -> object:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)  # JSON has no infinity
        if depth > DEEPEST:
            return "..."
        if isinstance(value, Mapping):
            return {self._masked(str(key)): self._plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(each, depth + 1) for each in value]
        return self._masked(repr(value) if isinstance(value, bytes | BaseException) else str(value))

    def _masked(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def console_renderer(*, colours: bool) -> Renderer:
    """A renderer of lines for people, in which nothing can move the cursor or pretend to be another line."""

    def paint(code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colours else text

    def render(_: object, __: str, line: EventDict) -> str:
        timestamp, level, event, logger = (str(line.pop(key)) for key in _OWN)
        exception = str(line.pop("exception", ""))
        parts = [paint("2", timestamp), paint(_COLOURS.get(level, "0"), f"{level:<8}"), paint("1", _printable(event))]
        parts += [f"{paint('36', _printable(key))}={_value(value)}" for key, value in line.items()]
        parts.append(paint("2", f"[{_printable(logger)}]"))
        # Indented, so that no line of an error's text looks like the beginning of a log line.
        return "\n    ".join([" ".join(parts), *map(_printable, exception.splitlines())])

    return render


def _json(_: object, __: str, line: EventDict) -> str:
    return structlog.processors.JSONRenderer()(None, "", line)  # type: ignore[return-value]


def _ordered(_: object, name: str, line: EventDict) -> EventDict:
    """The line with its own four keys first; a caller's key of the same name does not win."""
    record: logging.LogRecord = line.pop("_record")
    del line["_from_structlog"]
    own = {
        "timestamp": rfc3339(int(record.created * 1000)),
        "level": record.levelname.lower(),
        "event": line.pop("event"),
        "logger": record.name,
    }
    return structlog.processors.format_exc_info(None, name, own | dict(line) | own)


def _value(value: object) -> str:
    bare = isinstance(value, str) and value.isprintable() and _BARE.fullmatch(value)
    return str(value) if bare else repr(value)


def _printable(text: str) -> str:
    """The text with everything escaped that is not a visible character or a space: C0, C1, bidi, line separators."""
    return text if text.isprintable() else repr(text)[1:-1]


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


class _LineStream(logging.StreamHandler[TextIO]):
    """Writes lines and never raises: a daemon whose stderr was closed goes on bridging."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's own signature
        """Say that a line could not be written, where that is still possible."""
        error = sys.exc_info()[0]
        with contextlib.suppress(AttributeError, OSError, ValueError):  # no stderr any more: there is nobody to tell
            self.stream.write(
                f'{{"level": "error", "event": "a log line was lost", "why": "{error and error.__name__}"}}\n'
            )
