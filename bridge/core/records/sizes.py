"""How large a record may be, per topic. Known before it is sent, so that Kafka need not refuse it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

DEFAULT_LIMIT = 1_048_588
"""A broker's default ``max.message.bytes``: assumed where it cannot be read."""
_LARGEST_BATCH = 1_000_000
"""librdkafka's own ``batch.size``."""
_BATCH_HEADER, _RECORD_FIELDS, _HEADER_FIELDS = 61, 36, 10
"""Bytes of the batch's header, of one record's fixed fields at most, and of the lengths around one header at most."""
_RECOMPRESSED = 101
"""Per cent: a broker that compresses a batch again may make it larger than the uncompressed one."""


def batch_bytes(key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> int:
    """A bound for the batch that holds this record alone, as the broker stores it, uncompressed.

    Compression is not counted: with ``compression.type=uncompressed`` the broker stores the whole size.
    """
    of_headers = sum(_HEADER_FIELDS + len(name.encode()) + len(text) for name, text in headers)
    return (_BATCH_HEADER + _RECORD_FIELDS + len(key) + len(value) + of_headers) * _RECOMPRESSED // 100


class SizeLimits:
    """``max.message.bytes`` of each topic. One object for the process.

    Thread rule: any thread; one thread updates, which replaces the mapping; ``version`` says that it changed.
    """

    def __init__(self, by_topic: Mapping[str, int] | None = None, default: int = DEFAULT_LIMIT) -> None:
        """``default``: for topics whose limit is not known."""
        self._by_topic = dict(by_topic or {})
        self._default = default
        self.version = 0
        self.wanted = threading.Event()
        """Set to have the topics described soon: Kafka refused a record whose size was thought to be right."""
        self.checks: int | None = None
        """How often the topics were described; None: nobody does."""

    def update(self, by_topic: Mapping[str, int]) -> bool:
        """Follow the topics as they are now; returns whether anything changed."""
        has_changed = dict(by_topic) != self._by_topic
        if has_changed:
            self._by_topic = dict(by_topic)
            self.version += 1
        self.checks = (self.checks or 0) + 1
        return has_changed

    def of(self, topic: str) -> int:
        """The largest batch that the topic accepts."""
        return self._by_topic.get(topic, self._default)

    @property
    def batch_size(self) -> int:
        """Bytes of a batch on the wire: every topic accepts them."""
        return min(_LARGEST_BATCH, min(self._by_topic.values(), default=self._default))

    @property
    def largest(self) -> int:
        """Bytes of the largest single message: no topic accepts more, and the client must not refuse less."""
        return max((self._default, *self._by_topic.values()))
