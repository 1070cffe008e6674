"""Takes the shards that the group assigns to this process, and gives them up again.

A shard is a partition of the checkpoints topic. Taking one: whoever had it is kept out (exactly once), a claim is
written and read back, which restores the checkpoints before it, and only then do its sessions begin. Giving one up:
its readers stop, what they have read is delivered and checkpointed, and only then does the partition go.

Crash points: a process killed while it takes a shard leaves a claim behind, which says nothing about any session; one
killed while it gives one up leaves what any kill leaves, a checkpoint that speaks of less than Kafka has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from structlog.stdlib import get_logger

from bridge.clock import monotonic
from bridge.core.checkpoint_log import CheckpointRecord, InvalidCheckpoint, epoch_in
from bridge.core.identity import SessionKey, partition_of
from bridge.core.records.checkpoint import epoch_and_token, token_of
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.core.snapshot import ShardSnapshot
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import Delivery
from bridge.errors import Mistake, SettingsError
from bridge.sharding.assignment import AllGone, Assignment, Note
from bridge.sharding.invalid_checkpoints import mistakes_of, session_of
from bridge.sharding.read_state import Taken
from bridge.sharding.roles import Reading, Sessions
from bridge.sharding.states import Stage, Turn, next_stage

log = get_logger("bridge.shards")

_AGAIN = 30.0
"""Seconds until a shard whose checkpoints cannot be gone by is read again: whoever mends them waits no longer."""
_READERS_SHARE = 1 / 3
"""Of the time to give a shard up: a reader in a name lookup that hangs must not cost the others what they have read."""


@dataclass(slots=True)
class _Shard:
    lease: Lease
    stage: Stage = Stage.FENCING
    again_at: float = inf
    """When a blocked one is read again."""
    begun: float = 0.0
    """When giving it up began, and when it must be over."""
    deadline: float = inf
    held: set[SessionKey] = field(default_factory=set)
    """Sessions to be begun again, once the shard can be read again for them."""
    is_read_again: bool = False
    doubted_at: float | None = None
    """When another process claimed it."""
    flaws: Sequence[InvalidCheckpoint] = ()
    mistakes: Sequence[Mistake] = ()
    trouble: str | None = None
    gone: list[AllGone] = field(default_factory=list)
    """To be set when it is."""


class Shards:
    """The shards of this process.

    Thread rule: the main thread's, but for ``snapshots`` and ``troubles``, which are any's.
    """

    def __init__(  # noqa: PLR0913 - what ownership is made of, given once
        self,
        count: int,
        *,
        topic: str,
        assignment: Assignment,
        reader: Reading,
        delivery: Delivery,
        sessions: Sessions,
        claim: Callable[[], Claim],
        give_up_within: float,
    ) -> None:
        """``claim`` makes a claim with a nonce of its own; after ``give_up_within`` seconds a shard goes as it is."""
        self._count = count
        self._topic = topic
        self._assignment = assignment
        self._reader = reader
        self._delivery = delivery
        self._sessions = sessions
        self._claim = claim
        self._give_up_within = give_up_within
        self._shards: dict[int, _Shard] = {}
        self._has_begun = False
        self.restored = 0
        """Checkpoints that were read back, of all shards that were taken."""
        self.left_undelivered = 0
        """Shards that were given up before everything was delivered."""

    @property
    def are_taken(self) -> bool:
        """Whether every assigned shard is owned, or may not be."""
        return all(each.stage in _SETTLED for each in self._shards.values()) and self._assignment.is_quiet

    @property
    def are_leaving(self) -> bool:
        """Whether any is being given up."""
        return any(each.stage is Stage.LEAVING for each in self._shards.values())

    @property
    def are_gone(self) -> bool:
        """Whether nothing is left."""
        return not self._shards

    def troubles(self) -> dict[int, str]:
        """Why shards are not owned that should be."""
        told = {shard: each.trouble for shard, each in self._shards.items() if each.trouble is not None}
        return {**self._reader.held_up(), **told}

    def tick(self) -> None:
        """Act on what other threads noted, and on what time has brought."""
        for note in self._assignment.notes():
            self._heed(note)
        self._judge_start()
        for key in self._sessions.must_restart():
            self._begin_session_again(self._shards[partition_of(key.record_key, self._count)], key)
        now = monotonic()
        for shard, each in list(self._shards.items()):
            if each.stage is Stage.LEAVING:
                self._let_go(shard, each, now)
            elif each.stage is Stage.BLOCKED and now >= each.again_at:
                self._turn(each, Turn.AGAIN)
                self._restore(each)
            else:
                self._look_again(each)
                self._settle_doubt(each, now)

    def stop(self, deadline: float) -> None:
        """Give all up, by ``deadline``."""
        self.note_start()  # whatever it was to find is not worth an error any more
        self.tick()
        for each in list(self._shards.values()):
            self._give_up(each, deadline)

    def abandon(self) -> None:
        """Hand nothing more over; raises nothing."""
        for note in self._assignment.notes():
            if note.gone is not None:
                note.gone.count_down()
        for each in list(self._shards.values()):
            self._gone(each, Turn.GIVEN_AWAY)

    def _heed(self, note: Note) -> None:
        if note.turn is None and note.lease is not None:
            self._take(note.lease)
            return
        each = self._shards.get(note.shard)
        if each is None or (note.lease is not None and each.lease is not note.lease):
            if note.gone is not None:
                note.gone.count_down()  # given up before: stopped, or lost
            return  # word of a tenure that is over
        if note.word is not None:
            self._face(each, note.word)
        elif note.taken is not None:
            self._taken(each, note.taken)
        else:
            self._follow(each, note)

    def _follow(self, each: _Shard, note: Note) -> None:
        if note.turn is Turn.FENCED:
            self._turn(each, Turn.FENCED)
            self._restore(each)
        elif note.turn is Turn.AGAIN:
            if note.lease is None:  # its claim went with the topic
                each.lease.begin_anew()
                each.is_read_again = False
                self._read_again(each)
            elif each.stage is Stage.RETURNING or (
                each.is_read_again and each.stage is Stage.OWNED
            ):  # another reading took the place of ours
                self._restore(each)
        elif note.turn is Turn.LOST:
            self._lose(each)
        elif note.turn is Turn.GIVEN_AWAY:
            log.warning("another process has the shard: its sessions are read there", shard=note.shard)
            self._gone(each, Turn.GIVEN_AWAY)
        elif note.turn is Turn.REVOKED:
            if note.gone is not None:
                each.gone.append(note.gone)
            self._give_up(each, monotonic() + self._give_up_within)

    # Taking

    def _take(self, lease: Lease) -> None:
        former = self._shards.get(lease.shard)
        if former is not None and former.lease is lease and former.stage is Stage.SUSPENDED:
            self._turn(former, Turn.ASSIGNED)
            self._restore(former)
            return
        if former is not None:  # one that this process gave up so late that it has it again
            self._gone(former, Turn.GIVEN_AWAY)
        if lease.is_suspended:
            return  # lost before it was begun; who loses it says no more than that
        each = self._shards[lease.shard] = _Shard(lease)
        log.debug("shard assigned", shard=lease.shard)
        self._delivery.enter(lease, lambda: self._assignment.note(Note(each.lease.shard, Turn.FENCED, lease)))

    def _restore(self, each: _Shard) -> None:
        lease = each.lease
        note = self._assignment.note
        self._reader.take(
            lease.shard, self._claim(), lambda taken: note(Note(lease.shard, Turn.RESTORED, lease, taken))
        )

    def _taken(self, each: _Shard, taken: Taken) -> None:
        shard, lease = taken.shard, each.lease
        if each.stage is not Stage.RETURNING:
            lease.claimed(taken.term)
        if each.stage is Stage.RESTORING:
            mistakes = self._mistakes(each, taken)
            if mistakes:
                self._block(each, mistakes)
                return
            self._turn(each, Turn.RESTORED)
            each.trouble = None
            restored = taken.log.restored()
            self.restored += len(restored)
            log.info("shard taken", shard=shard, term=taken.term, checkpoints=len(restored))
            self._sessions.acquire(lease, restored)
        elif each.stage is Stage.RETURNING:
            self._return(each, taken)
        elif each.stage is Stage.OWNED and each.is_read_again:
            each.is_read_again = False
            self._sessions.restart_suspended(shard, taken.log.restored())

    def _mistakes(self, each: _Shard, taken: Taken) -> list[Mistake]:
        former = taken.previous
        if former is not None and former.shards != self._count:
            return [_other_shards(self._topic, former, self._count)]
        if former is not None and former.servers != self._claim().servers:
            log.warning(
                "the last owner of this shard named other servers: if it still runs, make their settings the same",
                shard=taken.shard, owner=former.owner,
            )  # fmt: skip
        each.flaws = list(taken.log.invalid)
        return mistakes_of(self._topic, taken.log.invalid) if taken.log.invalid else []

    def _block(self, each: _Shard, mistakes: list[Mistake]) -> None:
        """At the start this ends the process; later the other shards go on, and this one is looked at again."""
        self._turn(each, Turn.FLAWED)
        each.trouble = str(SettingsError(mistakes))
        each.again_at = monotonic() + _AGAIN
        if self._has_begun:
            log.error("this shard is not bridged", shard=each.lease.shard, error=each.trouble, again_in=_AGAIN)
        else:
            each.mistakes = mistakes

    def _judge_start(self) -> None:
        """What is wrong with any shard is told at once: whoever mends it should not have to start once for each."""
        if self._has_begun or not self.are_taken:
            return
        blocked = [each for each in self._shards.values() if each.stage is Stage.BLOCKED]
        flaws = [flaw for each in blocked for flaw in each.flaws]
        if flaws:
            raise SettingsError(mistakes_of(self._topic, flaws))
        if blocked:
            raise SettingsError(blocked[0].mistakes)  # the others say the same of their shards

    def note_start(self) -> None:
        """The start is over: from now on a shard that cannot be taken does not end the process."""
        self._has_begun = True

    # Losing, and having again

    def _lose(self, each: _Shard) -> None:
        """Silence while Kafka was away costs membership, and perhaps nothing else: what was read is worth keeping."""
        self._turn(each, Turn.LOST)
        if each.stage is Stage.GONE:
            self._clear(each)
            return
        each.trouble = "this process is no member of its group: what is read waits in memory until the group says more"
        log.warning("shard lost: reading on into memory until it is known who has it", shard=each.lease.shard)

    def _return(self, each: _Shard, taken: Taken) -> None:
        """Go on where nobody has claimed it since this process did; else begin anew with what the other has left."""
        lease, newest = each.lease, taken.log.claim_of(taken.shard)
        if newest is None or newest[0] != lease.term or taken.log.invalid:
            log.warning("another process has had the shard meanwhile: beginning from what stands", shard=taken.shard)
            self._gone(each, Turn.GIVEN_AWAY)
            anew = self._assignment.replaced(lease)
            if anew is not None:
                self._take(anew)
            return
        lease.claimed(taken.term)
        self._turn(each, Turn.RESTORED)
        each.trouble, each.is_read_again = None, False
        each.held.clear()  # what was to be read again is read
        restored = taken.log.restored()
        for key in self._sessions.stale(taken.shard, restored):  # by a command, which found no owner
            self._sessions.suspend(key)
        self._sessions.restart_suspended(taken.shard, restored)
        lease.resume()
        self._delivery.resume(taken.shard)
        log.info("shard is this process's again, and nobody else had it", shard=taken.shard, term=taken.term)

    # What others write

    def _face(self, each: _Shard, word: CheckpointRecord) -> None:
        if each.stage is not Stage.OWNED:
            return
        if word.key == CLAIM_KEY:
            log.error("another process claims this shard: proving whose it is", shard=each.lease.shard)
            each.doubted_at = monotonic()
            return
        key = session_of(word.key)
        if key is None or self._is_harmless(each, key, word):
            return
        if partition_of(word.key, self._count) != each.lease.shard:
            log.error(
                "somebody wrote a position into a partition that is not its own: nothing goes by it",
                session=str(key), partition=each.lease.shard,
            )  # fmt: skip
            return
        log.error("somebody else wrote a position of this session: it begins again from what stands", session=str(key))
        self._begin_session_again(each, key)

    def _is_harmless(self, each: _Shard, key: SessionKey, word: CheckpointRecord) -> bool:
        """A late word in no epoch above the one that was taken over hides nothing; the next restore minds it."""
        term, epoch, own = (
            token_of(epoch_and_token(word.value)),
            epoch_in(word.value),
            self._sessions.restored_epoch(key),
        )
        is_late = each.lease.term is not None and 0 <= term < each.lease.term
        return is_late and epoch is not None and own is not None and epoch <= own

    def _begin_session_again(self, each: _Shard, key: SessionKey) -> None:
        self._sessions.suspend(key)
        each.held.add(key)

    def _read_again(self, each: _Shard) -> None:
        """As a whole, behind a new claim: its term says that whatever stands before it was known.

        One reading that is under way already finds all that was heard of before.
        """
        if each.stage is Stage.OWNED and not each.is_read_again:
            each.is_read_again = True
            self._restore(each)

    def _look_again(self, each: _Shard) -> None:
        """Once no transaction holds anything of what is held: its position would come behind the claim."""
        if each.held and all(self._sessions.is_out_of_transaction(key) for key in each.held):
            each.held.clear()
            self._read_again(each)

    def _settle_doubt(self, each: _Shard, now: float) -> None:
        """The group says that it is ours, whoever claimed it: only a newer claim makes our words those of the owner."""
        if each.doubted_at is not None and each.lease.is_proven_within(now - each.doubted_at):
            each.doubted_at = None
            self._read_again(each)

    # Giving up

    def _give_up(self, each: _Shard, deadline: float) -> None:
        if each.stage is Stage.LEAVING:
            each.deadline = min(each.deadline, deadline)
            return
        was = each.stage
        self._turn(each, Turn.REVOKED)
        if each.stage is Stage.GONE:
            if was in _IN_DOUBT and not self._sessions.is_drained(each.lease.shard, readers=False):
                self.left_undelivered += 1
            self._clear(each)
            return
        each.begun, each.deadline = monotonic(), deadline
        self._reader.forget(each.lease.shard)
        self._sessions.revoke(each.lease.shard)
        self._delivery.flush(each.lease.shard)
        self._let_go(each.lease.shard, each, monotonic())

    def _let_go(self, shard: int, each: _Shard, now: float) -> None:
        with_readers = now < each.begun + (each.deadline - each.begun) * _READERS_SHARE
        if self._sessions.is_drained(shard, readers=with_readers):
            log.info("shard given up", shard=shard, seconds=round(now - each.begun, 3))
        elif now < each.deadline:
            return
        else:
            log.error(
                "shard given up before everything was delivered: what is missing is read again by its next owner",
                shard=shard,
            )
            self.left_undelivered += 1
        self._gone(each, Turn.LEFT)

    def _gone(self, each: _Shard, turn: Turn) -> None:
        self._turn(each, turn)
        self._clear(each)

    def _clear(self, each: _Shard) -> None:
        shard = each.lease.shard
        self._shards.pop(shard, None)
        each.lease.revoke()
        self._reader.forget(shard)
        self._sessions.forget(shard)
        self._delivery.leave(each.lease)
        for gone in each.gone:
            gone.count_down()

    def _turn(self, each: _Shard, turn: Turn) -> None:
        each.stage = next_stage(each.stage, turn)

    # What is told

    def snapshots(self) -> tuple[ShardSnapshot, ...]:
        """All shards of this process (any thread)."""
        held_up, counts = self._reader.held_up(), self._sessions.count_by_shard()
        return tuple(
            ShardSnapshot(
                shard, each.stage.value, each.lease.term, counts.get(shard, 0),
                each.trouble or held_up.get(shard),
            )
            for shard, each in sorted(self._shards.copy().items())
        )  # fmt: skip


_IN_DOUBT = frozenset({Stage.SUSPENDED, Stage.RETURNING})
_SETTLED = frozenset({Stage.OWNED, Stage.BLOCKED, Stage.LEAVING}) | _IN_DOUBT


def _other_shards(topic: str, former: Claim, count: int) -> Mistake:
    return Mistake(
        "topics.checkpoints",
        f"{topic} has {count} partitions, but {former.owner} owned a shard of {former.shards}: with another number of"
        " shards sessions belong elsewhere, and would begin anew; nothing is bridged before this is settled. Partitions"
        " were added, perhaps. The way out: `mix-bridge checkpoints export --output positions.json`, name a new topic"
        " with as many partitions as you want (topics.checkpoints, topics.shards), `mix-bridge checkpoints import"
        " positions.json`, start",
    )
