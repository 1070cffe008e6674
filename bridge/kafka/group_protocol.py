"""Decodes the two messages of Kafka's consumer protocol that a coordinator returns for each member. Pure.

Kafka's ``ConsumerProtocolSubscription`` and ``ConsumerProtocolAssignment``, big-endian. Newer versions add fields at
the end, which are ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping


class _Cursor:
    """Reads one value after the other. Raises ``struct.error`` or ``ValueError`` at the end of the message."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = struct.calcsize(">h")  # after the version

    def number(self, form: str = ">i") -> int:
        (value,) = struct.unpack_from(form, self._message, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        start = self._at + struct.calcsize(">h")
        self._at = start + self.number(">h")
        if not start <= self._at <= len(self._message):
            raise ValueError("the text is longer than the message")
        return self._message[start : self._at].decode()


def subscribed(subscription: bytes) -> frozenset[str]:
    """Return the topics that a member subscribes to; none for a message that cannot be decoded."""
    cursor = _Cursor(subscription)
    try:
        return frozenset([cursor.text() for _ in range(cursor.number())])
    except (struct.error, ValueError):
        return frozenset()


def assigned(assignment: bytes) -> Mapping[str, frozenset[int]]:
    """Return the partitions of a member, by topic; none for a message that cannot be decoded."""
    cursor = _Cursor(assignment)
    try:
        return {
            cursor.text(): frozenset([cursor.number() for _ in range(cursor.number())]) for _ in range(cursor.number())
        }
    except (struct.error, ValueError):
        return {}
