"""The last word on every session: which count, which are refused, and the command that settles each."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.admin.checkpoints.edit import Change, Edit, forgotten, moved, removed
from bridge.core.checkpoint_history import CheckpointHistory, Restored
from bridge.core.checkpoint_log import CheckpointLog, epoch_told, key_argument, lenient, mistakes_of, session_of
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.records import claim
from bridge.core.records.checkpoint import Checkpoint, decode, encode
from bridge.core.records.claim import CLAIM_KEY, Claim
from bridge.core.stream.overlap import OverlapWindow

PARTITIONS = 4
A = SessionKey("local", "a")
HOME = partition_of(b"local/a", PARTITIONS)
ELSEWHERE = (HOME + 1) % PARTITIONS
CHANGE = Change("7", "active", "f00", 1_800_000_000_000)


def value(session: str = "a", **more: Any) -> bytes:
    members = {
        "version": 1,
        "server": "local",
        "session": session,
        "last_event_id": "2",
        "epoch": 1_700_000_000,
        "sequence": 2,
        "state": "active",
        "updated_at": "2026-01-01T00:00:00.000Z",
        **more,
    }
    return json.dumps(members).encode()


def log_of(*records: tuple[int, bytes, bytes | None], partitions: int = PARTITIONS) -> CheckpointLog:
    log = CheckpointLog(partitions)
    for offset, (partition, key, text) in enumerate(records):
        log.take(partition, offset, 1_700_000_000_000, key, text)
    return log


def after(log: CheckpointLog, edit: Edit) -> CheckpointLog:
    """The log when the edit was written too."""
    for offset, write in enumerate(edit.writes):
        log.take(write.partition, 1000 + offset, 0, edit.key, write.value)
    return log


def test_the_newest_word_counts_and_a_tombstone_forgets() -> None:
    """Per session; the bridge's own records are nobody's."""
    log = log_of((HOME, b"local/a", value()), (HOME, b"local/a", value(sequence=3)), (0, b"#claim", b"x"))
    assert log.checkpoints[A].position.sequence == 3
    assert not log.flaws
    log.take(HOME, 9, 0, b"local/a", None)
    assert not log.checkpoints
    assert not log.stored_checkpoints()


def test_a_log_without_words_knows_the_same_but_their_text() -> None:
    """What a daemon keeps of 100,000 sessions is not kept twice; what is wrong is kept."""
    log = CheckpointLog(PARTITIONS, keep_words=False)
    log.take(HOME, 0, 0, b"local/a", b"x")
    assert [flaw.word.value for flaw in log.flaws] == [b"x"]
    log.take(HOME, 1, 0, b"local/a", value())
    assert A in log.checkpoints
    assert not log.flaws
    assert not log.stored_checkpoints()


def test_an_epoch_never_goes_back() -> None:
    """A late word of a process that is gone is no mistake, and does not count."""
    log = log_of((HOME, b"local/a", value(epoch=5)), (HOME, b"local/a", value(epoch=4, sequence=9)))
    assert log.checkpoints[A].position[:2] == (5, 2)
    assert not log.flaws


def test_a_word_in_another_partition_is_refused_and_touches_nothing() -> None:
    """Neither its position nor its tombstone counts for the session."""
    log = log_of((HOME, b"local/a", value()), (ELSEWHERE, b"local/a", value(epoch=1_800_000_000)))
    (flaw,) = log.flaws
    assert f"belongs to partition {HOME} of {PARTITIONS}" in flaw.why
    assert flaw.command == "mix-bridge checkpoints set --misplaced"
    assert "each in a new epoch at the event id it has" in mistakes_of("t", [flaw])[0].message
    assert log.checkpoints[A].position.epoch == 1_700_000_000
    assert log.about(b"local/a").epoch == 1_800_000_000
    assert log.about(b"local/a").furthest == flaw.misplaced
    log.take(ELSEWHERE, 9, 0, b"local/a", None)
    assert A in log.checkpoints
    assert not log.flaws


NOT_OURS = [b"\x00\xff", b'{"offset":12}', b"7", b"", value(version=2), value("b"), value(epoch=-1), b"[" * 100_000]


@pytest.mark.parametrize("bad", NOT_OURS)
def test_a_later_good_word_settles_a_bad_one(bad: bytes) -> None:
    """As compaction would remove it."""
    log = log_of((HOME, b"local/a", bad))
    assert [flaw.command for flaw in log.flaws] == ["mix-bridge checkpoints reset local/a"]
    log.take(HOME, 9, 0, b"local/a", value())
    assert not log.flaws
    assert A in log.checkpoints


KEYS = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=12).map(lambda text: f"local/{text}".encode("utf-8", "surrogatepass")),
).filter(lambda key: not key.startswith(b"#"))


@given(key=KEYS, partition=st.integers(0, PARTITIONS - 1), bad=st.sampled_from(NOT_OURS))
def test_the_command_that_is_told_names_the_very_key(key: bytes, partition: int, bad: bytes) -> None:
    """Whatever the key: a shell takes the command apart into words that say it byte for byte."""
    (flaw,) = log_of((partition, key, bad)).flaws
    assert flaw.command.isprintable()
    words = shlex.split(flaw.command)
    assert words[:3] == ["mix-bridge", "checkpoints", "reset"]
    told = bytes.fromhex(words[4]) if words[3] == "--key-hex" else words[3].encode()
    assert told == key
    assert (words[-2:] == ["--partition", str(partition)]) == (session_of(key) is None)


def test_what_is_told_has_the_place_the_reason_and_the_command_and_no_flood() -> None:
    """Twenty at most, then how many more; the command ends the line."""
    log = log_of(*((partition_of(f"local/{n}".encode(), 4), f"local/{n}".encode(), b"x") for n in range(25)))
    mistakes = mistakes_of("t", log.flaws)
    assert len(mistakes) == 21
    assert "partition" in mistakes[0].message
    assert mistakes[0].message.endswith(": mix-bridge checkpoints reset local/0")
    assert mistakes[-1].message.startswith("t: 5 more")
    (flaw,) = log_of((0, b"\xff", b"x")).flaws
    assert "forgets that record" in mistakes_of("t", [flaw])[0].message


@pytest.mark.parametrize(
    ("key", "argument"),
    [
        (b"local/abc", "local/abc"),
        (b"local/it's", "'local/it'\"'\"'s'"),
        (b"-x", "--key-hex 2d78"),
        (b"", "--key-hex ''"),
        (b"\xff", "--key-hex ff"),
        ("local/\u202e".encode(), "--key-hex 6c6f63616c2fe280ae"),
    ],
)
def test_a_key_is_an_argument_as_it_is_where_that_can_be_seen_and_pasted(key: bytes, argument: str) -> None:
    """Else its bytes."""
    assert key_argument(key) == argument


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
def test_an_epoch_is_taken_from_whatever_tells_of_one(text: bytes, epoch: int | None) -> None:
    """Of a newer version, of a damaged value: as far as it is some JSON, and the epoch one that can be."""
    assert epoch_told(text) == epoch
    assert isinstance(lenient(text), dict)


@pytest.mark.parametrize("text", [value(), value(epoch=1_900_000_000, version=7), b"\x00", value("b")])
@pytest.mark.parametrize("partition", [HOME, ELSEWHERE])
def test_a_session_that_is_moved_goes_on_above_every_epoch_and_nothing_else_stands(text: bytes, partition: int) -> None:
    """Over whatever stood there, and wherever; the new word is written first."""
    log = log_of((partition, b"local/a", text))
    known = log.about(b"local/a").epoch or 0
    edit = moved(A, log.about(b"local/a"), PARTITIONS, CHANGE)
    assert edit.writes[0].partition == HOME
    assert edit.writes[0].value is not None
    assert decode(b"local/a", edit.writes[0].value) == edit.after
    assert all(write.value is None for write in edit.writes[1:])
    settled = after(log, edit)
    assert not settled.flaws
    position = settled.checkpoints[A].position
    assert position == (max(known + 1, 1_800_000_000), 0, "7")


def test_an_edit_that_was_cut_short_is_settled_by_the_same_command() -> None:
    """After the first record the bad word elsewhere still stands, and the epoch is known."""
    log = log_of((ELSEWHERE, b"local/a", value(epoch=1_900_000_000)))
    first = moved(A, log.about(b"local/a"), PARTITIONS, CHANGE)
    log.take(HOME, 9, 0, b"local/a", first.writes[0].value)
    assert log.flaws
    again = moved(A, log.about(b"local/a"), PARTITIONS, CHANGE)
    assert after(log, again).checkpoints[A].position.epoch == 1_900_000_002
    assert not log.flaws


def test_what_is_forgotten_leaves_nothing() -> None:
    """In every partition, or in the one that was named."""
    log = log_of((HOME, b"local/a", value()), (ELSEWHERE, b"local/a", b"x"), (0, b"no slash", b"x"))
    after(log, removed(b"no slash", 0))
    assert list(log.stored_checkpoints()) == [b"local/a"]
    after(log, forgotten(log.about(b"local/a")))
    assert not log.stored_checkpoints()
    assert not log.flaws
    assert log.about(b"local/a").furthest is None
    assert log.about(b"local/a").epoch is None


B = SessionKey("local", "b")
TERMS = st.sampled_from([-1, 0, 1, 3, 100])  # few, so that they meet
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("word"), st.sampled_from([A, B]), st.integers(5, 6), TERMS),
        st.tuples(st.just("junk"), st.sampled_from([A, B]), st.just(0), st.just(0)),
        st.tuples(st.just("tombstone"), st.sampled_from([A, B]), st.just(0), st.just(0)),
        st.tuples(st.just("claim"), st.just(A), st.just(0), st.just(0)),
    ),
    max_size=30,
)


def record_of(sequence: int, step: str, key: SessionKey, epoch: int, term: int) -> tuple[bytes, bytes | None]:
    """A writer's numbers in an epoch rise, and none writes before its claim; 100 is the claim of an older topic."""
    term = term if term < sequence or term == 100 else -1
    if step == "word":
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
@example([CLAIMED, ("word", A, 5, 0), CLAIMED, ("word", A, 5, 0)])
@example([JUNK, JUNK, ("word", B, 5, 1), ("word", A, 5, 0)])
def test_words_that_are_not_taken_apart_change_nothing(steps: list[tuple[str, SessionKey, int, int]]) -> None:
    """The log comes to what each word in its turn comes to, whoever wrote it; and a command settles whatever stands."""
    log, plain, claims = CheckpointLog(1), dict[SessionKey, CheckpointHistory](), list[int]()
    junk = set[SessionKey]()
    for offset, (step, key, *numbers) in enumerate(steps):
        record_key, text = record_of(offset, step, key, *numbers)
        log.take(0, offset, 0, record_key, text)
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
            one = one if (one.term or 0) < offset else replace(one, term=None)
            claims += [] if one.term is None else [one.term]  # its claim was here, and is compacted away
            is_late = one.term is not None and max(claims, default=-1) > one.term
            plain[key] = plain.get(key, CheckpointHistory()).after(one, offset, is_late=is_late)
    assert log.restored() == {key: one.restored for key, one in plain.items()}
    assert {flaw.word.key for flaw in log.flaws} == {key.record_key for key in junk}
    for key in (A, B):
        edit = moved(key, log.about(key.record_key), 1, replace(CHANGE, now_ms=0))
        for write in edit.writes:
            log.take(0, len(steps) + 5, 0, edit.key, write.value)
        assert edit.after is not None
        assert log.restored()[key] == Restored(edit.after, is_late=False)
    assert not log.flaws
