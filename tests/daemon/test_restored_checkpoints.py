"""Where sessions resume: ended ones are packed, and cost nothing until they return."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.identity import SessionKey
from bridge.daemon.restored_checkpoints import EndedSession, RestoredCheckpoints
from tests.fakes.checkpoints import restored


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.booleans(), st.booleans()), max_size=8))
def test_a_packed_checkpoint_is_restored_as_it_was(sessions: list[tuple[str, bool, bool]]) -> None:
    """With any id; by key, and removed with its shard."""
    known = {
        each.checkpoint.key: each
        for name, has_ended, is_stale in sessions
        for each in [restored(name, "ended" if has_ended else "active", is_stale=is_stale)]
    }
    checkpoints = RestoredCheckpoints({})
    checkpoints.add_shard(3, known)
    assert {key: checkpoints.get(key) for key in known} == known
    assert all(key in checkpoints for key in known)
    active = {each.checkpoint.key.session_id for each in known.values() if each.checkpoint.state == "active"}
    assert {*checkpoints.unfinished("local")} == active
    ended = {each.key for each in checkpoints.ended()}
    assert ended == {key for key, each in known.items() if each.checkpoint.state == "ended"}
    checkpoints.remove_shard(3)
    assert not any(key in checkpoints for key in known)


def test_a_session_that_ends_or_returns_has_one_checkpoint() -> None:
    """It moves between the two tables, and each change is seen."""
    checkpoints = RestoredCheckpoints({})
    key = SessionKey("local", "a")
    checkpoints.put(0, key, restored("a", "active"))
    version = checkpoints.version
    assert checkpoints.unfinished("local") == ["a"]
    checkpoints.put(0, key, restored("a", "ended", epoch=2000))
    assert checkpoints.unfinished("local") == []
    assert [*checkpoints.ended()] == [EndedSession(0, key, 2000, 5000)]
    checkpoints.put(0, key, None)
    assert checkpoints.get(key) is None
    assert checkpoints.version > version
