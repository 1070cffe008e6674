"""Own checkpoints in Kafka: those of a replaced producer are recognised, others cost and change nothing."""

from __future__ import annotations

from dataclasses import replace

from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint, encode, position_in
from bridge.core.stream.overlap import OverlapWindow
from bridge.sharding.restore_progress import OwnCheckpoints

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
