"""Owners of a shard succeed each other, and former owners still write: no consumer ever misses an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.core.checkpoint_history import Restored
from bridge.core.checkpoint_log import CheckpointLog
from bridge.core.identity import Position, SessionKey
from bridge.core.records import claim
from bridge.core.records.checkpoint import Checkpoint, decode, encode
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.core.stream.overlap import OverlapWindow

KEY = SessionKey("local", "a")
OVERLAP = OverlapWindow.starting("")
CLAIM = claim.encode(Claim("host:1", "nonce", 1, "f00", 0))


def stored(epoch: int, sequence: int, event: int, term: int | None) -> bytes:
    """A checkpoint record: everything up to this event is in Kafka."""
    position = Position(epoch, sequence, str(event))
    return encode(Checkpoint(KEY, position, "active", 0, "", OverlapWindow.starting(str(event)), term))


class Stored(NamedTuple):
    """One record of the checkpoints topic."""

    offset: int
    key: bytes
    value: bytes


def restored(records: Sequence[Stored]) -> Restored | None:
    """Where the log resumes the session."""
    log = CheckpointLog(1, keep_records=False)
    for record in records:
        log.add(0, record.offset, 0, record.key, record.value)
    assert not log.invalid
    return log.restored().get(KEY)


@dataclass
class World:
    """Kafka: the events of one session, and its shard."""

    published: list[tuple[int, int, int]] = field(default_factory=list)
    """(epoch, sequence, event)"""
    records: list[Stored] = field(default_factory=list)
    end: int = 0
    epochs: int = 10
    """The clock of all machines: every new epoch starts in another second."""

    def write(self, key: bytes, value: bytes) -> int:
        self.records.append(Stored(self.end, key, value))
        self.end += 1
        return self.end - 1

    def compact(self, end: int) -> None:
        """Keep only the last record per key, as Kafka does with records older than the topic's compaction lag."""
        last = {record.key: record.offset for record in self.records if record.offset < end}
        self.records = [each for each in self.records if each.offset >= end or last[each.key] == each.offset]

    def seen(self) -> set[int]:
        """The events that a consumer keeps which follows the rule."""
        highest, found = (-1, -1), set()
        for epoch, sequence, event in self.published:
            if (epoch, sequence) > highest:
                highest = (epoch, sequence)
                found.add(event)
        return found


@dataclass
class Owner:
    """One owner of the shard; it does not notice when another one follows."""

    world: World
    term: int
    epoch: int
    sequence: int
    event: int
    """The last event that it published, or found published."""
    must_start_epoch: bool
    """Whether a new epoch must start before anything else."""
    unwritten: list[tuple[int, int]] = field(default_factory=list)
    """Published in its epoch and not yet checkpointed: (sequence, event)."""

    @classmethod
    def of(cls, world: World) -> Owner:
        """Claim the shard, and read it up to the own claim."""
        term = world.write(CLAIM_KEY, CLAIM)
        found = restored(world.records)
        if found is None:
            return cls(world, term, 0, 0, 0, must_start_epoch=True)
        position = found.checkpoint.position
        return cls(world, term, position.epoch, position.sequence, int(position.last_event_id), found.is_stale)

    def claim_again(self) -> Owner:
        """For another session, or after a foreign claim; if others wrote about this session, it restarts."""
        others = [each for each in self.world.records if each.offset > self.term and each.key != CLAIM_KEY]
        if any(decode(each.key, each.value).fencing_token != self.term for each in others):
            return Owner.of(self.world)
        self.term = self.world.write(CLAIM_KEY, CLAIM)
        return self

    def start_epoch(self, ahead: int = 0) -> None:
        """Start a new epoch: checkpointed before its first record."""
        self.world.epochs += 1 + ahead
        self.epoch, self.sequence, self.must_start_epoch = max(self.epoch + 1, self.world.epochs), 0, False
        self.world.epochs = self.epoch
        self.unwritten.clear()
        self.world.write(KEY.record_key, stored(self.epoch, 0, self.event, self.term))

    def publish(self, events: int) -> None:
        if self.must_start_epoch:
            self.start_epoch()
        for _ in range(events):
            self.sequence, self.event = self.sequence + 1, self.event + 1
            self.world.published.append((self.epoch, self.sequence, self.event))
            self.unwritten.append((self.sequence, self.event))

    def checkpoint(self, lag: int) -> None:
        """Write a checkpoint of all that is published, or of a little less."""
        if self.must_start_epoch or not self.unwritten:
            return
        at = max(0, len(self.unwritten) - 1 - lag)
        sequence, event = self.unwritten[at]
        del self.unwritten[: at + 1]
        self.world.write(KEY.record_key, stored(self.epoch, sequence, event, self.term))


