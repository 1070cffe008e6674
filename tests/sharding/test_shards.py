"""Which shards a process works on: taken behind a claim, given up only when all is delivered, lost at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.checkpoint_log import CheckpointLog, CheckpointRecord
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records import claim as claims
from bridge.core.records.checkpoint import Checkpoint, encode
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.core.stream.overlap import OverlapWindow
from bridge.delivery.lease import Lease, SoleOwner
from bridge.delivery.protocol import Delivery
from bridge.errors import SettingsError
from bridge.sharding.assignment import AllGone, Assignment, Note
from bridge.sharding.read_state import Taken
from bridge.sharding.shards import Shards
from bridge.sharding.states import TRANSITIONS, ForbiddenTurn, Stage, Turn, next_stage

COUNT = 4
KEY = SessionKey("local", "a")
HOME = partition_of(KEY.record_key, COUNT)
POSITION = Position(5, 3, "3")


@dataclass
class Reader:
    """Takes note of what is to be read."""

    asked: list[tuple[int, Callable[[Taken], None]]] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)

    def take(self, shard: int, claim: Claim, taken: Callable[[Taken], None], after: int = 0) -> None:  # noqa: ARG002 - the protocol's
        """Asked."""
        self.asked.append((shard, taken))

    def forget(self, shard: int) -> None:
        """Forgotten."""
        self.forgotten.append(shard)

    def held_up(self) -> Mapping[int, str]:
        """Never."""
        return {}


@dataclass
class Sessions:
    """Takes note of what is ordered about the sessions."""

    said: list[str] = field(default_factory=list)
    restored: dict[SessionKey, Restored] = field(default_factory=dict)
    readers_left: bool = True
    delivered: bool = True
    lower: list[SessionKey] = field(default_factory=list)
    out: bool = True
    lost_track: list[SessionKey] = field(default_factory=list)

    def acquire(self, lease: Lease, restored: Mapping[SessionKey, Restored]) -> None:
        """Begun."""
        self.said.append(f"own {lease.shard}")
        self.restored.update(restored)

    def revoke(self, shard: int) -> None:
        """Asked to end."""
        self.said.append(f"give up {shard}")

    def is_drained(self, shard: int, *, readers: bool) -> bool:  # noqa: ARG002 - the protocol's
        """As the test has it."""
        return self.delivered and (self.readers_left or not readers)

    def forget(self, shard: int) -> None:
        """Forgotten."""
        self.said.append(f"drop {shard}")

    def suspend(self, key: SessionKey) -> None:
        """Ended, and not begun again."""
        self.said.append(f"hold {key}")

    def restart_suspended(self, shard: int, restored: Mapping[SessionKey, Restored]) -> None:
        """Begun again."""
        self.said.append(f"release {shard}")
        self.restored.update(restored)

    def stale(self, shard: int, restored: Mapping[SessionKey, Restored]) -> Iterable[SessionKey]:  # noqa: ARG002 - the protocol's
        """None."""
        return [key for key in restored if key in self.lower]

    def is_out_of_transaction(self, key: SessionKey) -> bool:  # noqa: ARG002 - the protocol's
        """As the test has it."""
        return self.out

    def restored_epoch(self, key: SessionKey) -> int | None:
        """Of the checkpoints that were restored."""
        return self.restored[key].checkpoint.position.epoch if key in self.restored else None

    def must_restart(self) -> Iterable[SessionKey]:
        """None."""
        return self.lost_track

    def count_by_shard(self) -> Mapping[int, int]:
        """None."""
        return {}


@dataclass
class Sender:
    """Delivery, as far as shards go."""

    entered: list[tuple[Lease, Callable[[], None]]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)

    def enter(self, lease: Lease, ready: Callable[[], None]) -> None:
        """To be fenced."""
        self.entered.append((lease, ready))

    def resume(self, shard: int) -> None:
        """From memory."""
        self.resumed.append(shard)

    def flush(self, shard: int) -> None:
        """No interval is waited for."""
        self.flushed.append(shard)

    def leave(self, lease: Lease) -> None:
        """Nothing more."""
        self.left.append(lease.shard)


class Scene:
    """One process's shards, its threads' words put in by hand."""

    def __init__(self, give_up_within: float = 30.0) -> None:
        self.reader, self.sessions, self.sender = Reader(), Sessions(), Sender()
        self.assignment = Assignment(lambda: None)
        self.assignment.trust(SoleOwner())
        nonces = itertools.count()
        self.shards = Shards(
            COUNT,
            topic="checkpoints",
            assignment=self.assignment,
            reader=self.reader,
            delivery=cast("Delivery", self.sender),
            sessions=self.sessions,
            claim=lambda: claim(str(next(nonces))),
            give_up_within=give_up_within,
        )

    def owning(self, shard: int = HOME) -> Lease:
        """One is taken; its tenure."""
        self.assignment.assigned({shard})
        self.shards.tick()
        lease, ready = self.sender.entered[-1]
        ready()
        self.shards.tick()
        self.read(7)
        return lease

    def returning(self) -> Lease:
        """One that was taken, lost and assigned again; its tenure."""
        lease = self.owning()
        self.assignment.lost({HOME})
        self.assignment.assigned({HOME})
        self.shards.tick()
        return lease

    def read(self, term: int, log: CheckpointLog | None = None, previous: Claim | None = None) -> None:
        """The last claim that was asked for comes by."""
        shard, taken = self.reader.asked[-1]
        taken(Taken(shard, term, previous, log or CheckpointLog(COUNT)))
        self.shards.tick()

    @property
    def stages(self) -> dict[int, str]:
        """Of all shards."""
        return {each.number: each.stage for each in self.shards.snapshots()}


def claim(nonce: str = "n", shards: int = COUNT, servers: str = "s") -> Claim:
    """A claim of this or another process."""
    return Claim("host:1", nonce, shards, servers, 0)


def checkpoint(position: Position = POSITION) -> Checkpoint:
    """One of the session."""
    return Checkpoint(KEY, position, "active", 0, "", OverlapWindow.starting(position.last_event_id))


def log_with(value: bytes) -> CheckpointLog:
    """What the partition holds."""
    log = CheckpointLog(COUNT)
    log.add(HOME, 3, 0, KEY.record_key, value)
    return log


@pytest.mark.parametrize(("stage", "turn"), list(itertools.product(Stage, Turn)))
def test_every_turn_in_every_stage_is_in_the_table_or_forbidden(stage: Stage, turn: Turn) -> None:
    """Nothing comes after gone, and what another process has is gone from wherever it was."""
    if (stage, turn) in TRANSITIONS:
        assert stage is not Stage.GONE
        assert next_stage(stage, turn) is TRANSITIONS[stage, turn]
        assert turn is not Turn.GIVEN_AWAY or next_stage(stage, turn) is Stage.GONE
    else:
        with pytest.raises(ForbiddenTurn):
            next_stage(stage, turn)


def test_sessions_begin_when_the_claim_has_come_by_and_not_before() -> None:
    """Fence, claim, read, own: in this order."""
    scene = Scene()
    scene.assignment.assigned({HOME})
    scene.shards.tick()
    assert scene.stages == {HOME: "fencing"}
    assert scene.reader.asked == []
    scene.sender.entered[-1][1]()
    scene.shards.tick()
    assert scene.stages == {HOME: "restoring"}
    assert scene.sessions.said == []
    assert not scene.shards.are_taken
    scene.read(7, log_with(encode(checkpoint())))
    assert scene.stages == {HOME: "owned"}
    assert scene.sessions.said == [f"own {HOME}"]
    assert scene.sessions.restored[KEY].checkpoint == checkpoint()
    assert scene.sender.entered[-1][0].term == 7
    assert scene.shards.are_taken


def test_a_shard_goes_when_everything_of_it_is_delivered() -> None:
    """Until then the group waits."""
    scene = Scene()
    lease = scene.owning()
    scene.sessions.delivered = False
    gone = scene.assignment.revoked({HOME})
    scene.shards.tick()
    assert scene.stages == {HOME: "leaving"}
    assert scene.sender.flushed == [HOME]
    assert not gone.is_set()
    assert not lease.is_over
    scene.sessions.delivered = True
    scene.shards.tick()
    assert gone.is_set()
    assert lease.is_over
    assert scene.stages == {}
    assert scene.sender.left == [HOME]
    assert scene.shards.left_undelivered == 0


def test_a_shard_that_is_not_delivered_in_time_goes_without_a_last_checkpoint() -> None:
    """Nothing of it is handed over from then on."""
    scene = Scene(give_up_within=0.0)
    lease = scene.owning()
    scene.sessions.delivered = False
    gone = scene.assignment.revoked({HOME})
    scene.shards.tick()
    assert gone.is_set()
    assert lease.is_over
    assert scene.shards.left_undelivered == 1


def test_a_reader_that_hangs_has_a_third_of_the_time() -> None:
    """What the others have read is delivered by then, and the shard goes."""
    scene = Scene()
    scene.owning()
    scene.sessions.readers_left = False
    scene.shards.stop(monotonic() + 60)
    scene.shards.tick()
    assert scene.stages == {HOME: "leaving"}
    scene.shards.stop(monotonic() + 0.0)
    scene.shards.tick()
    assert scene.stages == {}


def claims_at(*offsets: int) -> CheckpointLog:
    """A partition with claims alone."""
    log = CheckpointLog(COUNT)
    for offset in offsets:
        log.add(HOME, offset, 0, CLAIM_KEY, claims.encode(claim(str(offset))))
    return log


def test_what_is_lost_hands_nothing_over_and_reads_on() -> None:
    """At once, before the main thread has heard of it; its sessions stay, what they read waits in memory."""
    scene = Scene()
    lease = scene.owning()
    scene.assignment.lost({HOME})
    assert lease.is_suspended
    scene.shards.tick()
    assert scene.stages == {HOME: "suspended"}
    assert scene.sessions.said == [f"own {HOME}"]
    assert HOME in scene.shards.troubles()


def test_what_is_assigned_again_goes_on_from_memory_when_nobody_else_had_it() -> None:
    """Kafka was away for longer than the group waits: the streams are not touched for its sake."""
    scene = Scene()
    lease = scene.returning()
    assert scene.stages == {HOME: "returning"}
    assert lease.is_suspended
    scene.read(15, claims_at(3, 7))
    assert scene.stages == {HOME: "owned"}
    assert not lease.is_suspended
    assert lease.term == 15
    assert scene.sender.resumed == [HOME]
    assert f"drop {HOME}" not in scene.sessions.said
    assert scene.shards.troubles() == {}


def test_what_another_process_had_meanwhile_begins_anew() -> None:
    """Its claim stands behind ours: what was read here may be numbered otherwise there."""
    scene = Scene()
    lease = scene.returning()
    scene.read(15, claims_at(3, 7, 11))
    assert lease.is_over
    assert scene.sessions.said[-1] == f"drop {HOME}"
    assert scene.stages == {HOME: "fencing"}
    anew, ready = scene.sender.entered[-1]
    assert anew is not lease
    ready()
    scene.shards.tick()
    scene.read(19)
    assert scene.stages == {HOME: "owned"}
    scene.assignment.lost({HOME})
    assert anew.is_suspended


def test_what_the_group_gives_to_another_is_dropped() -> None:
    """The first assignment after a loss tells."""
    scene = Scene()
    lease = scene.owning()
    scene.assignment.lost({HOME})
    scene.assignment.assigned(set())
    assert lease.is_over
    scene.shards.tick()
    assert scene.stages == {}
    assert scene.sessions.said[-1] == f"drop {HOME}"


def test_what_is_lost_again_while_it_returns_waits_again() -> None:
    """And may return again."""
    scene = Scene()
    lease = scene.owning()
    for _ in range(2):
        scene.assignment.lost({HOME})
        scene.assignment.assigned({HOME})
        scene.shards.tick()
    assert scene.stages == {HOME: "returning"}
    assert lease.is_suspended
    scene.read(15, claims_at(7))
    assert scene.stages == {HOME: "owned"}


def test_a_shard_that_returns_is_read_again_when_another_reading_took_the_place() -> None:
    """Of one shard one reading counts; the claim of the other is this process's own."""
    scene = Scene()
    lease = scene.returning()
    lease.claimed(12)
    scene.assignment.note(Note(HOME, Turn.AGAIN, lease))
    scene.shards.tick()
    assert len(scene.reader.asked) == 3
    scene.read(15, claims_at(7, 12))
    assert scene.stages == {HOME: "owned"}


