"""One line of ``mix-bridge check``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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


def passed(lines: Sequence[Line], *, strict: bool = False) -> bool:
    """Return whether no check failed; warnings count as passed, unless ``strict``."""
    return all(line.state is State.OK or (line.state is State.WARNING and not strict) for line in lines)


def line_of(subject: str, mistake: Mistake, message: str, state: State = State.FAILED) -> Line:
    """Split a mistake's message: after the last semicolon it says what to do."""
    detail, _, hint = message.rpartition("; ")
    return Line(subject, state, detail or hint, f"{hint} ({mistake.key})" if detail else f"see {mistake.key}")
