"""One shard that the group has assigned to this process: acquired, restored, and released.

A shard is a partition of the checkpoints topic. To acquire it: fence the former owner (exactly once), write a claim and
read it back, which restores the checkpoints before it; only then start its sessions. To release it: stop its readers,
deliver and checkpoint what they read; only then return the partition to the group.

Crash points: a process that is killed while it acquires a shard leaves a claim, which changes no session. One that is
killed while it releases a shard leaves what any kill leaves: checkpoints that are behind the records in Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint_history import Restored
from bridge.core.checkpoint_log import InvalidCheckpoint
from bridge.core.identity import SessionKey
from bridge.core.records.claim import EXACTLY_ONCE, EXACTLY_ONCE_KEY
from bridge.core.transitions import follow
from bridge.delivery.lease import Lease
from bridge.errors import SettingsError
from bridge.sharding.collaborators import Collaborators
from bridge.sharding.foreign_records import ForeignRecords
from bridge.sharding.invalid_checkpoints import mistakes_of_shard
from bridge.sharding.join_check import UNFENCED
from bridge.sharding.leases import ShardEvent
from bridge.sharding.restore_progress import RestoredShard
from bridge.sharding.states import IS_OWNED, IS_UNCERTAIN, TRANSITIONS, ShardSignal, ShardState

log = get_logger("bridge.shards")

_RETRY = 30.0
"""Seconds until a shard with invalid checkpoints is read again: an operator who repairs them waits no longer."""
_READERS_PART = 1 / 3
"""Of the release time: a reader that hangs in a name lookup must not cost the others what they have read."""
_DAY = 24 * 3600
"""Seconds: the clock decides where the highest epoch is older, and clocks differ by less."""
_SUSPENDED = "this process is not a member of its group: the owner of the shard is unknown until the group assigns it"


class Shard:
    """The state machine of one ownership of one shard. Thread rule: the main thread; attributes: any thread."""

    def __init__(self, lease: Lease, collaborators: Collaborators) -> None:
        self.lease = lease
        self.state = ShardState.FENCING
        self.invalid: Sequence[InvalidCheckpoint] = ()
        self.error: SettingsError | None = None
        """Why it was blocked; kept until it is restored."""
        self.restored_checkpoints = 0
        self.is_undelivered = False
        """Whether it is gone although not everything was delivered."""
        self._with = collaborators
        self._retry_at = inf
        self._restore_began = 0.0
        self._release_began = 0.0
        self._deadline = inf
        self._foreign_records = ForeignRecords(lease, collaborators)
        self.restart = self._foreign_records.restart
        """Starts a session again from its stored checkpoint."""
        self._has_fenced = False
        """At least once: this owner has fenced the transactions of former ones."""

    @property
    def trouble(self) -> str | None:
        """Why its sessions are not bridged; None when they are, or will be soon."""
        if self.error is not None:
            return str(self.error)
        if self.state is ShardState.FENCING and self._has_fenced:
            return UNFENCED
        return _SUSPENDED if self.state in IS_UNCERTAIN else None

    def enter(self) -> None:
        """Begin: exactly once fences the former owner before the claim."""
        self._restore_began = monotonic()
        self._with.delivery.enter(self.lease, self._note_fenced)

    def _note_fenced(self) -> None:
        self._with.leases.post(ShardEvent(self.lease.shard, self.lease, ShardSignal.FENCED))

    def handle(self, event: ShardEvent) -> None:
        if event.restored is not None and event.reading == self._foreign_records.reading:
            self._restored(event.restored)
        elif event.foreign_record is not None:
            if self.state in IS_OWNED:
                self._foreign_records.handle(event.foreign_record)
        elif event.topic_was_recreated:
            self.lease.topic_was_recreated()  # its claim is gone
            self._with.sessions.rewrite_floor(self.lease.shard)
            if self.state in IS_OWNED:
                self._read(ShardSignal.REREAD)
        elif event.was_reclaimed and self.state in {ShardState.RETURNING, ShardState.REREADING}:
            self._read()  # that reading replaced ours
        elif event.signal is not None:
            self._handle_signal(event.signal)

    def _handle_signal(self, signal: ShardSignal) -> None:
        if signal is ShardSignal.REVOKED:
            self.release(monotonic() + self._with.release_timeout)
        elif signal is ShardSignal.LOST:
            self._lost()
        elif signal is ShardSignal.TAKEN_OVER:
            log.warning("another process owns the shard: its sessions are bridged there", shard=self.lease.shard)
            self.end(signal)
        else:  # fenced, or assigned again
            self._read(signal)

    def tick(self, now: float) -> None:
        if self.state is ShardState.RELEASING:
            self._check_release(now)
        elif self.state is ShardState.BLOCKED and now >= self._retry_at:
            self._restore_began = now
            self._read(ShardSignal.RETRY)
        elif self.state is ShardState.OWNED and self._foreign_records.must_read(now):
            self._read(ShardSignal.REREAD)
        elif self.state in IS_OWNED | {ShardState.RESTORING} and self._foreign_records.answer():
            self._read(ShardSignal.REREAD if self.state in IS_OWNED else None)

    def _change(self, signal: ShardSignal) -> None:
        self.state = follow(TRANSITIONS, self.state, signal)

    # Acquire

    def _read(self, signal: ShardSignal | None = None) -> None:
        if signal is not None:
            self._change(signal)
        shard, post = self.lease.shard, self._with.leases.post
        event = ShardEvent(shard, self.lease, reading=self._foreign_records.begin_reading())
        # Only the first claim after the fencing says so: a foreign one may lie before the next.
        fenced = signal is ShardSignal.FENCED and self._has_fenced
        claim = replace(self._with.new_claim(), fenced=fenced, epoch=self.lease.highest_epoch)
        if claim.guarantee == "exactly_once":
            self._with.reader.put(shard, EXACTLY_ONCE_KEY, EXACTLY_ONCE)
        self._with.reader.restore(shard, claim, lambda restored: post(event._replace(restored=restored)))

    @property
    def _has_exactly_once(self) -> bool:
        return self._with.new_claim().guarantee == "exactly_once"

    def _is_fenced(self, restored: RestoredShard) -> bool:
        """Whether no transaction of a former owner can be committed any more; exactly once fences before each claim."""
        return restored.log.owners.is_fenced(restored.shard) or self._has_exactly_once

    def _fence(self) -> None:
        """Fence the transactions of a former owner with exactly once, then read the shard again behind a new claim.

        A process that was paused could commit its transaction after this one has read the checkpoints. A crash before
        the new claim leaves one that does not say ``fenced``: the next owner does the same.
        """
        log.info("a former owner of the shard had exactly once: fencing its transactions", shard=self.lease.shard)
        self._change(ShardSignal.UNFENCED)
        self._has_fenced = True
        self._with.fence(self.lease, self._note_fenced)

    def _restored(self, restored: RestoredShard) -> None:
        self.lease.raise_epoch_floor(restored.log.owners.forgotten_epoch(restored.shard))
        if self.state is ShardState.RETURNING:
            self._return(restored)
            return
        if self.state is not ShardState.SUSPENDED:  # lost again: the next reading shows who owned it in between
            self.lease.claimed(restored.token)
        if self.state is ShardState.RESTORING:
            if self._has_fenced or self._is_fenced(restored):
                self._own_or_block(restored)
            else:
                self._fence()
        elif self.state is ShardState.REREADING and not self._is_fenced(restored):
            self._acquire_again()  # the process that contests the shard has exactly once
        elif self.state is ShardState.REREADING and not self._must_read_again(restored):
            self._change(ShardSignal.RESTORED)
            self._restart_suspended(self._foreign_records.marked(restored.log.restored()))

    def _must_read_again(self, restored: RestoredShard) -> bool:
        """Whether a record must be written behind what was read, and another claim behind that."""
        claimed = self.lease.highest_epoch
        self.lease.know_epoch(restored.log.highest_epoch)
        highest = self.lease.highest_epoch
        is_handed_on = restored.log.is_epoch_kept or claimed == highest or highest < unix_ms() // 1000 - _DAY
        if self._foreign_records.must_answer(restored.log.restored()):
            return True  # ``tick`` writes the answers, and reads
        is_handed_on = is_handed_on and self._is_noted(restored)
        if not is_handed_on:
            self._read()
        return not is_handed_on

    def _is_noted(self, restored: RestoredShard) -> bool:
        """Whether Kafka has the record of exactly once before the first transaction, and none after the fencing."""
        had = restored.log.owners.had_exactly_once(restored.shard)
        if had and not self._has_exactly_once:
            self._with.reader.put(restored.shard, EXACTLY_ONCE_KEY, None)  # behind the claim that says ``fenced``
        return had or not self._has_exactly_once

    def _own_or_block(self, restored: RestoredShard) -> None:
        self.invalid = list(restored.log.invalid)
        mistakes = mistakes_of_shard(self._with.topic, self._with.new_claim(), restored.previous, self.invalid)
        if mistakes:
            self._change(ShardSignal.INVALID)
            self.error, self._retry_at = SettingsError(mistakes), monotonic() + _RETRY
            return
        if self._must_read_again(restored):
            return
        self._change(ShardSignal.RESTORED)
        self.error = None
        checkpoints = self._foreign_records.marked(restored.log.restored())
        self.restored_checkpoints = len(checkpoints)
        self._with.restore_duration.observe(monotonic() - self._restore_began)
        log.info("shard acquired", shard=restored.shard, fencing_token=restored.token, checkpoints=len(checkpoints))
        self._with.sessions.acquire(self.lease, checkpoints)

    # Lost, and assigned again

    def _lost(self) -> None:
        """Suspend: if Kafka was only unavailable, the records in memory are still needed. Exactly once continues."""
        self._change(ShardSignal.LOST)
        if self.state is ShardState.GONE:
            self.is_undelivered = not self._with.sessions.is_drained(self.lease.shard, readers=False)
            self._clear()
            return
        self.lease.suspend()  # it may have been resumed just now
        log.warning("shard lost: readers continue; its owner is not known yet", shard=self.lease.shard)

    def _return(self, restored: RestoredShard) -> None:
        """Continue if no other process claimed the shard meanwhile; otherwise restart from the stored checkpoints."""
        lease, newest = self.lease, restored.log.owners.claim_of(restored.shard)
        if newest is None or newest[0] != lease.fencing_token or restored.log.invalid:
            log.warning("another process owned the shard meanwhile: restarting its sessions", shard=restored.shard)
            self._acquire_again()
            return
        lease.claimed(restored.token)
        self._change(ShardSignal.RESTORED)
        lease.know_epoch(restored.log.highest_epoch)
        checkpoints = restored.log.restored()
        self._restart_suspended(checkpoints)
        # Those that a command changed: there was no owner.
        for key in self._with.sessions.running.stale(restored.shard, checkpoints):
            self.restart(key)
        lease.resume()
        log.info(
            "shard assigned again, and no other process owned it", shard=restored.shard, fencing_token=restored.token
        )

    def _restart_suspended(self, checkpoints: Mapping[SessionKey, Restored]) -> None:
        self._with.sessions.restart_suspended(self.lease.shard, checkpoints, self._foreign_records.was_read())

    def _acquire_again(self) -> None:
        """Drop everything of the shard, and acquire it under another lease."""
        self.end(ShardSignal.TAKEN_OVER)
        self._with.leases.replace(self.lease)

    # Release

    def release(self, deadline: float) -> None:
        """Release the shard; after ``deadline`` it is released even if records are not delivered."""
        if self.state is ShardState.RELEASING:
            self._deadline = min(self._deadline, deadline)
            return
        shard, was_uncertain = self.lease.shard, self.state in IS_UNCERTAIN
        self._change(ShardSignal.REVOKED)
        if self.state is ShardState.GONE:
            self.is_undelivered = was_uncertain and not self._with.sessions.is_drained(shard, readers=False)
            self._clear()
            return
        self._release_began, self._deadline = monotonic(), deadline
        self._with.reader.forget(shard)
        self._with.sessions.revoke(shard)
        self._with.delivery.flush(shard)
        self._check_release(monotonic())

    def _check_release(self, now: float) -> None:
        shard, began = self.lease.shard, self._release_began
        with_readers = now < began + (self._deadline - began) * _READERS_PART
        if self._with.sessions.is_drained(shard, readers=with_readers):
            log.info("shard released", shard=shard, seconds=round(now - began, 3))
        elif now < self._deadline:
            return
        else:
            log.error(
                "shard released before everything was delivered: the next owner reads the rest again", shard=shard
            )
            self.is_undelivered = True
        self.end(ShardSignal.RELEASED)

    def end(self, signal: ShardSignal) -> None:
        """Hand nothing of the shard to a producer any more."""
        self._change(signal)
        self._clear()

    def _clear(self) -> None:
        self.lease.revoke()
        self._with.reader.forget(self.lease.shard)
        self._with.sessions.forget(self.lease.shard)
        self._with.delivery.leave(self.lease)
        self.lease.released.set()
