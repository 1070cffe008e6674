"""The identity of a session, and the numbers that its records carry."""

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
    def log_fields(self) -> dict[str, str]:
        """The fields by which all log lines name a session."""
        return {"server": self.server, "session": self.session_id}

    @property
    def record_key(self) -> bytes:
        """The key of this session's records in every topic: UTF-8 ``<server>/<session id>``."""
        return str(self).encode()


class Position(NamedTuple):
    """The position of a session: the next record is ``(epoch, sequence + 1)``, the next request sends the id.

    ``last_event_id`` is the server's opaque text; empty means that no ``Last-Event-ID`` header is sent.
    """

    epoch: int
    sequence: int
    last_event_id: str


UNSENDABLE_ID = "\n"
"""Replaces an event id that is too long to keep: no server can send this text as an id, and no request can carry it."""
LONGEST_ID = 8 * 1024
"""Most characters of an event id that is kept: no server accepts a longer header, and a checkpoint must hold it."""


def sendable(last_event_id: str) -> bool:
    """Whether an HTTP header can carry this id, as UTF-8, and return it unchanged.

    CR, LF and NUL are impossible, and HTTP removes a blank at either end. Strict servers refuse control characters
    other than tab (RFC 9110, section 5.5), so ids with them are not sendable either. Empty is sendable: the header is
    left out. A caller resumes from the last sendable id that it has.
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
        block = four * multiplier & mask
        block = (block ^ block >> 24) * multiplier & mask
        hashed = (hashed * multiplier & mask) ^ block
    if whole < length:
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * multiplier & mask
    hashed = (hashed ^ hashed >> 13) * multiplier & mask
    return (hashed ^ hashed >> 15) & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that a Java client's default partitioner chooses for this key."""
    return murmur2(key) % partitions
