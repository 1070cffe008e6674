"""The parts of ``mix-bridge check``, for ``--only``. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final

from bridge.admin.check.line import Line, State


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

_BY_SUBJECT: Final = {
    "topic": Part.TOPICS,
    "replicas": Part.GROUP,
    "server": Part.SERVERS,
    "clock": Part.SERVERS,
}


def chosen(text: str) -> frozenset[Part]:
    """Parse ``--only``: names with commas between them. Raises ``ValueError`` with a line for the user."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in [*Part]]:
        raise ValueError(f"{unknown[0]!r} is not a part; allowed: {', '.join(Part)}")
    return frozenset(map(Part, names))


def is_wanted(line: Line, parts: AbstractSet[Part]) -> bool:
    """Return whether a line belongs to these parts.

    A failed connection to Kafka belongs to each part that needs one.
    """
    subject = line.subject.partition(" ")[0]
    part = _BY_SUBJECT.get(subject) or Part(subject)
    return part in parts or (part is Part.KAFKA and line.state is State.FAILED and not parts.isdisjoint(ON_KAFKA))