def test_a_session_that_was_set_elsewhere_meanwhile_begins_there() -> None:
    """A command found no owner, and wrote."""
    scene = Scene()
    scene.sessions.lower.append(KEY)
    scene.returning()
    log = claims_at(7)
    log.add(HOME, 9, 0, KEY.record_key, encode(checkpoint(Position(8, 0, "1"))))
    scene.read(15, log)
    assert scene.sessions.said[-2:] == [f"hold {KEY}", f"release {HOME}"]
    assert scene.sessions.restored[KEY].checkpoint.position == Position(8, 0, "1")


@pytest.mark.parametrize("delivered", [True, False])
def test_a_stop_while_it_is_not_known_whose_a_shard_is_does_not_wait(*, delivered: bool) -> None:
    """What is not delivered then is read again, and the exit code says so."""
    scene = Scene()
    scene.owning()
    scene.assignment.lost({HOME})
    scene.shards.tick()
    scene.sessions.delivered = delivered
    scene.shards.stop(monotonic() + 60)
    assert scene.stages == {}
    assert scene.shards.left_undelivered == (0 if delivered else 1)


def test_what_is_lost_while_it_is_given_up_ends_at_once_as_well() -> None:
    """The one who waits for it waits no longer."""
    scene = Scene()
    lease = scene.owning()
    scene.sessions.delivered = False
    gone = scene.assignment.revoked({HOME})
    scene.shards.tick()
    scene.assignment.lost({HOME})
    assert lease.is_suspended
    scene.shards.tick()
    assert lease.is_over
    assert gone.is_set()


