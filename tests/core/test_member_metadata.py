"""The metadata that the owner of a shard commits in the group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.records.member_metadata import MemberMetadata, decode, encode

MEMBER = MemberMetadata("pod-1:7", "pod-1", "run-a", "f1", "0.5")


@given(st.text(max_size=200), st.none() | st.text(max_size=200), st.integers(0, 10**12), st.booleans())
def test_decode_inverts_encode(owner: str, instance: str | None, heartbeat: int, has_left: bool) -> None:  # noqa: FBT001 - drawn
    member = MemberMetadata(owner, instance, "run", "servers", "1").at(heartbeat, has_left=has_left)
    assert decode(encode(member)) == member


@pytest.mark.parametrize("metadata", [None, "", "somebody's note", "7", "[]", "{}", '{"owner":"x"}', '{"owner":1}'])
def test_other_metadata_is_ignored(metadata: str | None) -> None:
    assert decode(metadata) is None


def test_additions_of_a_newer_version_are_ignored() -> None:
    assert decode(encode(MEMBER).replace("{", '{"more":[1],', 1)) == MEMBER
