"""Claims in the checkpoints topic, and the metadata that owners commit: read back, or refused if of another program."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.records import member_metadata
from bridge.core.records.checkpoint import OWN_KEY_PREFIX, BadCheckpoint
from bridge.core.records.claim import CLAIM_KEY, Claim, decode, encode
from bridge.core.records.member_metadata import MemberMetadata

CLAIM = Claim("host:7", "a1b2", 8, "f00", 1_700_000_000_123)
MEMBER = MemberMetadata("pod-1:7", "pod-1", "run-a", "f1", "0.5")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(claim=st.builds(Claim, TEXT, TEXT, st.integers(1, 10**6), TEXT, st.integers(0, 4_000_000_000_000)))
def test_decode_inverts_encode(claim: Claim) -> None:
    """With any names and any number of shards."""
    assert decode(encode(claim)) == claim


def test_a_claim_is_the_bridges_own_record() -> None:
    """No session has its key, and additions of a later version are ignored."""
    assert CLAIM_KEY.startswith(OWN_KEY_PREFIX)
    assert decode(json.dumps(json.loads(encode(CLAIM)) | {"version": 2, "more": 1}).encode()) == CLAIM


@pytest.mark.parametrize("value", [b"", b"not JSON", b"[1]", b"\xff", b"{}", b'{"version":0}', b"[" * 100_000])
def test_other_values_are_refused_in_one_short_line(value: bytes) -> None:
    """Another program may write anything with this key."""
    with pytest.raises(BadCheckpoint) as caught:
        decode(value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=200), st.none() | st.text(max_size=200), st.integers(0, 10**12), st.booleans())
def test_metadata_is_read_back(owner: str, instance: str | None, heartbeat: int, has_left: bool) -> None:  # noqa: FBT001 - drawn
    member = MemberMetadata(owner, instance, "run", "servers", "1").at(heartbeat, has_left=has_left)
    assert member_metadata.decode(member_metadata.encode(member)) == member


@pytest.mark.parametrize("metadata", [None, "", "somebody's note", "7", "[]", "{}", '{"owner":"x"}', '{"owner":1}'])
def test_other_metadata_is_ignored(metadata: str | None) -> None:
    assert member_metadata.decode(metadata) is None


def test_additions_of_a_newer_version_are_ignored() -> None:
    assert member_metadata.decode(member_metadata.encode(MEMBER).replace("{", '{"more":[1],', 1)) == MEMBER
