"""What the owner of a shard says of itself, and who lives by what was read of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.records.member_metadata import MemberMetadata, decode, encode
from bridge.sharding.liveness import Liveness

MINE = MemberMetadata("pod-1:7", "pod-1", "run-a", "f1", "0.5")
PATIENCE = 11.0


@given(st.text(max_size=200), st.none() | st.text(max_size=200), st.integers(0, 10**12), st.booleans())
def test_a_badge_is_read_as_it_was_written(owner: str, instance: str | None, beat: int, has_left: bool) -> None:  # noqa: FBT001 - drawn
    member_metadata = MemberMetadata(owner, instance, "run", "servers", "1").at(beat, has_left=has_left)
    assert decode(encode(member_metadata)) == member_metadata


@pytest.mark.parametrize("metadata", [None, "", "somebody's note", "7", "[]", "{}", '{"owner":"x"}', '{"owner":1}'])
def test_what_others_commit_is_no_badge(metadata: str | None) -> None:
    assert decode(metadata) is None


def test_a_badge_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    assert decode(encode(MINE).replace("{", '{"more":[1],', 1)) == MINE


def test_one_reading_tells_of_no_life() -> None:
    call = Liveness(PATIENCE)
    call.see({0: MINE}, 0.0)
    assert call.living(0.0) == {}


def test_a_beat_that_moves_is_alive_for_as_long_as_patience() -> None:
    call = Liveness(PATIENCE)
    call.see({0: MINE, 1: MINE}, 0.0)
    call.see({0: MINE.at(1), 1: MINE}, 5.0)
    assert call.living(5.0) == {0: MINE.at(1)}
    call.see({0: MINE.at(1), 1: MINE}, 10.0)
    assert call.living(16.0) == {0: MINE.at(1)}
    assert call.living(16.1) == {}


def test_who_has_left_is_gone_at_once_and_a_successor_lives_from_its_first_word() -> None:
    call = Liveness(PATIENCE)
    call.see({0: MINE}, 0.0)
    call.see({0: MINE.at(1, has_left=True)}, 5.0)
    assert call.living(5.0) == {}
    other = MemberMetadata("pod-2:7", "pod-2", "run-b", "f1", "0.5")
    call.see({0: other}, 10.0)
    assert call.living(10.0) == {0: other}


def test_a_shard_nobody_wrote_of_is_nobodys() -> None:
    call = Liveness(PATIENCE)
    call.see({0: MINE}, 0.0)
    call.see({}, 5.0)
    call.see({0: MINE.at(1)}, 10.0)
    assert call.living(10.0) == {}
