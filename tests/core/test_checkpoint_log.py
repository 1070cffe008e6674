"""The newest checkpoint of every session: which records count, and which are invalid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.admin.checkpoints.edit import Edit, moved, removed
from bridge.core.checkpoint_history import CheckpointHistory, Restored
from bridge.core.checkpoint_log import CheckpointLog
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records import claim
from bridge.core.records.checkpoint import Checkpoint, decode, encode, epoch_in
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.core.records.numbers import json_object
from bridge.core.stream.overlap import OverlapWindow
from tests.support.checkpoint_values import encoded

PARTITIONS = 4
A = SessionKey("local", "a")
HOME = partition_of(b"local/a", PARTITIONS)
ELSEWHERE = (HOME + 1) % PARTITIONS
NOW = 1_800_000_000_000


def value(session: str = "a", **more: Any) -> bytes:
    return encoded(session, **more)


def log_of(*records: tuple[int, bytes, bytes | None], partitions: int = PARTITIONS) -> CheckpointLog:
    log = CheckpointLog(partitions)
    for offset, (partition, key, text) in enumerate(records):
        log.add(partition, offset, 1_700_000_000_000, key, text)
    return log


def resumed_after_7(key: SessionKey, log: CheckpointLog, now_ms: int = NOW, partitions: int = PARTITIONS) -> Edit:
    one = Checkpoint(key, Position(0, 0, "7"), "active", 0, "f00", OverlapWindow.starting("7"))
    return moved(one, log.stored(key.record_key), partitions, now_ms)


def after(log: CheckpointLog, edit: Edit) -> CheckpointLog:
    """The log with the records of the edit."""
    for offset, write in enumerate(edit.writes):
        log.add(write.partition, 1000 + offset, 0, edit.key, write.value)
    return log


def test_the_newest_checkpoint_counts_and_a_tombstone_removes_it() -> None:
    """Per session; the bridge's own records belong to no session."""
    log = log_of((HOME, b"local/a", value()), (HOME, b"local/a", value(sequence=3)), (0, b"#claim", b"x"))
    assert log.checkpoints[A].position.sequence == 3
    assert not log.invalid
    log.add(HOME, 9, 0, b"local/a", None)
    assert not log.checkpoints
    assert not log.stored_checkpoints()


def test_a_log_without_records_knows_everything_but_their_text() -> None:
    """The daemon does not hold the checkpoints of 100,000 sessions twice; invalid records are kept."""
    log = CheckpointLog(PARTITIONS, keep_records=False)
    log.add(HOME, 0, 0, b"local/a", b"x")
    assert [invalid.record.value for invalid in log.invalid] == [b"x"]
    log.add(HOME, 1, 0, b"local/a", value())
    assert A in log.checkpoints
    assert not log.invalid
    assert not log.stored_checkpoints()


def test_an_epoch_never_goes_back() -> None:
    """A stale write of a dead process is valid, and does not count."""
    log = log_of((HOME, b"local/a", value(epoch=5)), (HOME, b"local/a", value(epoch=4, sequence=9)))
    assert log.checkpoints[A].position[:2] == (5, 2)
    assert not log.invalid


def test_a_checkpoint_in_another_partition_is_invalid_and_changes_nothing() -> None:
    """Neither its position nor its tombstone counts for the session."""
    log = log_of((HOME, b"local/a", value()), (ELSEWHERE, b"local/a", value(epoch=1_800_000_000)))
    (invalid,) = log.invalid
    assert f"belongs to partition {HOME} of {PARTITIONS}" in invalid.why
    assert log.checkpoints[A].position.epoch == 1_700_000_000
    assert log.stored(b"local/a").epoch == 1_800_000_000
    assert log.stored(b"local/a").furthest == invalid.misplaced
    log.add(ELSEWHERE, 9, 0, b"local/a", None)
    assert A in log.checkpoints
    assert not log.invalid


NOT_OURS = [b"\x00\xff", b'{"offset":12}', b"7", b"", value(version=2), value("b"), value(epoch=-1), b"[" * 100_000]


