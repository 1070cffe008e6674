"""Who a session is, and the numbers its records carry."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

_UNSENDABLE: Final = re.compile("[\0-\x08\x0a-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """One session of one server: the unit of order, of work and of position."""

    server: str
    session_id: str

    def __str__(self) -> str:
        return f"{self.server}/{self.session_id}"

    @property
    def record_key(self) -> bytes:
        """The key of this session's records in every topic: UTF-8 ``<server>/<session id>``."""
        return str(self).encode()


class Position(NamedTuple):
    """How far a session has come: the next record is ``(epoch, sequence + 1)``, the next request sends the id.

    ``last_event_id`` is the server's opaque text; empty means that no ``Last-Event-ID`` header is sent.
    """

    epoch: int
    sequence: int
    last_event_id: str


UNSENDABLE_ID = "\n"
"""Stands for an event id that is too long to be kept: no server can have sent it, and no request can carry it."""
LONGEST_ID = 8 * 1024
"""Characters of an event id that is kept: no server takes a longer header, and it must fit into a checkpoint."""


def sendable(last_event_id: str) -> bool:
    """Whether an HTTP header can carry this id, as UTF-8, and give it back unchanged.

    CR, LF and NUL are impossible, and a blank at either end is stripped on the way. Other control characters than tab
    are refused by strict servers (RFC 9110, section 5.5), so they count as not sendable too. Empty is sendable: the
    header is left out. A caller resumes from the last sendable id it has.
    """
    if last_event_id != last_event_id.strip(" \t"):
        return False
    return not _UNSENDABLE.search(last_event_id)


def new_epoch(previous: int | None, unix_seconds: int) -> int:
    """The epoch after ``previous``: the time, but always at least one more, even after the clock was set back."""
    return unix_seconds if previous is None else max(previous + 1, unix_seconds)


_FOUR: Final = struct.Struct("<I")


def murmur2(key: bytes) -> int:
    """The 32-bit murmur2 hash of Kafka's Java client, as a non-negative 31-bit number (``toPositive``)."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    length = len(key)
    hashed = (0x9747B28C ^ length) & mask
    whole = length - length % 4
    for (four,) in _FOUR.iter_unpack(key[:whole]):
        word = four * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        hashed = (hashed * multiplier & mask) ^ word
    if whole < length:
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * multiplier & mask
    hashed = (hashed ^ hashed >> 13) * multiplier & mask
    return (hashed ^ hashed >> 15) & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition a Java client's default partitioner gives this key."""
    return murmur2(key) % partitions