@pytest.mark.parametrize("is_fenced", [False, True])
def test_a_shard_that_is_wanted_back_while_it_is_taken_goes_at_once(*, is_fenced: bool) -> None:
    """Whatever its restore brings later is about a tenure that is over."""
    scene = Scene()
    scene.assignment.assigned({HOME})
    scene.shards.tick()
    if is_fenced:
        scene.sender.entered[-1][1]()
        scene.shards.tick()
    gone = scene.assignment.revoked({HOME})
    scene.shards.tick()
    assert gone.is_set()
    assert scene.reader.forgotten == [HOME]
    if is_fenced:
        scene.read(9)
    assert scene.sessions.said == [f"drop {HOME}"]


def test_late_words_about_a_former_tenure_do_not_touch_the_next() -> None:
    """A shard may be given away and had again before the main thread looks."""
    scene = Scene()
    scene.owning()
    scene.assignment.lost({HOME})
    scene.assignment.assigned(set())
    scene.assignment.assigned({HOME})
    scene.shards.tick()
    assert scene.stages == {HOME: "fencing"}
    assert scene.sessions.said == [f"own {HOME}", f"drop {HOME}"]


def test_another_number_of_shards_in_the_last_claim_ends_the_start() -> None:
    """With the way out."""
    scene = Scene()
    scene.assignment.assigned({HOME})
    scene.shards.tick()
    scene.sender.entered[-1][1]()
    scene.shards.tick()
    with pytest.raises(SettingsError, match=r"4 partitions, but host:1 owned a shard of 8: .*checkpoints export"):
        scene.read(7, previous=claim(shards=8))


