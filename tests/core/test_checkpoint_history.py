"""Owners of a shard follow each other, some write on after their time is over: no event is hidden, ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
RECENT = OverlapWindow.starting("")
CLAIM = claim.encode(Claim("host:1", "nonce", 1, "f00", 0))


def word(epoch: int, sequence: int, event: int, term: int | None) -> bytes:
    """Everything up to an event is in Kafka."""
    position = Position(epoch, sequence, str(event))
    return encode(Checkpoint(KEY, position, "active", 0, "", OverlapWindow.starting(str(event)), term))


class Stored(NamedTuple):
    """One record of the checkpoints topic."""

    offset: int
    key: bytes
    value: bytes


def restored(records: Sequence[Stored]) -> Restored | None:
    """What the log makes of one session."""
    log = CheckpointLog(1, keep_words=False)
    for record in records:
        log.take(0, record.offset, 0, record.key, record.value)
    assert not log.flaws
    return log.restored().get(KEY)


@dataclass
class World:
    """Kafka: one session's events, and its shard."""

    published: list[tuple[int, int, int]] = field(default_factory=list)
    """(epoch, sequence, event)"""
    records: list[Stored] = field(default_factory=list)
    end: int = 0
    epochs: int = 10
    """The clocks of all machines: no two new epochs are the same second's."""

    def write(self, key: bytes, value: bytes) -> int:
        self.records.append(Stored(self.end, key, value))
        self.end += 1
        return self.end - 1

    def compact(self, end: int) -> None:
        """As Kafka does with what is older than the topic's lag: of what has one key the last stays."""
        last = {record.key: record.offset for record in self.records if record.offset < end}
        self.records = [each for each in self.records if each.offset >= end or last[each.key] == each.offset]

    def seen(self) -> set[int]:
        """The events a consumer has that follows the rule."""
        highest, found = (-1, -1), set()
        for epoch, sequence, event in self.published:
            if (epoch, sequence) > highest:
                highest = (epoch, sequence)
                found.add(event)
        return found


@dataclass
class Owner:
    """One ownership of the shard, which does not know when it is over."""

    world: World
    term: int
    epoch: int
    sequence: int
    event: int
    """The last one it has published, or found published."""
    must_begin: bool
    """A new epoch, before anything else."""
    past: list[tuple[int, int]] = field(default_factory=list)
    """What it has published in its epoch and not yet written: (sequence, event)."""

    @classmethod
    def of(cls, world: World) -> Owner:
        """Claims the shard, and reads it to its own claim."""
        term = world.write(CLAIM_KEY, CLAIM)
        found = restored(world.records)
        if found is None:
            return cls(world, term, 0, 0, 0, must_begin=True)
        position = found.checkpoint.position
        return cls(world, term, position.epoch, position.sequence, int(position.last_event_id), found.is_late)

    def claim_again(self) -> Owner:
        """For another session's sake, or because of somebody's claim; if others wrote of this one, it begins again."""
        others = [each for each in self.world.records if each.offset > self.term and each.key != CLAIM_KEY]
        if any(decode(each.key, each.value).term != self.term for each in others):
            return Owner.of(self.world)
        self.term = self.world.write(CLAIM_KEY, CLAIM)
        return self

    def begin(self, ahead: int = 0) -> None:
        """A new epoch: checkpointed before its first record."""
        self.world.epochs += 1 + ahead
        self.epoch, self.sequence, self.must_begin = max(self.epoch + 1, self.world.epochs), 0, False
        self.world.epochs = self.epoch
        self.past.clear()
        self.world.write(KEY.record_key, word(self.epoch, 0, self.event, self.term))

    def publish(self, events: int) -> None:
        if self.must_begin:
            self.begin()
        for _ in range(events):
            self.sequence, self.event = self.sequence + 1, self.event + 1
            self.world.published.append((self.epoch, self.sequence, self.event))
            self.past.append((self.sequence, self.event))

    def checkpoint(self, lag: int) -> None:
        """Of what is published, or of a little less."""
        if self.must_begin or not self.past:
            return
        at = max(0, len(self.past) - 1 - lag)
        sequence, event = self.past[at]
        del self.past[: at + 1]
        self.world.write(KEY.record_key, word(self.epoch, sequence, event, self.term))


def command(world: World) -> None:
    """``checkpoints set --force``: the session goes on where it would, in an epoch above all."""
    found = restored(world.records)
    if found is not None:
        world.epochs = max(world.epochs, found.checkpoint.position.epoch) + 1
        world.write(KEY.record_key, word(world.epochs, 0, int(found.checkpoint.position.last_event_id), None))


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
    """One step; ``who`` counts back from the newest owner."""
    if op == "own":
        owners.append(Owner.of(world))
    elif op == "command":
        command(world)
    elif op == "stray claim":
        world.write(CLAIM_KEY, CLAIM)
    elif op == "claim again":
        owners[-1] = owners[-1].claim_again()
    elif op == "compact":
        # Topics keep what is younger than ten minutes; by then an owner that found a late word has begun its epoch.
        if not owners[-1].must_begin:
            world.compact(owners[-1].term + 1)
    else:
        owner = owners[max(-len(owners), -1 - who)]
        {"publish": owner.publish, "checkpoint": owner.checkpoint, "begin": owner.begin}[op](how)


