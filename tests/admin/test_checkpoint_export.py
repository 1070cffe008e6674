"""Exporting positions and importing them into another topic."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.admin.checkpoints.edit import Write, epoch_floors, exactly_once_notes, is_behind, is_imported, moved
from bridge.admin.checkpoints.transfer import Export, Header, InvalidExport, document, lines, parse, position_of
from bridge.clock import rfc3339
from bridge.core.checkpoint_log import CheckpointLog, StoredCheckpoint
from bridge.core.identity import Position, SessionKey, partition_of
from bridge.core.owner_records import FORGOTTEN_KEY, encode_forgotten
from bridge.core.records.checkpoint import Checkpoint, decode, encode
from bridge.core.records.claim import CLAIM_KEY, EXACTLY_ONCE, EXACTLY_ONCE_KEY, Claim
from bridge.core.records.claim import encode as encode_claim
from bridge.core.stream.overlap import OverlapWindow

NOW = 1_800_000_000_000
WINDOW = OverlapWindow("4", "5", b"12345678")


def one(session: str = "a", epoch: int = 1_700_000_000, sequence: int = 5, **more: object) -> Checkpoint:
    known = Checkpoint(
        SessionKey("local", session), Position(epoch, sequence, "5"), "active", 1_700_000_000_000, "f00", WINDOW
    )
    return replace(known, **more)  # type: ignore[arg-type]


def export(*checkpoints: Checkpoint) -> Export:
    header = Header(
        namespace="mix", topic="mix.checkpoints", partitions=2, exported_at=rfc3339(NOW), count=len(checkpoints)
    )
    return Export(header, checkpoints)


def content(*checkpoints: Checkpoint) -> bytes:
    return b"".join(line + b"\n" for line in lines(export(*checkpoints)))


def stored(
    *checkpoints: Checkpoint, partitions: int = 4, place: Callable[[bytes], int] | None = None
) -> StoredCheckpoint:
    """The records of ``local/a`` in a topic with these checkpoints."""
    partitions = 4
    log = CheckpointLog(partitions)
    for offset, checkpoint in enumerate(checkpoints):
        key = checkpoint.key.record_key
        log.add(place(key) if place else partition_of(key, partitions), offset, NOW, key, encode(checkpoint))
    return log.stored(b"local/a")


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1),
            st.integers(0, 10**10 - 2),
            st.integers(0, 10**12 - 1),
            st.sampled_from(["active", "ended"]),
        ),
        unique_by=lambda each: each[0],
    )
)
def test_an_export_is_read_back(sessions: list[tuple[str, int, int, str]]) -> None:
    """For any ids, as lines and as one document, with any line ends."""
    whole = export(*(one(name, epoch, sequence, state=state) for name, epoch, sequence, state in sessions))
    text = b"".join(line + b"\n" for line in lines(whole))
    assert parse(text) == whole
    assert parse(text.replace(b"\n", b"\r\n") + b"\n\n") == whole
    for indent in (None, 2):
        assert parse(json.dumps(document(whole), indent=indent).encode()) == whole


def without(member: str) -> bytes:
    members = json.loads(encode(one("b")))
    del members[member]
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: b"", "it is empty"),
        (lambda _: b'{"offset": 1}\n', "line 1: it is not the header"),
        (lambda _: b"\x00\xff", "line 1: it is not the header"),
        (lambda _: b"[" * 100_000, "line 1: it is not the header"),
        (lambda text: text.replace(b'"version":1', b'"version":2', 1), "line 1: version 2 is newer"),
        (lambda text: text.replace(b'"partitions":2', b'"partitions":0'), "line 1: partitions: "),
        (lambda text: text[: text.rindex(b"\n", 0, -1) + 1], "the header says 2 checkpoints, the file has 1"),
        (lambda text: text[:-20], "line 3: it is not a JSON object"),
        (lambda text: text + b"# a note\n", "line 4: it is not a JSON object"),
        (lambda text: text + text.splitlines()[1], "line 4: local/a is in line 2 too"),
        (lambda text: text.replace(b'"sequence":5', b'"sequence":-5', 1), "line 2: sequence: "),
        (lambda text: text.replace(b'"epoch":1700000000', b'"epoch":9999999999', 1), "line 2: epoch: it is too large"),
        (lambda text: text.replace(b'"local"', b'"LO CAL"', 1), "line 2: 'LO CAL/a' is not SERVER/SESSION"),
        (lambda text: text.splitlines()[0] + b"\n" + encode(one()) + b"\n" + without("last_event_id"), "line 3: last_"),
        (lambda text: text.replace(b'"session":"a"', b'"session":"\\u001b[2J"', 1).replace(b"Z", b"\x1b"), "line 1: "),
    ],
)
def test_an_invalid_export_is_refused_with_the_place(change: Callable[[bytes], bytes], message: str) -> None:
    """Truncated, edited, joined, of a newer version, or another file. The message is safe for a terminal."""
    with pytest.raises(InvalidExport) as refused:
        parse(change(content(one("a"), one("b"))))
    assert any(line.startswith(message) for line in str(refused.value).split("\n")), refused.value
    assert str(refused.value).replace("\n", "").isprintable()


def test_all_errors_are_reported_up_to_a_limit() -> None:
    head, *rest = content(*(one(f"s{number}") for number in range(30))).splitlines()
    with pytest.raises(InvalidExport) as refused:
        parse(b"\n".join([head, *(line[:-1] for line in rest)]))
    lines_ = str(refused.value).splitlines()
    assert [lines_[0], lines_[19], lines_[20]] == [
        "line 2: it is not a JSON object",
        "line 21: it is not a JSON object",
        "and 10 more errors",
    ]


def test_a_position_is_exported_with_the_highest_known_epoch() -> None:
    """Also a position in a wrong partition. The fencing token of its topic is left out."""
    furthest = one(epoch=1_700_000_007, fencing_token=None)
    assert position_of(stored(one(), furthest)) == furthest
    assert position_of(stored(furthest, place=lambda key: (partition_of(key, 4) + 1) % 4)) == furthest
    assert position_of(stored()) is None


def test_a_session_resumes_at_its_position_in_a_new_epoch() -> None:
    """In the partition of its key, with its overlap window, state and fingerprint."""
    for partitions in (1, 2, 16):
        edit = moved(one(state="ended", fencing_token=3), stored(), partitions, NOW)
        (write,) = edit.writes
        assert write.partition == partition_of(b"local/a", partitions)
        assert write.value is not None
        after = decode(b"local/a", write.value)
        assert after == edit.after == one(state="ended", position=Position(NOW // 1000, 0, "5"), updated_ms=NOW)
        assert (after.overlap_window, after.fingerprint, after.fencing_token) == (WINDOW, "f00", None)


def test_the_new_epoch_is_above_all_known_epochs() -> None:
    """Of the file, the topic and the clock."""
    ahead = 1_900_000_000
    assert moved(one(epoch=ahead), stored(), 4, NOW).after == one(position=Position(ahead + 1, 0, "5"), updated_ms=NOW)
    edit = moved(one(), stored(one(epoch=ahead)), 4, NOW)
    assert edit.after is not None
    assert edit.after.position.epoch == ahead + 1


def test_an_import_removes_records_from_wrong_partitions() -> None:
    """They are there after partitions were added to the topic."""
    home = partition_of(b"local/a", 4)
    edit = moved(one(), stored(one(), place=lambda _: (home + 1) % 4), 4, NOW)
    assert [(write.partition, write.value is None) for write in edit.writes] == [(home, False), ((home + 1) % 4, True)]


def test_only_a_session_that_continued_after_the_export_is_behind() -> None:
    """Not the exported position, the result of an earlier import, or an older position."""
    exported = one()
    first = moved(exported, stored(), 4, NOW).after
    assert first is not None
    for existing in (stored(), stored(exported), stored(one(sequence=4)), stored(one(epoch=1_600_000_000))):
        assert not is_behind(exported, existing)
        assert not is_imported(exported, existing)
    assert is_imported(exported, stored(first))
    for further in (
        one(sequence=6),
        one(epoch=1_700_000_001, sequence=1),
        replace(first, overlap_window=OverlapWindow.starting("6")),
    ):
        assert is_behind(exported, stored(further))
        assert not is_imported(exported, stored(further))


def test_each_partition_gets_the_highest_forgotten_epoch_unless_it_has_it() -> None:
    """A forgotten session may belong to any partition of another topic; a second import writes nothing."""
    log = CheckpointLog(3)
    for partition, epoch in enumerate((5, 9, 7)):
        log.add(partition, 0, NOW, FORGOTTEN_KEY, encode_forgotten(epoch, 1))
    assert log.owners.highest_forgotten_epoch == 9
    edits = epoch_floors(log, 3, 8)
    assert [(edit.key, edit.writes) for edit in edits] == [
        (FORGOTTEN_KEY, (Write(partition, encode_forgotten(8, 0)),)) for partition in (0, 2)
    ]
    assert epoch_floors(log, 3, 5) == []
    assert epoch_floors(CheckpointLog(3), 3, CheckpointLog(3).owners.highest_forgotten_epoch) == []


def test_an_export_without_a_forgotten_epoch_is_of_an_earlier_version() -> None:
    head, *rest = content(one()).splitlines()
    old = {name: value for name, value in json.loads(head).items() if name != "forgotten_epoch"}
    assert parse(b"\n".join([json.dumps(old).encode(), *rest])).header.forgotten_epoch == 0


def test_open_transactions_of_a_former_owner_are_noted_in_each_partition_of_the_new_topic() -> None:
    """Its claims stay behind, and a topic without claims has no owner whose transactions must be fenced."""
    old, claim = CheckpointLog(2), Claim("pod-1:7", "n", 2, "", NOW, "exactly_once")
    assert not old.owners.may_have_transactions
    old.add(1, 0, NOW, CLAIM_KEY, encode_claim(claim))
    assert old.owners.may_have_transactions
    new = CheckpointLog(2)
    assert new.owners.is_fenced(0)
    edits = exactly_once_notes(new, 2)
    assert [(edit.key, edit.writes) for edit in edits] == [
        (EXACTLY_ONCE_KEY, (Write(partition, EXACTLY_ONCE),)) for partition in (0, 1)
    ]
    for offset, edit in enumerate(edits):
        new.add(edit.writes[0].partition, offset, NOW, edit.key, edit.writes[0].value)
    assert not new.owners.is_fenced(0)
    assert exactly_once_notes(new, 2) == []
    fenced = replace(claim, guarantee="at_least_once", fenced=True)
    old.add(1, 1, NOW, CLAIM_KEY, encode_claim(fenced))
    assert not old.owners.may_have_transactions