def test_checkpoints_that_cannot_be_gone_by_end_the_start_but_not_a_process_that_runs() -> None:
    """Later the shard is looked at again and again, and its trouble is told."""
    scene = Scene()
    scene.owning((HOME + 1) % COUNT)
    scene.shards.note_start()
    scene.assignment.assigned({HOME})
    scene.shards.tick()
    scene.sender.entered[-1][1]()
    scene.shards.tick()
    scene.read(7, log_with(b"no JSON"))
    assert scene.stages[HOME] == "blocked"
    assert f"partition {HOME} offset 3" in scene.shards.troubles()[HOME]
    assert scene.shards.are_taken
    gone = scene.assignment.revoked({HOME})
    scene.shards.tick()
    assert gone.is_set()


def test_a_strangers_word_about_a_session_has_it_read_again_behind_a_new_claim() -> None:
    """The session ends here first, and begins from what stands; the term says that the word was known."""
    scene = Scene()
    lease = scene.owning()
    scene.assignment.note(Note(HOME, word=CheckpointRecord(HOME, 9, 0, KEY.record_key, b"{}")))
    scene.shards.tick()
    assert scene.sessions.said[-1] == f"hold {KEY}"
    assert len(scene.reader.asked) == 2
    scene.read(11, log_with(encode(checkpoint(Position(8, 0, "1")))))
    assert scene.sessions.said[-1] == f"release {HOME}"
    assert scene.sessions.restored[KEY].checkpoint.position == Position(8, 0, "1")
    assert lease.term == 11