@settings(max_examples=200, deadline=None)
@given(ops=st.lists(OPS, max_size=40))
# The successor has begun an epoch of its own, so its predecessor's records are hidden up to where that begins one too.
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
# An owner that did not know of a command's word wrote behind it, and the topic was compacted.
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
# The owner does not know of a late word, and begins an epoch for a reason of its own.
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
def test_nothing_is_ever_hidden(ops: list[tuple[str, int, int]]) -> None:
    """Whoever writes and publishes what, and when: the last owner goes on, and a consumer by the rule has all."""
    world = World()
    owners = [Owner.of(world)]
    for op in ops:
        act(world, owners, *op)
    last = Owner.of(world)
    end = max([last.event, *(event for _epoch, _sequence, event in world.published)]) + 5
    last.publish(end - last.event)
    assert world.seen() == set(range(1, end + 1))


def words(*values: bytes) -> list[Stored]:
    """Claims stand where a value is `CLAIM`."""
    keys = (CLAIM_KEY if value is CLAIM else KEY.record_key for value in values)
    return [Stored(offset, key, value) for offset, (key, value) in enumerate(zip(keys, values, strict=True))]


def test_a_late_word_of_the_same_epoch_begins_a_new_one_from_what_the_owner_wrote_last() -> None:
    """Its numbers are the owner's own, so it hides nothing."""
    found = restored(words(CLAIM, word(10, 5, 5, 0), CLAIM, word(10, 8, 8, 0), word(10, 9, 9, 2)))
    assert found is not None
    assert (found.checkpoint.position, found.is_late) == ((10, 9, "9"), True)


def test_after_a_late_word_of_a_higher_epoch_all_comes_again_that_may_be_hidden() -> None:
    """From what stood when it came, above all epochs, whatever an owner who did not know of it wrote later."""
    before = [CLAIM, word(10, 5, 5, 0), CLAIM, word(10, 6, 6, 2), word(12, 0, 9, 0)]
    found = restored(words(*before))
    assert found is not None
    assert (found.checkpoint.position, found.is_late) == ((12, 0, "6"), True)
    found = restored(words(*before, word(10, 20, 20, 2), word(15, 3, 30, 2)))
    assert found is not None
    assert (found.checkpoint.position, found.is_late) == ((15, 3, "6"), True)


def test_an_owner_who_knew_of_it_and_went_on_above_it_settles_it() -> None:
    """By a claim behind it, or by a command; not in an epoch below it."""
    before = [CLAIM, word(10, 5, 5, 0), CLAIM, word(10, 6, 6, 2), word(12, 0, 9, 0), CLAIM]
    for settling in (word(13, 4, 10, 5), word(13, 4, 10, None)):
        assert restored(words(*before, settling)) == Restored(decode(KEY.record_key, settling), is_late=False)
    below = restored(words(*before, word(11, 4, 10, 5)))
    assert below is not None
    assert (below.checkpoint.position, below.is_late) == ((12, 0, "6"), True)


def test_a_claim_that_nobody_followed_up_costs_a_new_epoch_and_nothing_else() -> None:
    """Of a process that was paused before it claimed: the owner writes on, and claims again when it sees that."""
    strayed = [CLAIM, word(10, 5, 5, 0), CLAIM, word(10, 9, 9, 0), word(12, 0, 9, 0), word(12, 3, 12, 0)]
    for records in (strayed, strayed[:4]):
        last = decode(KEY.record_key, records[-1])
        assert restored(words(*records)) == Restored(last, is_late=True)
    assert restored(words(*strayed, CLAIM, word(12, 7, 16, 6))) == Restored(
        decode(KEY.record_key, word(12, 7, 16, 6)), is_late=False
    )


def test_a_late_word_with_no_other_is_gone_on_from_in_a_new_epoch() -> None:
    """A session that only a former owner knew."""
    found = restored(words(CLAIM, CLAIM, word(12, 4, 4, 0)))
    assert found is not None
    assert (found.checkpoint.position, found.is_late) == ((12, 4, "4"), True)


def test_a_claim_that_is_compacted_away_is_still_known_by_its_owners_words() -> None:
    """Else a late word would pass for its owner's."""
    other = SessionKey("local", "b").record_key
    log = CheckpointLog(1)
    log.take(
        0, 8, 0, other, encode(Checkpoint(SessionKey("local", "b"), Position(1, 1, ""), "active", 0, "", RECENT, 6))
    )
    log.take(0, 9, 0, KEY.record_key, word(12, 4, 4, 0))
    assert log.restored()[KEY].is_late
    assert not log.restored()[SessionKey("local", "b")].is_late


def test_a_claim_of_an_older_topic_says_nothing() -> None:
    """Offsets begin again when a topic is created anew: no word can be older than it says."""
    found = restored(words(word(12, 4, 4, 50), CLAIM))
    assert found is not None
    assert (found.checkpoint.term, found.is_late) == (None, False)


def test_a_claim_is_known_by_its_offset_and_one_that_cannot_be_read_counts_all_the_same() -> None:
    """Somebody's newer version may have written it."""
    log = CheckpointLog(2)
    assert log.claim_of(0) is None
    log.take(0, 0, 0, CLAIM_KEY, CLAIM)
    log.take(0, 1, 0, CLAIM_KEY, b"?")
    log.take(0, 2, 0, CLAIM_KEY, None)
    log.take(1, 0, 0, CLAIM_KEY, b"?")
    assert log.claim_of(0) == (0, claim.decode(CLAIM))
    assert log.claim_of(1) is None
    late = [Stored(0, CLAIM_KEY, CLAIM), Stored(1, CLAIM_KEY, b"?"), Stored(2, KEY.record_key, word(1, 1, 1, 0))]
    found = restored(late)
    assert found is not None
    assert found.is_late
