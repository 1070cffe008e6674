"""What the reader knows of a shard: the log lines about slow ones, and own checkpoints that landed late."""

from __future__ import annotations

from dataclasses import replace

from structlog.testing import capture_logs

from bridge.core.checkpoint_log import CheckpointLog
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint, encode, position_in
from bridge.core.records.claim import Claim
from bridge.core.stream.overlap import OverlapWindow
from bridge.sharding.restore_progress import OwnCheckpoints, Restore, RestoredShard, RestoreProgress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def ignore(_restored: RestoredShard) -> None:
    """Do nothing."""


def restore(clock: Clock, *, is_open: bool = True) -> Restore:
    claim, log = Claim("host:1", "n", 2, "f00", 0), CheckpointLog(3) if is_open else None
    return Restore(claim, ignore, 0, log, OwnCheckpoints(), read_at=clock.now, records=7)


def test_progress_is_logged_every_five_seconds_and_trouble_once_in_ten_minutes() -> None:
    """A shard whose records come makes progress; one whose records do not is held up until the end."""
    clock = Clock()
    progress = RestoreProgress("checkpoints", 30.0, lambda shard, _restore: f"why {shard}", clock)
    stuck, moving, done = restore(clock), restore(clock), restore(clock, is_open=False)
    with capture_logs() as lines:
        for _ in range(700):
            clock.now += 1.0
            moving.read_at = clock.now
            progress.check({0: stuck, 1: moving, 2: done})
    reading = [line for line in lines if line["event"] == "reading checkpoints"]
    trouble = [line for line in lines if line["log_level"] == "error"]
    assert 100 < len(reading) < 140
    assert (reading[0]["shards"], reading[0]["records"]) == ([0, 1], 14)
    assert reading[-1]["shards"] == [1]
    assert [(line["shard"], line["why"]) for line in trouble] == [(0, "why 0"), (0, "why 0")]
    assert progress.held_up == {0: "why 0"}
    with capture_logs() as lines:
        progress.end(1, moving)
        assert not lines
        progress.end(0, stuck)
    assert not progress.held_up
    assert [line["event"] for line in lines] == ["a shard is no longer held up"]


def test_a_restore_of_less_than_five_seconds_is_not_logged() -> None:
    """However long ago the last one was."""
    clock = Clock()
    progress = RestoreProgress("checkpoints", 30.0, lambda _shard, _restore: "", clock)
    with capture_logs() as lines:
        for _ in range(20):
            clock.now += 1.0
            progress.check({})
        clock.now += 4.0
        progress.check({0: restore(clock)})
    assert not lines


def test_a_client_that_reads_nothing_is_replaced_less_and_less_often() -> None:
    """Not while it reads another shard: that would begin again. After a success, soon again."""
    clock = Clock()
    progress = RestoreProgress("checkpoints", 30.0, lambda shard, _restore: f"why {shard}", clock)
    stuck, moving, done = restore(clock), restore(clock), restore(clock, is_open=False)

    def renewals(seconds: int, restores: dict[int, Restore]) -> list[int]:
        found, began = [], clock.now
        while clock.now < began + seconds:
            clock.now += 1.0
            moving.read_at = clock.now
            progress.check(restores)
            if progress.held_up and progress.must_renew(restores):
                found.append(round(clock.now - began))
        return found

    with capture_logs():
        assert renewals(100, {0: stuck, 1: moving, 2: done}) == []
        assert renewals(300, {0: stuck, 2: done}) == [1, 62, 183]
        progress.end(2, done)
        assert renewals(10, {0: stuck, 2: done}) == [1]


KEY = SessionKey("local", 'a,"epoch":9,"sequence":8,"')
CHECKPOINT = Checkpoint(KEY, Position(0, 0, ""), "active", 0, "", OverlapWindow.starting(""), 5)


def value(epoch: int, sequence: int) -> bytes:
    return encode(replace(CHECKPOINT, position=Position(epoch, sequence, ',"epoch":7,')))


def late(own: OwnCheckpoints, *records: tuple[int, int, int]) -> list[int]:
    """The offsets of the late ones; each record is its offset, epoch and sequence."""
    return [at for at, epoch, sequence in records if own.is_late(at, KEY.record_key, value(epoch, sequence))]


def test_a_checkpoint_behind_a_newer_one_is_late() -> None:
    """Also in one epoch. Each is answered once: the answer is a newer one again."""
    own = OwnCheckpoints()
    assert late(own, (1, 5, 100), (2, 6, 0), (3, 5, 101), (4, 6, 0), (5, 6, 9), (6, 6, 9), (7, 6, 8)) == [3, 7]


def test_what_a_new_client_reads_again_is_not_late() -> None:
    """It starts behind the claim. In a recreated topic offsets start at 0."""
    own = OwnCheckpoints()
    assert late(own, (8, 5, 1), (9, 5, 2), (8, 5, 1), (9, 5, 2)) == []
    assert late(own, (10, 5, 1)) == [10]
    assert late(own.of_recreated_topic(), (0, 4, 1), (1, 3, 1)) == [1]


def test_the_checkpoints_of_all_own_claims_are_recognised() -> None:
    """One that was on its way at a claim has the former token."""
    own = OwnCheckpoints()
    for token in (5, 17):
        own.claimed(token)
    assert own.token == 17
    for token in (5, 17):
        assert encode(replace(CHECKPOINT, fencing_token=token)).endswith(own.suffixes)
    assert not encode(replace(CHECKPOINT, fencing_token=7)).endswith(own.suffixes)


def test_a_position_is_found_without_parsing() -> None:
    """Members only, never text; a value in another notation has none."""
    assert position_in(value(1_800_000_000, 12)) == 1_800_000_000 * 10**12 + 12
    for other in (b"", b"{}", b'{"term":1,"epoch":5,"term":7}', b'{ "epoch": 5, "sequence": 6 }', b"x" * 30):
        assert position_in(other) is None
