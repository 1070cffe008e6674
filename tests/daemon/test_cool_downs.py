"""How long a session that ended is not started again."""

from __future__ import annotations

from bridge.core.identity import SessionKey
from bridge.daemon.cool_downs import AFTER_CRASH, AFTER_END, CoolDowns

A, B = SessionKey("local", "a"), SessionKey("local", "b")


def listed(_session: str, _moment: float) -> bool:
    """The server lists every session."""
    return False


def unlisted_since_150(_session: str, moment: float) -> bool:
    """The server's list at 150 s was without them."""
    return moment < 150.0


def test_an_ended_session_may_start_again_after_its_cool_down_or_when_it_was_unlisted() -> None:
    """If it is listed again after that, it is back."""
    cool_downs = CoolDowns()
    cool_downs.start(A, 100.0, crashed=False)
    assert cool_downs.active("local", 99.0 + AFTER_END, listed) == {"a"}
    assert cool_downs.active("other", 99.0 + AFTER_END, listed) == set()
    assert cool_downs.active("local", 100.0 + AFTER_END, listed) == set()
    cool_downs.start(A, 100.0, crashed=False)
    assert cool_downs.active("local", 101.0, unlisted_since_150) == set()


def test_a_crashed_session_may_start_again_soon_and_a_list_changes_nothing() -> None:
    """The bug was here, not at the server."""
    cool_downs = CoolDowns()
    cool_downs.start(A, 100.0, crashed=True)
    assert cool_downs.active("local", 101.0, unlisted_since_150) == {"a"}
    assert cool_downs.active("local", 100.0 + AFTER_CRASH, unlisted_since_150) == set()


def test_a_cool_down_can_be_cancelled() -> None:
    """When the shard is released, another replica decides."""
    cool_downs = CoolDowns()
    cool_downs.start(A, 100.0, crashed=False)
    cool_downs.start(B, 100.0, crashed=False)
    cool_downs.cancel([A])
    assert list(cool_downs) == [B]
