"""What the reader of the checkpoints topic knows of one shard, and what it tells of those that take long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Message
from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointLog, CheckpointRecord
from bridge.core.records import claim
from bridge.core.records.checkpoint import BadCheckpoint
from bridge.core.records.claim import CLAIM_KEY, Claim

log = get_logger("bridge.kafka")

_PROGRESS = 5.0
"""Seconds without an end after which progress is said."""
_EVERY = 0.5
"""Seconds between two looks."""
_REMIND = 600.0
"""Seconds after which a shard that is still held up is told of again."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A shard whose checkpoints are read, up to this process's own claim."""

    shard: int
    term: int
    """The offset of the claim."""
    previous: Claim | None
    """The newest claim before it."""
    log: CheckpointLog


@dataclass(slots=True)
class ShardState:
    """Thread rule: the reader's thread."""

    claim: Claim
    taken: Callable[[Taken], None]
    after: int
    """The offset from which on it is read."""
    log: CheckpointLog | None
    """Until the claim has come by."""
    terms: list[int]
    """Its claims of this process: words that were under way when it claimed again are no stranger's."""
    previous: Claim | None = None
    """The newest claim of another."""
    claimed: float = field(default_factory=monotonic)
    """When the claim was written last."""
    moved: float = field(default_factory=monotonic)
    """When the last record came."""
    records: int = 0
    trouble: str | None = None
    """What the client says of the partition."""
    said_at: float | None = None
    """When it was said that it is held up."""


class Delays:
    """Tells how far the shards are that are being taken, and which are held up, and why.

    Thread rule: the reader's thread; ``held_up`` is for all.
    """

    def __init__(self, topic: str, patience: float, why: Callable[[int, ShardState], str]) -> None:
        """``patience``: seconds without a record; ``why``: asked of each shard that is held up."""
        self.held_up: Mapping[int, str] = {}
        self._topic = topic
        self._patience = patience
        self._why = why
        self._said = self._looked = monotonic()

    def look(self, shards: Mapping[int, ShardState]) -> None:
        """At all shards, now and then."""
        now = monotonic()
        if now - self._looked < _EVERY:
            return
        self._looked = now
        open_ones = {number: shard for number, shard in shards.items() if shard.log is not None}
        late = {number: shard for number, shard in open_ones.items() if now - shard.moved > self._patience}
        self.held_up = {number: self._why(number, shard) for number, shard in late.items()}
        for number, shard in late.items():
            if shard.said_at is None or now - shard.said_at > _REMIND:
                shard.said_at = now
                why = self.held_up[number]
                log.error("a shard is held up: its sessions are not bridged", shard=number, topic=self._topic, why=why)
        self._say_progress({number: shard for number, shard in open_ones.items() if number not in late}, now)

    def over(self, number: int, shard: ShardState) -> None:
        """A shard is taken, or let go."""
        self.held_up = {other: why for other, why in self.held_up.items() if other != number}
        if shard.said_at is not None:
            log.info("a shard is no longer held up", shard=number, topic=self._topic)

    def _say_progress(self, moving: Mapping[int, ShardState], now: float) -> None:
        if not moving:
            self._said = now
        elif now - self._said > _PROGRESS:
            self._said = now
            records = sum(shard.records for shard in moving.values())
            log.info("reading checkpoints", topic=self._topic, shards=sorted(moving), records=records)


def word_of(number: int, message: Message) -> CheckpointRecord:
    """A record of a partition; a tombstone's value is empty."""
    offset = message.offset()
    assert offset is not None  # noqa: S101 - told to mypy; what a consumer returns has one
    return CheckpointRecord(number, offset, message.timestamp()[1], _bytes(message.key()), _bytes(message.value()))


def _bytes(text: str | bytes | None) -> bytes:
    return text.encode() if isinstance(text, str) else text or b""


def claim_in(word: CheckpointRecord) -> Claim | None:
    """The claim, if it is one that can be read."""
    if word.key != CLAIM_KEY:
        return None
    try:
        return claim.decode(word.value)
    except BadCheckpoint:
        return None