def command(world: World) -> None:
    """``checkpoints set --force``: the session resumes at its position, in an epoch above all."""
    found = restored(world.records)
    if found is not None:
        world.epochs = max(world.epochs, found.checkpoint.position.epoch) + 1
        world.write(KEY.record_key, stored(world.epochs, 0, int(found.checkpoint.position.last_event_id), None))


OPS = st.one_of(
    st.tuples(st.just("own"), st.just(0), st.just(0)),
    st.tuples(st.just("publish"), st.integers(0, 3), st.integers(1, 4)),
    st.tuples(st.just("checkpoint"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("begin"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("command"), st.just(0), st.just(0)),
    st.tuples(st.just("stray claim"), st.just(0), st.just(0)),
    st.tuples(st.just("claim again"), st.just(0), st.just(0)),
    st.tuples(st.just("compact"), st.just(0), st.just(0)),
)
OWN = ("own", 0, 0)


def act(world: World, owners: list[Owner], op: str, who: int, how: int) -> None:
    """Take one step; ``who`` counts back from the newest owner."""
    if op == "own":
        owners.append(Owner.of(world))
    elif op == "command":
        command(world)
    elif op == "stray claim":
        world.write(CLAIM_KEY, CLAIM)
    elif op == "claim again":
        owners[-1] = owners[-1].claim_again()
    elif op == "compact":
        # Topics keep all records of the last ten minutes: an owner that found a stale write starts an epoch by then.
        if not owners[-1].must_start_epoch:
            world.compact(owners[-1].term + 1)
    else:
        owner = owners[max(-len(owners), -1 - who)]
        {"publish": owner.publish, "checkpoint": owner.checkpoint, "begin": owner.start_epoch}[op](how)


@settings(max_examples=200, deadline=None)
@given(ops=st.lists(OPS, max_size=40))
# The successor started an epoch, so consumers drop its predecessor's records until that one starts an epoch too.
@example(
    [
        ("publish", 0, 2),
        ("checkpoint", 0, 0),
        OWN,
        ("begin", 0, 0),
        ("publish", 0, 1),
        ("publish", 1, 4),
        ("begin", 1, 0),
    ]
)
# An owner that did not know of a command's checkpoint wrote after it, and the topic was compacted.
@example(
    [
        ("publish", 0, 1),
        ("command", 0, 0),
        ("checkpoint", 0, 0),
        OWN,
        ("publish", 0, 1),
        ("compact", 0, 0),
    ]
)
# The owner does not know of a stale write, and starts an epoch for another reason.
@example(
    [
        ("publish", 0, 2),
        OWN,
        ("begin", 1, 0),
        ("publish", 1, 1),
        ("publish", 0, 4),
        ("begin", 0, 0),
        ("publish", 0, 1),
    ]
)
def test_consumers_never_miss_an_event(ops: list[tuple[str, int, int]]) -> None:
    """Whoever writes and publishes: the last owner resumes, and a consumer that follows the rule has all events."""
    world = World()
    owners = [Owner.of(world)]
    for op in ops:
        act(world, owners, *op)
    last = Owner.of(world)
    end = max([last.event, *(event for _epoch, _sequence, event in world.published)]) + 5
    last.publish(end - last.event)
    assert world.seen() == set(range(1, end + 1))


def records_of(*values: bytes) -> list[Stored]:
    """The records with these values; `CLAIM` gets the key of a claim."""
    keys = (CLAIM_KEY if value is CLAIM else KEY.record_key for value in values)
    return [Stored(offset, key, value) for offset, (key, value) in enumerate(zip(keys, values, strict=True))]


def resumed(*values: bytes) -> tuple[Position, bool]:
    """Where the session resumes behind these records, and whether it must start a new epoch."""
    found = restored(records_of(*values))
    assert found is not None
    return found.checkpoint.position, found.is_stale


def test_a_stale_write_in_the_same_epoch_starts_a_new_one_from_the_owners_last_stored() -> None:
    """Its numbers are the owner's own, so consumers drop nothing because of it."""
    assert resumed(CLAIM, stored(10, 5, 5, 0), CLAIM, stored(10, 8, 8, 0), stored(10, 9, 9, 2)) == ((10, 9, "9"), True)


def test_after_a_stale_write_in_a_higher_epoch_everything_is_repeated_that_consumers_may_have_dropped() -> None:
    """From the checkpoint before it, above all epochs, also those of an owner that wrote later without it."""
    before = [CLAIM, stored(10, 5, 5, 0), CLAIM, stored(10, 6, 6, 2), stored(12, 0, 9, 0)]
    assert resumed(*before) == ((12, 0, "6"), True)
    assert resumed(*before, stored(10, 20, 20, 2), stored(15, 3, 30, 2)) == ((15, 3, "6"), True)


def test_an_owner_that_knew_of_it_and_resumed_above_it_settles_it() -> None:
    """With a claim after it, or by a command; not in an epoch below it."""
    before = [CLAIM, stored(10, 5, 5, 0), CLAIM, stored(10, 6, 6, 2), stored(12, 0, 9, 0), CLAIM]
    for settling in (stored(13, 4, 10, 5), stored(13, 4, 10, None)):
        assert restored(records_of(*before, settling)) == Restored(decode(KEY.record_key, settling), is_stale=False)
    assert resumed(*before, stored(11, 4, 10, 5)) == ((12, 0, "6"), True)


def test_a_claim_without_any_checkpoint_costs_a_new_epoch_and_nothing_else() -> None:
    """Its process was paused before it claimed: the owner still writes, and claims again when it sees the claim."""
    before = [
        CLAIM,
        stored(10, 5, 5, 0),
        CLAIM,
        stored(10, 9, 9, 0),
        stored(12, 0, 9, 0),
        stored(12, 3, 12, 0),
    ]
    for records in (before, before[:4]):
        last = decode(KEY.record_key, records[-1])
        assert restored(records_of(*records)) == Restored(last, is_stale=True)
    assert restored(records_of(*before, CLAIM, stored(12, 7, 16, 6))) == Restored(
        decode(KEY.record_key, stored(12, 7, 16, 6)), is_stale=False
    )


def test_two_owners_that_chose_the_same_epoch_in_the_same_second_are_distinguished() -> None:
    """The second one did not know the first one's checkpoint, so both numbered events in it; a later claim tells."""
    before = [CLAIM, CLAIM, stored(12, 0, 0, 0), stored(12, 0, 0, 1), stored(12, 3, 3, 1)]
    found = restored(records_of(*before))
    assert found is not None
    assert (found.checkpoint.position.epoch, found.is_stale) == (12, True)
    own = restored(records_of(CLAIM, CLAIM, stored(12, 0, 0, 0), CLAIM, stored(12, 3, 3, 3)))
    assert own == Restored(decode(KEY.record_key, stored(12, 3, 3, 3)), is_stale=False)


def test_the_highest_epoch_is_known_when_its_checkpoint_is_gone() -> None:
    """From a claim, or from the record that a tombstone replaces; only then a claim must hand it on."""
    log = CheckpointLog(1)
    log.add(0, 0, 0, KEY.record_key, stored(12, 0, 0, None))
    assert (log.highest_epoch, log.is_epoch_kept) == (12, True)
    log.add(0, 1, 0, KEY.record_key, stored(13, 0, 0, None))
    log.add(0, 2, 0, KEY.record_key, None)
    assert (log.highest_epoch, log.is_epoch_kept) == (13, False)
    log.add(0, 3, 0, CLAIM_KEY, claim.encode(Claim("host:1", "nonce", 1, "f00", 0, epoch=20)))
    assert log.highest_epoch == 20


def test_a_session_with_only_a_stale_write_resumes_there_in_a_new_epoch() -> None:
    """Only a former owner knew the session."""
    assert resumed(CLAIM, CLAIM, stored(12, 4, 4, 0)) == ((12, 4, "4"), True)


def test_a_claim_that_compaction_removed_is_still_known_by_its_owners_checkpoints() -> None:
    """Otherwise a stale write would pass for the owner's."""
    other = SessionKey("local", "b").record_key
    log = CheckpointLog(1)
    log.add(
        0, 8, 0, other, encode(Checkpoint(SessionKey("local", "b"), Position(1, 1, ""), "active", 0, "", OVERLAP, 6))
    )
    log.add(0, 9, 0, KEY.record_key, stored(12, 4, 4, 0))
    assert log.restored()[KEY].is_stale
    assert not log.restored()[SessionKey("local", "b")].is_stale


def test_a_token_from_an_earlier_topic_is_ignored() -> None:
    """Offsets start at 0 in a recreated topic: a checkpoint always lies after the claim that it names."""
    found = restored(records_of(stored(12, 4, 4, 50), CLAIM))
    assert found is not None
    assert (found.checkpoint.fencing_token, found.is_stale) == (None, False)


def test_a_claim_is_known_by_its_offset_and_an_unreadable_one_counts_too() -> None:
    """A newer version may have written it."""
    log = CheckpointLog(2)
    assert log.owners.claim_of(0) is None
    log.add(0, 0, 0, CLAIM_KEY, CLAIM)
    log.add(0, 1, 0, CLAIM_KEY, b"?")
    log.add(0, 2, 0, CLAIM_KEY, None)
    log.add(1, 0, 0, CLAIM_KEY, b"?")
    assert log.owners.claim_of(0) == (0, claim.decode(CLAIM))
    assert log.owners.claim_of(1) is None
    stale = [Stored(0, CLAIM_KEY, CLAIM), Stored(1, CLAIM_KEY, b"?"), Stored(2, KEY.record_key, stored(1, 1, 1, 0))]
    found = restored(stale)
    assert found is not None
    assert found.is_stale


@pytest.mark.parametrize(("forgotten_by", "is_kept"), [(0, True), (1, False), (None, False)])
def test_a_paused_owner_does_not_forget_a_session_that_came_back(forgotten_by: int | None, *, is_kept: bool) -> None:
    """It sent the tombstone before the next owner's claim, and the session ran there since."""
    log = CheckpointLog(1)
    log.add(0, 0, 0, CLAIM_KEY, CLAIM)
    log.add(0, 1, 0, CLAIM_KEY, CLAIM)
    log.add(0, 2, 0, KEY.record_key, stored(12, 4, 4, 1))
    log.add(0, 3, 0, KEY.record_key, stored(11, 9, 9, 0))  # its own last checkpoint comes late, too
    if forgotten_by is None:
        log.add(0, 4, 0, KEY.record_key, None)
    else:
        log.forget(0, KEY.record_key, forgotten_by)
    found = log.restored().get(KEY)
    assert (found is not None) is is_kept
    if found is not None:
        assert (found.checkpoint.position, found.is_stale) == ((12, 4, "4"), True), "it must be written again"