@pytest.mark.parametrize("bad", NOT_OURS)
def test_a_later_valid_checkpoint_replaces_an_invalid_one(bad: bytes) -> None:
    """Compaction would remove the invalid one."""
    log = log_of((HOME, b"local/a", bad))
    assert [invalid.record.value for invalid in log.invalid] == [bad]
    log.add(HOME, 9, 0, b"local/a", value())
    assert not log.invalid
    assert A in log.checkpoints


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        (value(epoch=12, version=9), 12),
        (b'{"epoch":"1764000000"}', 1_764_000_000),
        (b'{"epoch":true}', None),
        (b'{"epoch":1e400}', None),
        (b'{"epoch":99999999999}', None),
        (b'{"epoch":"x"}', None),
        (b"[1]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_an_epoch_is_found_in_any_json_object(text: bytes, epoch: int | None) -> None:
    """Also of a newer version or with other damage, provided that the epoch is possible."""
    assert epoch_in(text) == epoch
    assert isinstance(json_object(text), dict)


@pytest.mark.parametrize("text", [value(), value(epoch=1_900_000_000, version=7), b"\x00", value("b")])
@pytest.mark.parametrize("partition", [HOME, ELSEWHERE])
def test_a_session_that_is_set_resumes_above_every_epoch_and_alone(text: bytes, partition: int) -> None:
    """Over any earlier records, in any partition; the new checkpoint is written first."""
    log = log_of((partition, b"local/a", text))
    known = log.stored(b"local/a").epoch or 0
    edit = resumed_after_7(A, log)
    assert edit.writes[0].partition == HOME
    assert edit.writes[0].value is not None
    assert decode(b"local/a", edit.writes[0].value) == edit.after
    assert all(write.value is None for write in edit.writes[1:])
    settled = after(log, edit)
    assert not settled.invalid
    position = settled.checkpoints[A].position
    assert position == (max(known + 1, 1_800_000_000), 0, "7")


def test_the_same_command_completes_an_interrupted_edit() -> None:
    """After its first record the invalid one in the other partition is still there, and the epoch is known."""
    log = log_of((ELSEWHERE, b"local/a", value(epoch=1_900_000_000)))
    first = resumed_after_7(A, log)
    log.add(HOME, 9, 0, b"local/a", first.writes[0].value)
    assert log.invalid
    again = resumed_after_7(A, log)
    assert after(log, again).checkpoints[A].position.epoch == 1_900_000_002
    assert not log.invalid


def test_a_removed_checkpoint_leaves_no_record() -> None:
    """In every partition, or in the given one."""
    log = log_of((HOME, b"local/a", value()), (ELSEWHERE, b"local/a", b"x"), (0, b"no slash", b"x"))
    after(log, removed(b"no slash", [0]))
    assert list(log.stored_checkpoints()) == [b"local/a"]
    after(log, removed(b"local/a", [HOME, ELSEWHERE]))
    assert not log.stored_checkpoints()
    assert not log.invalid
    assert log.stored(b"local/a").furthest is None
    assert log.stored(b"local/a").epoch is None


B = SessionKey("local", "b")
TERMS = st.sampled_from([-1, 0, 1, 3, 100])  # few, so that they meet
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("checkpoint"), st.sampled_from([A, B]), st.integers(5, 6), TERMS),
        st.tuples(st.just("junk"), st.sampled_from([A, B]), st.just(0), st.just(0)),
        st.tuples(st.just("tombstone"), st.sampled_from([A, B]), st.just(0), st.just(0)),
        st.tuples(st.just("claim"), st.just(A), st.just(0), st.just(0)),
    ),
    max_size=30,
)


def record_of(sequence: int, step: str, key: SessionKey, epoch: int, term: int) -> tuple[bytes, bytes | None]:
    """Numbers increase in an epoch, nobody writes before its claim; 100 is a token of an earlier topic."""
    term = term if term < sequence or term == 100 else -1
    if step == "checkpoint":
        position = Position(epoch, sequence, str(sequence))
        overlap_window = OverlapWindow.starting(str(sequence))
        return key.record_key, encode(
            Checkpoint(key, position, "active", 0, "", overlap_window, None if term < 0 else term)
        )
    if step == "claim":
        return CLAIM_KEY, claim.encode(Claim("host:1", "n", 1, "f00", 0))
    return key.record_key, b"x" if step == "junk" else None


CLAIMED, JUNK = ("claim", A, 0, 0), ("junk", B, 0, 0)


@given(steps=STEPS)
@example([CLAIMED, ("checkpoint", A, 5, 0), CLAIMED, ("checkpoint", A, 5, 0)])
@example([JUNK, JUNK, ("checkpoint", B, 5, 1), ("checkpoint", A, 5, 0)])
def test_records_that_are_never_parsed_change_nothing(steps: list[tuple[str, SessionKey, int, int]]) -> None:
    """The log equals one that parses every record, whoever wrote it; and a command replaces any state."""
    log, plain, claims = CheckpointLog(1), dict[SessionKey, CheckpointHistory](), list[int]()
    junk = set[SessionKey]()
    for offset, (step, key, *numbers) in enumerate(steps):
        record_key, text = record_of(offset, step, key, *numbers)
        log.add(0, offset, 0, record_key, text)
        if step == "claim":
            claims.append(offset)
            continue
        junk -= {key}
        if step == "tombstone":
            plain.pop(key, None)
        elif step == "junk":
            junk.add(key)
        else:
            one = decode(record_key, text or b"")
            one = one if (one.fencing_token or 0) < offset else replace(one, fencing_token=None)
            claims += (
                [] if one.fencing_token is None else [one.fencing_token]
            )  # its claim was here; compaction removed it
            is_stale = one.fencing_token is not None and max(claims, default=-1) > one.fencing_token
            plain[key] = plain.get(key, CheckpointHistory()).after(one, offset, is_stale=is_stale)
    assert log.restored() == {key: one.restored for key, one in plain.items()}
    assert {invalid.record.key for invalid in log.invalid} == {key.record_key for key in junk}
    for key in (A, B):
        edit = resumed_after_7(key, log, 0, 1)
        for write in edit.writes:
            log.add(0, len(steps) + 5, 0, edit.key, write.value)
        assert edit.after is not None
        assert log.restored()[key] == Restored(edit.after, is_stale=False)
    assert not log.invalid
