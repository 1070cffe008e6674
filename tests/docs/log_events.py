"""Writes docs/logs.md from the calls in the code: ``python -m tests.docs.log_events > docs/logs.md``.

The name, the levels, the logger and the fields of an event are read from the code. What it means is in
``log_events.toml`` beside this file: an event without an entry there, or an entry without an event, fails a test.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.repository import REPOSITORY

MEANINGS = Path(__file__).with_suffix(".toml")
_LEVELS = {
    "debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error",
    "critical": "critical",
}  # fmt: skip
_METHODS = {*_LEVELS, "log", "level"}
"""``level`` is a variable that holds one of the methods."""
_OF_LIBRARY = re.compile(r"logging\.getLogger\('([^']+)'\)\.(\w+)")
_SESSION = ("server", "session")
_NOT_FIELDS = {"exc_info", "limited"}
_INTRODUCTION = """\
# Logs

Generated from the code by `make docs`; do not edit.

Logs go to stderr, one line for each event: JSON, or text on a terminal (`log.format`). Every line has `timestamp`,
`level`, `event` and `logger`; the fields below follow. `event` is constant: filter by it. Lines about a session have
`server` and `session`. Nothing is logged per event of a stream: a line is about a connection, a shard, a topic or a
failure. An unexpected error adds `exception`, its traceback: please report it.

Repeated lines about sessions, and some others, are left out for 30 seconds. Then one line has `repeats`, their number,
and `sessions`, the number of their sessions ([Operating mix-bridge](operations.md#log-lines)).

Lines of the Kafka client library (librdkafka) have the logger `bridge.kafka.librdkafka`, and the library's level and
text. `client` says what the client is for: `events`, `checkpoints`, `isolation` and `single` (producers), `shards`
(transactions), `reader`, `membership`, `admin`, `group check`, `transaction check`.

With `--workers`, the lines of the parent have the logger `bridge.workers`. The [library for consumers](consuming.md)
logs in the program that uses it, with the logger `bridge.consumer`; its lines are not listed here.
"""


@dataclass
class LogEvent:
    """One event: where it comes from, and what its lines contain."""

    name: str
    loggers: set[str] = field(default_factory=set)
    levels: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    calls: int = 0

    def add(self, logger: str, level: str | None, fields: list[str]) -> None:
        """One more call in the code; ``level`` None: it is chosen at run time."""
        self.calls += 1
        self.loggers.add(logger)
        self.levels += [level] if level is not None and level not in self.levels else []
        self.fields += [each for each in fields if each not in self.fields]


class _Module:
    """The loggers of one module, and its calls of them."""

    def __init__(self, tree: ast.Module) -> None:
        self._calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        self._logger = next((_text(call.args[0]) for call in self._calls if _name(call.func) == "get_logger"), None)
        bound = [call for call in self._calls if _name(call.func) == "bind"]
        self._bound = [name for call in bound for name in _fields(call)]

    def events(self) -> Iterator[tuple[str, str, str | None, list[str]]]:
        """The event's name, the logger, the level and the fields of each call."""
        for call in self._calls:
            function = ast.unparse(call.func)
            owner, _, method = function.rpartition(".")
            plain = _OF_LIBRARY.fullmatch(function)
            if plain is not None and plain[2] in _LEVELS:
                yield _text(call.args[0]), plain[1], plain[2], []
            elif self._logger is not None and method in _METHODS and owner in {"", "log", "self._log"}:
                fields = [*(() if owner == "log" else self._bound), *_fields(call)]
                yield _text(call.args[1 if method == "log" else 0]), self._logger, _LEVELS.get(method), fields


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _fields(call: ast.Call) -> list[str]:
    """The names of the fields; ``**key.log_fields`` are those of a session."""
    named = [(each.arg,) if each.arg is not None else _SESSION for each in call.keywords if each.arg not in _NOT_FIELDS]
    return [name for names in named for name in names]


def _text(node: ast.expr) -> str:
    """A text; what varies in it is ``<name>``."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"<{_name(node.value)}>"
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def log_events() -> list[LogEvent]:
    """All events of the package, by name."""
    found: dict[str, LogEvent] = {}
    for path in sorted((REPOSITORY / "bridge").rglob("*.py")):
        for name, logger, level, fields in _Module(ast.parse(path.read_text())).events():
            found.setdefault(name, LogEvent(name)).add(logger, level, fields)
    return sorted(found.values(), key=lambda event: (min(event.loggers), event.name.lower()))


def meanings() -> dict[str, str]:
    """What each event means and what to do."""
    read: dict[str, str] = tomllib.loads(MEANINGS.read_text())
    return read


def as_markdown() -> str:
    """Return the page."""
    known, events = meanings(), log_events()
    lines = [_INTRODUCTION.rstrip()]
    for logger in sorted({min(each.loggers) for each in events}):
        lines += ["", f"## {logger}", "", "| event | level | fields | meaning |", "|---|---|---|---|"]
        lines += [_row(each, known.get(each.name, "")) for each in events if min(each.loggers) == logger]
    return "\n".join(lines) + "\n"


def _row(event: LogEvent, meaning: str) -> str:
    fields = ", ".join(f"`{name}`" for name in event.fields)
    levels = ", ".join(event.levels) or "depends"
    return f"| {event.name.replace('|', '/')} | {levels} | {fields} | {meaning} |"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
