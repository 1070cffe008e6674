"""What the reader knows of each shard: how far it is restored, and the checkpoints that this process wrote to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointLog, CheckpointRecord
from bridge.core.owner_records import FORGOTTEN_KEY, token_in
from bridge.core.records.checkpoint import position_in, token_suffix
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.kafka.reader import StoredRecord

log = get_logger("bridge.kafka")

_PROGRESS = 5.0
"""Seconds between two log lines about the progress."""
_INTERVAL = 0.5
"""Seconds between two checks."""
_LONGEST = 960.0
"""Seconds between two renewals of a client at most."""
_WARN_AGAIN = 600.0
"""Seconds until a shard that is still blocked is logged again."""
OF_SHARDS = frozenset({CLAIM_KEY, FORGOTTEN_KEY})
"""The keys of records about a whole shard that another process must not write."""


class OwnCheckpoints:
    """Recognises own checkpoints in one shard, and those that landed late: of a producer that was replaced since.

    Brokers may still append what such a producer has sent, behind the newer checkpoints of the next one. Thread rule:
    the reader's thread.
    """

    def __init__(self) -> None:
        self.suffixes: tuple[bytes, ...] = ()
        """How they end: one for each claim, since a checkpoint that was on its way at a claim has an earlier token."""
        self.token = -1
        self._newest: dict[bytes, int] = {}
        self._read_to = -1

    def claimed(self, token: int) -> None:
        self.token, self.suffixes = token, (*self.suffixes, token_suffix(token))

    def of_recreated_topic(self) -> OwnCheckpoints:
        """For a new topic: offsets start at 0 again; checkpoints that were on their way have the former tokens."""
        own = OwnCheckpoints()
        own.token, own.suffixes = self.token, self.suffixes
        return own

    def note(self, record: CheckpointRecord) -> None:
        """A record that is read before the present claim; if it is late, its history shows it."""
        if self.suffixes and record.value.endswith(self.suffixes):
            self.is_late(record.offset, record.key, record.value)

    def is_late(self, offset: int, key: bytes, value: bytes) -> bool:
        """Whether an own record has a lower position than the one before it with this key; called for each, in order.

        Each such record is reported once: a new client of the reader reads them again.
        """
        if offset <= self._read_to:
            return False
        self._read_to = offset
        position = position_in(value)
        if position is None:
            return False
        before = self._newest.get(key, -1)
        self._newest[key] = position
        return position < before


@dataclass(frozen=True, slots=True)
class RestoredShard:
    """A shard whose checkpoints are read, up to this process's own claim."""

    shard: int
    token: int
    previous: Claim | None
    log: CheckpointLog


@dataclass(slots=True)
class Restore:
    """One shard that is being restored, or was. Thread rule: the reader's thread."""

    claim: Claim
    done: Callable[[RestoredShard], None]
    after: int
    log: CheckpointLog | None
    """None once the claim was read."""
    own: OwnCheckpoints
    previous: Claim | None = None
    """The newest claim of another process."""
    claimed_at: float = field(default_factory=monotonic)
    """When the claim was last written."""
    read_at: float = field(default_factory=monotonic)
    records: int = 0
    error: str | None = None
    """The client's error about the partition."""
    warned_at: float | None = None


class RestoreProgress:
    """Logs the progress, and which shards are held up and why.

    Thread rule: the reader's thread; ``held_up`` is for any thread.
    """

    def __init__(
        self, topic: str, timeout: float, why: Callable[[int, Restore], str], clock: Callable[[], float] = monotonic
    ) -> None:
        """``timeout``: seconds without a record until a shard is held up; ``why`` returns the reason."""
        self.held_up: Mapping[int, str] = {}
        self._topic, self._timeout, self._why, self._clock = topic, timeout, why, clock
        self._logged_at = self._checked_at = clock()
        self._renewed_at, self._renew_after = -inf, timeout

    def check(self, restores: Mapping[int, Restore]) -> None:
        """Check all shards; at most twice a second."""
        now = self._clock()
        if now - self._checked_at < _INTERVAL:
            return
        self._checked_at = now
        unfinished = {shard: each for shard, each in restores.items() if each.log is not None}
        late = {shard: each for shard, each in unfinished.items() if now - each.read_at > self._timeout}
        self.held_up = {shard: self._why(shard, each) for shard, each in late.items()}
        for shard, each in late.items():
            if each.warned_at is None or now - each.warned_at > _WARN_AGAIN:
                each.warned_at = now
                why = self.held_up[shard]
                log.error("a shard is held up: its sessions are not bridged", shard=shard, topic=self._topic, why=why)
        self._log_progress({shard: each for shard, each in unfinished.items() if shard not in late}, now)

    def must_renew(self, restores: Mapping[int, Restore]) -> bool:
        """Whether to read with a new client: no shard is being read, and the last renewal was long ago.

        A new client reads all shards again, so it is tried less and less often: a broker that is away has the same
        effect as a client that is stuck.
        """
        now, unfinished = self._clock(), {shard for shard, each in restores.items() if each.log is not None}
        if unfinished != set(self.held_up) or now - self._renewed_at <= self._renew_after:
            return False
        self._renewed_at, self._renew_after = now, min(2 * self._renew_after, _LONGEST)
        return True

    def end(self, shard: int, restore: Restore) -> None:
        self._renew_after = self._timeout
        self.held_up = {other: why for other, why in self.held_up.items() if other != shard}
        if restore.warned_at is not None:
            log.info("a shard is no longer held up", shard=shard, topic=self._topic)

    def _log_progress(self, moving: Mapping[int, Restore], now: float) -> None:
        if not moving:
            self._logged_at = now
        elif now - self._logged_at > _PROGRESS:
            self._logged_at = now
            records = sum(each.records for each in moving.values())
            log.info("reading checkpoints", topic=self._topic, shards=sorted(moving), records=records)


def checkpoint_record(stored: StoredRecord) -> CheckpointRecord:
    """The record of the checkpoints topic; a tombstone has an empty value."""
    token = token_in(stored.headers) if stored.value is None else None
    return CheckpointRecord(
        stored.partition, stored.offset, stored.timestamp_ms, stored.key or b"", stored.value or b"", forgotten_by=token
    )


def add_record(log_read: CheckpointLog, record: CheckpointRecord, *, is_tombstone: bool) -> None:
    """Add a record to what was read of its shard."""
    if record.forgotten_by is not None:
        log_read.forget(record.partition, record.key, record.forgotten_by)
    else:
        value = None if is_tombstone else record.value
        log_read.add(record.partition, record.offset, record.written_ms, record.key, value)


def open_transaction(topic: str, shard: int, at: int) -> str:
    """Why nothing behind an offset can be read, and the fix."""
    place = f"--topic {topic} --partition {shard}"
    return (
        f"an open transaction on {topic} partition {shard} hides the records behind offset {at}, or no broker"
        " answers. End the transaction's producer, or wait until Kafka ends it (transaction.timeout.ms), or find it"
        f" with Kafka's own `kafka-transactions.sh --bootstrap-server ... describe-producers {place}` (its"
        f" CurrentTransactionStartOffset is {at}) and end it with `... abort {place} --start-offset {at}`"
    )
