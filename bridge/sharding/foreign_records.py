"""Records of other processes in an owned shard, and what the owner does about them.

Compaction keeps only the last record of a session. If that is a stale write of a former owner, a later owner may find
nothing else: it would continue in an epoch that consumers have passed, or revive a session that was forgotten. So each
stale write is answered: running sessions write their own position again, the others get a new epoch or a tombstone.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from structlog.stdlib import get_logger

from bridge.clock import monotonic, unix_ms
from bridge.core.checkpoint_history import Restored
from bridge.core.checkpoint_log import CheckpointRecord
from bridge.core.identity import Position, SessionKey, new_epoch, partition_of
from bridge.core.owner_records import tombstone_headers
from bridge.core.records.checkpoint import encode, epoch_and_token, epoch_in, token_of
from bridge.core.records.claim import CLAIM_KEY
from bridge.delivery.lease import Lease
from bridge.sharding.collaborators import Collaborators
from bridge.sharding.invalid_checkpoints import session_of

log = get_logger("bridge.shards")

_PROOF = 1.0
"""Seconds that a proof of membership holds: two processes that both believe to own the shard must not answer each other
for ever."""


class ForeignRecords:
    """One ownership of one shard. Thread rule: the main thread."""

    def __init__(self, lease: Lease, collaborators: Collaborators) -> None:
        self.reading = 0
        """The number of the newest reading; the result of an earlier one does not show who owned the shard since."""
        self._lease, self._with = lease, collaborators
        self._contested_at: float | None = None
        self._restarting: set[SessionKey] = set()
        """Suspended sessions that wait until the shard was read again for them."""
        self._covered: set[SessionKey] = set()
        """Those for which the present reading is enough."""
        self._forgotten: set[SessionKey] = set()
        """Sessions without a checkpoint: a tombstone is the answer."""
        self._unanswered: dict[SessionKey, Restored] = {}
        self._answered: set[SessionKey] = set()

    def handle(self, record: CheckpointRecord) -> None:
        """Another process wrote this record, or a former producer of this one."""
        shard, key = self._lease.shard, session_of(record.key)
        if record.key == CLAIM_KEY:
            log.error("another process claims this shard: waiting for a proof of membership", shard=shard)
            self._contested_at = monotonic()
        elif key is None:
            self._with.sessions.rewrite_floor(shard)  # compaction may keep only the foreign record
        elif partition_of(record.key, self._with.count) != shard:
            log.error("ignoring a checkpoint in another partition than its key's", **key.log_fields, partition=shard)
        else:
            self._handle_checkpoint(key, record)

    def _handle_checkpoint(self, key: SessionKey, record: CheckpointRecord) -> None:
        sessions, own_token = self._with.sessions, self._lease.fencing_token
        is_running, own_epoch = sessions.running.is_running(key), sessions.restored_epoch(key)
        if record.forgotten_by is not None and record.forgotten_by <= (own_token or 0):
            # The tombstone of a session that had ended. If it came back since, its checkpoint is written again.
            if is_running:
                self._with.delivery.sessions.write_again(key)
            elif own_epoch is not None and record.forgotten_by != own_token:
                self.restart(key)  # the reading finds out whether it came back
        elif is_running and (record.is_own or is_harmless(record, own_token, own_epoch)):
            self._with.delivery.sessions.write_again(key)
        elif record.is_own:
            self.restart(key)  # the reading answers it
        elif not (is_running or record.value) and own_epoch is None:
            return  # the tombstone of a session that is not known, perhaps our own answer
        elif not is_running and own_epoch is None and is_stale(record, own_token):
            self._lease.know_epoch(epoch_in(record.value) or 0)  # if it comes back, it starts above that
            self._forgotten.add(key)
        else:
            log.error("another process wrote a checkpoint of this session: restarting it from there", **key.log_fields)
            self.restart(key)

    # Reading the shard again

    def restart(self, key: SessionKey) -> None:
        """Stop the session; it starts again from the stored checkpoint once the shard was read again."""
        self._with.sessions.suspend(key)
        self._restarting.add(key)

    def must_read(self, now: float) -> bool:
        """Whether to read the shard again now, behind a new claim; asked only while it is not read.

        For the restarting sessions: once no transaction holds records of them, whose checkpoint would come after the
        claim. If another process claimed the shard: once the group confirms that we own it, because only a newer claim
        makes our checkpoints the owner's.
        """
        if self._restarting and all(map(self._with.sessions.running.is_out_of_transaction, self._restarting)):
            return True
        if self._contested_at is not None and self._lease.is_proven_within(now - self._contested_at):
            self._contested_at = None
            return True
        return False

    def begin_reading(self) -> int:
        """The shard is read, for any reason: not enough for a session whose transaction may end behind the claim.

        Returns the number of the reading.
        """
        self._covered = set(filter(self._with.sessions.running.is_out_of_transaction, self._restarting))
        self.reading += 1
        return self.reading

    def was_read(self) -> AbstractSet[SessionKey]:
        """The sessions that stay suspended, because the shard must be read once more for them."""
        self._restarting -= self._covered
        self._covered = set()
        return frozenset(self._restarting)

    # Answers

    def must_answer(self, restored: Mapping[SessionKey, Restored]) -> bool:
        """Note the stale sessions that no worker runs; True: wait for ``answer``, then read the shard again.

        A worker starts a new epoch for its session at once; some sessions have none for long, or for ever. Until that
        reading none of them starts: it would start from an older checkpoint.
        """
        self._unanswered = {
            key: each
            for key, each in restored.items()
            if each.is_stale and key not in self._answered and not self._with.sessions.running.is_running(key)
        }
        for key in self._unanswered:
            self._with.sessions.suspend(key)
        return bool(self._unanswered)

    def answer(self) -> bool:
        """Write the answers once membership is proved; True when the shard must be read again behind them.

        The claim of that reading is written by the same producer, so what is read before it contains the answers. A
        crash before it leaves the stale writes, which the next owner answers. No session starts between its tombstone
        and that reading: the tombstone would remove its first checkpoint.
        """
        if not (self._forgotten or self._unanswered) or not self._lease.is_proven_within(_PROOF):
            return False
        must_read = bool(self._unanswered)  # the shard waits for that
        self._leave_out_started()
        shard, headers = self._lease.shard, tombstone_headers(self._lease.fencing_token or 0)
        for key in self._forgotten:
            self._with.sessions.suspend(key)
            self._with.reader.put(shard, key.record_key, None, headers)
        for key, restored in self._unanswered.items():
            self._with.reader.put(shard, key.record_key, self._moved(restored))
        if not (self._forgotten or self._unanswered):
            return must_read
        log.warning(
            "answering stale checkpoints of a former owner",
            shard=shard, new_epochs=len(self._unanswered), tombstones=len(self._forgotten),
        )  # fmt: skip
        self._answered |= self._unanswered.keys()
        self._forgotten, self._unanswered = set(), {}
        return True

    def _leave_out_started(self) -> None:
        """Leave out the sessions that started while the answers waited for the proof.

        One that was not known started above the epoch of the stale write: only its checkpoint is written again. One
        that had a checkpoint may run below that epoch: it starts again from the stored one.
        """
        sessions = self._with.sessions
        known = {key for key in self._forgotten if sessions.restored_epoch(key) is not None}
        for key in known | set(filter(sessions.running.is_running, self._forgotten)):
            self._forgotten.discard(key)
            self._with.delivery.sessions.write_again(key)
        for key in tuple(filter(sessions.running.is_running, self._unanswered)):
            del self._unanswered[key]
            self.restart(key)

    def _moved(self, restored: Restored) -> bytes:
        """The checkpoint of a new epoch above all known ones, at the same place of the stream."""
        now, checkpoint = unix_ms(), restored.checkpoint
        epoch = new_epoch(max(checkpoint.position.epoch, self._lease.highest_epoch), now // 1000)
        position = Position(epoch, 0, checkpoint.position.last_event_id)
        return encode(replace(checkpoint, position=position, updated_ms=now, fencing_token=self._lease.fencing_token))

    def marked(self, restored: Mapping[SessionKey, Restored]) -> Mapping[SessionKey, Restored]:
        """What was read behind the answers: a session with one still announces why its epoch is new when it starts."""
        answered, self._answered = self._answered, set()
        return {key: replace(each, is_stale=each.is_stale or key in answered) for key, each in restored.items()}


def is_stale(record: CheckpointRecord, own_token: int | None) -> bool:
    """Whether its writer has an older claim than the owner; a checkpoint by a command has none."""
    return own_token is not None and 0 <= token_of(epoch_and_token(record.value)) < own_token


def is_harmless(record: CheckpointRecord, own_token: int | None, own_epoch: int | None) -> bool:
    """Whether it is a stale write without a higher epoch than the restored one: ours is written again behind it."""
    epoch = epoch_in(record.value)
    return is_stale(record, own_token) and epoch is not None and own_epoch is not None and epoch <= own_epoch
