"""Forgets sessions that ended long ago: their checkpoints are removed from the checkpoints topic.

For each shard, first the record with the highest epoch of its forgotten sessions is written and acknowledged, then the
tombstones. Crash points: a process that is killed before the tombstones leaves the checkpoints, and the next owner
forgets them; one that is killed after some of them leaves the epoch, so a session that returns starts above it. A
former owner that is paused in between may still write tombstones: they carry its fencing token, and the owner writes
the checkpoint of a session that runs again behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from itertools import islice

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.identity import SessionKey
from bridge.daemon.restored_checkpoints import EndedSession
from bridge.daemon.shard_sessions import ShardSessions
from bridge.delivery.lease import Lease
from bridge.settings import ServerSettings
from bridge.sharding.claims import ForgetWriter

log = get_logger("bridge.supervisor")

_LOOKS = 2000
"""Ended sessions that are looked at in one tick: about 3 ms."""
_AT_ONCE = 2000
_LONGEST_INTERVAL = 600.0
"""Seconds between two looks at all ended sessions; less for a short ``forget_after``."""
_PROOF = 5.0
"""Seconds: so fresh must the proof be that this process owns the shard."""
_TIMEOUT = 60.0
"""Seconds for Kafka to acknowledge the records; then the sessions are tried again later."""

IsOver = Callable[[SessionKey], bool]
"""Whether nothing wants an ended session: it is neither configured nor listed."""


class _Stage(Enum):
    BEGUN = auto()
    """Kafka does not have an epoch as high as the sessions' yet."""
    FLOOR_SENT = auto()
    READY = auto()
    """Kafka has it: the tombstones may follow."""
    SENT = auto()


@dataclass(slots=True)
class _Job:
    lease: Lease
    sessions: Mapping[SessionKey, EndedSession]
    epoch: int
    since: float
    stage: _Stage
    removed: list[SessionKey] = field(default_factory=list)

    def floor_written(self) -> None:
        self.lease.raise_epoch_floor(self.epoch)
        self.stage = _Stage.READY


class Forgetting:
    """Thread rule: the main thread."""

    def __init__(
        self,
        servers: Mapping[str, ServerSettings],
        shards: ShardSessions,
        is_over: IsOver,
        writer: ForgetWriter,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._after = {name: each.forget_after for name, each in servers.items() if each.forget_after is not None}
        self._interval = min([_LONGEST_INTERVAL, *(each / 20 for each in self._after.values())])
        self._shards = shards
        self._is_over = is_over
        self._writer = writer
        self._now = now
        self._looked_at = now()
        self._looking: Iterator[EndedSession] = iter(())
        self._job: _Job | None = None
        self.forgotten = 0

    def tick(self) -> None:
        self._writer.poll()
        self._write_floors()
        if self._job is not None:
            self._proceed(self._job)
        elif self._after:
            self._look()

    def close(self) -> None:
        self._writer.close()

    def _write_floors(self) -> None:
        """Write the records again that were lost with the topic, or that another process wrote over."""
        for shard in tuple(self._shards.floors_to_write):
            lease = self._shards.lease_of(shard)
            if lease is None or not lease.epoch_floor:
                self._shards.floors_to_write.discard(shard)
            elif lease.fencing_token is not None and lease.is_proven_within(_PROOF):
                self._shards.floors_to_write.discard(shard)
                self._writer.write_floor(shard, lease.epoch_floor, lease.fencing_token, lambda: None)

    def _look(self) -> None:
        """Look at the next ended sessions, and begin with those that are due in one shard."""
        found = list(islice(self._looking, _LOOKS))
        if not found:
            if self._now() - self._looked_at >= self._interval:
                self._looked_at, self._looking = self._now(), self._shards.checkpoints.ended()
            return
        now_ms = unix_ms()
        due = [each for each in found if self._is_due(each, now_ms)]
        if due:
            shard = due[0].shard
            lease = self._shards.lease_of(shard)
            if lease is not None:
                self._begin(lease, [each for each in due if each.shard == shard][:_AT_ONCE])

    def _is_due(self, ended: EndedSession, now_ms: int) -> bool:
        after = self._after.get(ended.key.server)
        if after is None or now_ms - ended.updated_ms <= after * 1000:
            return False
        return self._is_over(ended.key) and not self._shards.is_known(ended.key)

    def _begin(self, lease: Lease, due: Sequence[EndedSession]) -> None:
        epoch = max(each.epoch for each in due)
        stage = _Stage.READY if epoch <= lease.epoch_floor else _Stage.BEGUN
        self._job = _Job(lease, {each.key: each for each in due}, epoch, self._now(), stage)
        self._shards.forgetting |= self._job.sessions.keys()

    def _proceed(self, job: _Job) -> None:
        lease, token = job.lease, job.lease.fencing_token
        if lease.is_over or self._now() - job.since > _TIMEOUT or len(job.removed) == len(job.sessions):
            self._finish(job)
        elif job.stage not in {_Stage.BEGUN, _Stage.READY} or token is None or not lease.is_proven_within(_PROOF):
            return
        elif job.stage is _Stage.BEGUN:
            job.stage = _Stage.FLOOR_SENT
            self._writer.write_floor(lease.shard, job.epoch, token, job.floor_written)
        else:
            job.stage = _Stage.SENT
            for key in job.sessions:
                self._writer.remove(lease.shard, key.record_key, token, partial(job.removed.append, key))

    def _finish(self, job: _Job) -> None:
        self._job = None
        self._shards.forgetting -= job.sessions.keys()
        if job.lease.is_over:
            return
        for key in job.removed:
            self._shards.checkpoints.put(job.lease.shard, key, None)
        if job.removed:
            self.forgotten += len(job.removed)
            log.info("ended sessions are forgotten", shard=job.lease.shard, sessions=len(job.removed))
