"""One line of ``mix-bridge check``, and the parts that a person can choose with ``--only``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bridge.errors import Mistake


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One check: its subject, its result and, unless it is ok, what to do."""

    subject: str
    state: State
    detail: str
    hint: str | None = None


class Part(StrEnum):
    """What a person can choose with ``--only``."""

    SETTINGS = "settings"
    FILES = "files"
    KAFKA = "kafka"
    TOPICS = "topics"
    GROUP = "group"
    TRANSACTIONS = "transactions"
    SERVERS = "servers"
    HTTP = "http"


ALL: Final = frozenset(Part)
OFFLINE: Final = frozenset({Part.SETTINGS, Part.FILES, Part.KAFKA, Part.SERVERS})
"""The parts that can be checked without a connection."""
ON_KAFKA: Final = frozenset({Part.KAFKA, Part.TOPICS, Part.GROUP, Part.TRANSACTIONS})
"""The parts that need a connection to Kafka: each of them fails if there is none."""
_BY_SUBJECT: Final = {"topic": Part.TOPICS, "replicas": Part.GROUP, "server": Part.SERVERS, "clock": Part.SERVERS}


def passed(lines: Sequence[Line], *, strict: bool = False) -> bool:
    """Return whether no check failed; warnings count as passed, unless ``strict``."""
    return all(line.state is State.OK or (line.state is State.WARNING and not strict) for line in lines)


def line_of(subject: str, mistake: Mistake, message: str, state: State = State.FAILED) -> Line:
    """Split a mistake's message: after the last semicolon it says what to do."""
    detail, _, hint = message.rpartition("; ")
    return Line(subject, state, detail or hint, f"{hint} ({mistake.key})" if detail else f"see {mistake.key}")


def chosen(text: str) -> frozenset[Part]:
    """Parse ``--only``: names with commas between them. Raises ``ValueError`` with a line for the user."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in [*Part]]:
        raise ValueError(f"{unknown[0]!r} is not a part; allowed: {', '.join(Part)}")
    return frozenset(map(Part, names))


def is_wanted(line: Line, parts: AbstractSet[Part]) -> bool:
    """Return whether a line belongs to these parts; a failed connection to Kafka belongs to each that needs one."""
    subject = line.subject.partition(" ")[0]
    part = _BY_SUBJECT.get(subject) or Part(subject)
    return part in parts or (part is Part.KAFKA and line.state is State.FAILED and not parts.isdisjoint(ON_KAFKA))
