"""The two messages of Kafka's consumer protocol that a coordinator shows of each member, read. Pure.

Big-endian, as Kafka's ``ConsumerProtocolSubscription`` and ``ConsumerProtocolAssignment``; newer versions add fields at
the end, which are left alone.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping


class _Cursor:
    """Reads one value after the other; ``struct.error`` or ``ValueError`` where there is none."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = struct.calcsize(">h")  # behind the version

    def number(self, form: str = ">i") -> int:
        (value,) = struct.unpack_from(form, self._message, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        start = self._at + struct.calcsize(">h")
        self._at = start + self.number(">h")
        if not start <= self._at <= len(self._message):
            raise ValueError("the text goes beyond the message")
        return self._message[start : self._at].decode()


def subscribed(subscription: bytes) -> frozenset[str]:
    """The topics a member shares; none where the message says nothing that is known."""
    cursor = _Cursor(subscription)
    try:
        return frozenset([cursor.text() for _ in range(cursor.number())])
    except (struct.error, ValueError):
        return frozenset()


def assigned(assignment: bytes) -> Mapping[str, frozenset[int]]:
    """The partitions a member has, by topic; none where the message says nothing that is known."""
    cursor = _Cursor(assignment)
    try:
        return {
            cursor.text(): frozenset([cursor.number() for _ in range(cursor.number())]) for _ in range(cursor.number())
        }
    except (struct.error, ValueError):
        return {}
