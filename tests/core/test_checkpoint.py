"""The codec of checkpoints: every checkpoint can be read back, and any other value is refused with one line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import VERSION, BadCheckpoint, Checkpoint, decode, encode
from bridge.core.stream.overlap import OverlapWindow

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
CHECKPOINTS = st.builds(
    Checkpoint,
    st.builds(SessionKey, TEXT, TEXT),
    st.builds(Position, st.integers(0, 10**10 - 1), st.integers(0, 10**12 - 1), TEXT),
    st.sampled_from(["active", "ended"]),
    st.integers(0, 4_000_000_000_000),
    TEXT,
    st.builds(
        OverlapWindow, TEXT, TEXT, st.lists(st.binary(min_size=8, max_size=8), max_size=4).map(b"".join), st.booleans()
    ),
    st.none() | st.integers(0, 2**63 - 1),
)
WINDOW = OverlapWindow("abb", "abc", b"8 bytes!" * 2)
SAVED = Checkpoint(
    SessionKey("local", "s1"), Position(1_700_000_000, 42, "abc"), "active", 1_700_000_000_123, "f00", WINDOW
)


def changed(**members: Any) -> bytes:
    """A valid checkpoint's value with some members replaced, and without those that are None."""
    value = json.loads(encode(SAVED)) | members
    return json.dumps({name: member for name, member in value.items() if member is not None}).encode()


@given(checkpoint=CHECKPOINTS)
def test_every_checkpoint_is_read_back_unchanged(checkpoint: Checkpoint) -> None:
    """Every position, any characters, to the millisecond."""
    assert decode(checkpoint.key.record_key, encode(checkpoint)) == checkpoint


def test_the_members_are_those_of_the_interface() -> None:
    """Programs outside read these names."""
    assert json.loads(encode(SAVED)) == {
        "version": 1,
        "server": "local",
        "session": "s1",
        "last_event_id": "abc",
        "epoch": 1_700_000_000,
        "sequence": 42,
        "state": "active",
        "updated_at": "2023-11-14T22:13:20.123Z",
        "fingerprint": "f00",
        "overlap": {"after": "abb", "last": "abc", "digests": b"8 bytes!8 bytes!".hex(), "certain": True},
        "term": None,
    }


def test_only_a_new_session_has_the_member_new() -> None:
    """All other checkpoints stay as they are for readers of earlier versions."""
    key, position = SessionKey("local", "a"), Position(1_764_000_000, 0, "0")
    for is_new in (True, False):
        window = OverlapWindow.starting("0")._replace(is_new=is_new)
        one = Checkpoint(key, position, "active", 0, "", window, 7)
        value = encode(one)
        assert (b'"new"' in value) is is_new
        assert decode(key.record_key, value) == one


def test_members_of_a_later_version_are_ignored() -> None:
    """New members may appear without a new version; a checkpoint of an early version has no fingerprint."""
    assert decode(b"local/s1", changed(later=7, ids=[["1", "ab"]])) == SAVED
    early = decode(b"local/s1", changed(fingerprint=None, overlap=None, term=None))
    assert (early.fingerprint, early.overlap_window, early.fencing_token) == ("", OverlapWindow.starting("abc"), None)


@pytest.mark.parametrize(("term", "end"), [(None, b',"term":null}'), (0, b',"term":0}'), (123, b',"term":123}')])
def test_the_fencing_token_is_at_the_end(term: int | None, end: bytes) -> None:
    """The owner of a shard reads thousands of its own checkpoints per second and need not parse them."""
    assert encode(replace(SAVED, fencing_token=term)).endswith(end)


def test_a_newer_version_is_refused_by_its_version_number() -> None:
    """Its other members may mean anything: the version is read first."""
    with pytest.raises(BadCheckpoint, match="version 2 is newer"):
        decode(b"local/s1", changed(version=VERSION + 1, epoch="later", sequence=None))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "value: "),
        (b"{", "value: "),
        (b"[1]", "value: "),
        (b"\xff\xfe", "value: "),
        (b"[" * 100_000, "value: "),
        (changed(version=None), "version: "),
        (changed(version=0), "version: "),
        (changed(version="1"), "version: "),
        (changed(epoch=-1), "epoch: "),
        (changed(epoch=10**10), "epoch: "),
        (changed(epoch=1.5), "epoch: "),
        (changed(sequence=10**12), "sequence: "),
        (changed(sequence=True), "sequence: "),
        (changed(last_event_id=None), "last_event_id: "),
        (changed(last_event_id=5), "last_event_id: "),
        (changed(state="gone"), "state: "),
        (changed(term=-1), "term"),
        (changed(term="5"), "term"),
        (changed(updated_at="yesterday"), "updated_at: "),
        (changed(updated_at="0001-01-01T00:00:00"), "updated_at: "),
        (changed(session="s2"), "the key is b'local/s1', the value names 'local/s2'"),
        (changed(session="x" * 10_000), "the key is"),
    ],
)
def test_a_bad_value_is_refused_in_one_short_line(value: bytes, message: str) -> None:
    """The line begins with the invalid member."""
    with pytest.raises(BadCheckpoint) as caught:
        decode(b"local/s1", value)
    line = str(caught.value)
    assert line.startswith(message)
    assert "\n" not in line
    assert len(line) < 500


@given(value=st.binary(max_size=200), key=st.binary(max_size=20))
def test_any_other_bytes_raise_bad_checkpoint(value: bytes, key: bytes) -> None:
    """No other exception leaves the codec."""
    with pytest.raises(BadCheckpoint) as caught:
        decode(key, value)
    assert "\n" not in str(caught.value)