def test_a_session_that_knows_no_position_of_its_own_begins_again_from_what_stands() -> None:
    """As after a stranger's word."""
    scene = Scene()
    scene.owning()
    scene.sessions.lost_track.append(KEY)
    scene.shards.tick()
    scene.sessions.lost_track.clear()
    assert scene.sessions.said[-1] == f"hold {KEY}"
    scene.read(11)
    assert scene.sessions.said[-1] == f"release {HOME}"


def test_a_session_is_read_again_only_when_no_transaction_holds_anything_of_it() -> None:
    """Its last position would come behind the claim, and the reading would miss it."""
    scene = Scene()
    scene.owning()
    scene.sessions.out = False
    scene.assignment.note(Note(HOME, word=CheckpointRecord(HOME, 9, 0, KEY.record_key, b"{}")))
    scene.shards.tick()
    assert scene.sessions.said[-1] == f"hold {KEY}"
    assert len(scene.reader.asked) == 1
    scene.sessions.out = True
    scene.shards.tick()
    assert len(scene.reader.asked) == 2


def test_a_word_in_a_partition_that_is_not_its_own_holds_nobody() -> None:
    """The reading of that shard would never release it."""
    scene = Scene()
    other = (HOME + 1) % COUNT
    scene.owning(other)
    scene.assignment.note(Note(other, word=CheckpointRecord(other, 9, 0, KEY.record_key, b"{}")))
    scene.shards.tick()
    assert scene.sessions.said == [f"own {other}"]


def test_of_several_claims_under_way_the_newest_is_the_term() -> None:
    """They are told of by two threads, in no order."""
    lease = Lease(0, SoleOwner())
    for term in (7, 900, 70):
        lease.claimed(term)
    assert (lease.since, lease.term) == (7, 900)
    lease.begin_anew()  # the topic was created anew, its offsets begin again
    assert lease.term == 900
    lease.claimed(3)
    lease.claimed(5)
    assert (lease.since, lease.term) == (3, 5)


def test_many_strange_words_cost_one_reading() -> None:
    """A process that wakes up may write about a thousand sessions."""
    scene = Scene()
    scene.owning()
    for offset in range(9, 20):
        scene.assignment.note(Note(HOME, word=CheckpointRecord(HOME, offset, 0, KEY.record_key, b"{}")))
    scene.shards.tick()
    assert len(scene.reader.asked) == 2
    assert sum("hold" in each for each in scene.sessions.said) == 11


def test_a_late_word_in_no_higher_epoch_does_not_touch_the_session() -> None:
    """It hides nothing; the next restore minds it. One in a higher epoch has the session begin again."""
    scene = Scene()
    scene.owning()
    scene.sessions.restored[KEY] = Restored(checkpoint(), is_stale=False)
    late = encode(replace(checkpoint(), fencing_token=3))
    scene.assignment.note(Note(HOME, word=CheckpointRecord(HOME, 9, 0, KEY.record_key, late)))
    scene.shards.tick()
    assert scene.sessions.said == [f"own {HOME}"]
    higher = encode(replace(checkpoint(Position(6, 0, "3")), fencing_token=3))
    scene.assignment.note(Note(HOME, word=CheckpointRecord(HOME, 10, 0, KEY.record_key, higher)))
    scene.shards.tick()
    assert scene.sessions.said[-1] == f"hold {KEY}"


def test_a_strangers_claim_is_answered_by_another_once_the_shard_is_proven_to_be_ours() -> None:
    """Behind it our own words would look late. Whose the shard is the group tells; no session is touched."""
    scene = Scene()
    lease = scene.owning()
    scene.assignment.note(Note(HOME, word=CheckpointRecord(HOME, 9, 0, CLAIM_KEY, b"{}")))
    scene.shards.tick()
    scene.shards.tick()
    assert len(scene.reader.asked) == 2
    scene.read(12)
    assert lease.term == 12
    assert scene.sessions.said == [f"own {HOME}", f"release {HOME}"]


def test_an_abandoned_process_keeps_nobody_waiting() -> None:
    """Everything is over, whatever was still to be delivered."""
    scene = Scene()
    lease = scene.owning()
    scene.sessions.delivered = False
    gone = scene.assignment.revoked({HOME})
    scene.shards.abandon()
    scene.shards.abandon()
    assert lease.is_over
    assert gone.is_set()
    assert scene.shards.are_gone


def test_all_are_gone_when_the_last_one_is() -> None:
    """Nothing to wait for is gone already."""
    assert AllGone(0).is_set()
    two = AllGone(2)
    two.count_down()
    assert not two.is_set()
    two.count_down()
    assert two.is_set()
