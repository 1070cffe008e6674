"""Limits repeated log lines: one line per event, server, reason and interval, with the number of those left out.

A server outage makes each of its sessions log the same thing at each attempt: 1,000 sessions wrote 6,465 lines in 30 s,
and journald drops lines of a service that writes so many.
"""

from __future__ import annotations

import copy
import logging
import re
import sys
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from bridge.clock import unix_ms

INTERVAL = 30.0
"""Seconds between two lines of the same kind."""
MOST_KINDS = 1_000
"""Kinds that are distinguished at a time. The code and the servers limit their number; this is for a reason that an
outsider chooses."""
LIMITED = "limited"
"""A caller sets this key to True to limit a line without the key ``session``. It is not part of the line."""

_NUMBER = re.compile(r"(?<![\w.:])\d+(?=\s|ms)|\b\d+ms|(?<=rdkafka#producer-)\d+|(?<=rdkafka#consumer-)\d+")
"""Durations, counts and the numbers of Kafka clients in the text of a library, but not those of brokers and ports. A
client whose only known broker is away logs each attempt, twenty times a second."""


@dataclass(slots=True)
class _Kind:
    ends_at: float
    left_out: int = 0
    last: logging.LogRecord | None = None
    sessions: set[object] = field(default_factory=set)


class RepeatLimiter:
    """Decides which lines are written, and makes the line that gives the number of those left out.

    Three groups of lines are limited: those about one session (key ``session``), by event, server and reason; those
    with the key ``limited``, in the same way; those of libraries, by their text without numbers. At level debug, lines
    about sessions are not limited.

    Thread rule: any thread. The lock is re-entrant, because a destructor that runs while it is held may log.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kinds: dict[Hashable, _Kind] = {}

    def admits(self, record: logging.LogRecord, now: float) -> bool:
        """Whether to write this line now; if not, it is counted. ``now``: of ``clock.monotonic``."""
        identity = _identity(record)
        if identity is None:
            return True
        with self._lock:
            if len(self._kinds) >= MOST_KINDS:
                identity = identity[:-1]  # without the reason
            kind = self._kinds.get(identity)
            if kind is None:
                self._kinds[identity] = _Kind(now + INTERVAL)
                return True
            kind.left_out += 1
            kind.last = _kept(record)
            kind.sessions.add(_value(record, "session"))
            return False

    def due(self, now: float, *, all_kinds: bool = False) -> list[logging.LogRecord]:
        """The last line of each kind whose interval has ended by ``now``, with the number of those left out.

        ``all_kinds``: the intervals of all kinds end now, because the process does.
        """
        with self._lock:
            ended = [(identity, kind) for identity, kind in self._kinds.items() if all_kinds or kind.ends_at <= now]
            for identity, kind in ended:
                del self._kinds[identity]
                if kind.last is not None:
                    self._kinds[identity] = _Kind(now + INTERVAL)
        return [_summary(kind.last, kind) for _, kind in ended if kind.last is not None]

    @property
    def next_at(self) -> float | None:
        """When the next interval ends; None if there is none."""
        with self._lock:
            return min((kind.ends_at for kind in self._kinds.values()), default=None)


def _identity(record: logging.LogRecord) -> tuple[Hashable, ...] | None:
    """What makes two lines the same kind; None for a line that is not limited."""
    line: Any = record.msg
    if not isinstance(line, dict):
        return (record.name, record.levelno, _error_type(record.exc_info), _NUMBER.sub("#", record.getMessage()))
    is_chosen = bool(line.pop(LIMITED, False))
    if not is_chosen and ("session" not in line or logging.getLogger(record.name).isEnabledFor(logging.DEBUG)):
        return None
    event = (record.name, record.levelno, line.get("event"), _error_type(line.get("exc_info")))
    return (*event, str(line.get("server")), str(line.get("reason")))


def _error_type(exc_info: object) -> object:
    if exc_info is True:
        return sys.exc_info()[0]
    return exc_info[0] if isinstance(exc_info, tuple) else type(exc_info)


def _value(record: logging.LogRecord, key: str) -> object:
    value = record.msg.get(key) if isinstance(record.msg, dict) else None
    return value if isinstance(value, Hashable) else str(value)


def _kept(record: logging.LogRecord) -> logging.LogRecord:
    """The line for later: the error that is being handled now is written with it."""
    if isinstance(record.msg, dict) and record.msg.get("exc_info") is True:
        record.msg["exc_info"] = sys.exc_info()
    return record


def _summary(last: logging.LogRecord, kind: _Kind) -> logging.LogRecord:
    made = copy.copy(last)
    made.created = unix_ms() / 1000
    if isinstance(last.msg, dict):
        made.msg = dict(last.msg) | {"repeats": kind.left_out}
        if "session" in last.msg:
            made.msg["sessions"] = len(kind.sessions)
    else:
        made.msg, made.args = f"{last.getMessage()} (such lines: {kind.left_out})", ()
    return made
