"""How long a session that ended, or was refused for its missing ids, is not started again."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.snapshot import Counters
from bridge.daemon.cool_downs import AFTER_CRASH, AFTER_END, CoolDowns
from bridge.daemon.restored_checkpoints import RestoredCheckpoints
from bridge.daemon.running_sessions import RunningSession, RunningSessions
from bridge.daemon.session_log import SessionCounters
from bridge.daemon.session_states import State
from bridge.daemon.shard_sessions import ShardSessions

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


KEY = SessionKey("local", "a")


def refused(seconds_ago: float, *, is_mix: bool = False) -> RunningSession:
    """A session that was refused some seconds ago."""
    worker: Any = SimpleNamespace(
        state=State.REFUSED, is_over=True, is_alive=False, retries_refused=not is_mix, bytes_read=0,
        refused_at=monotonic() - seconds_ago, stream=SimpleNamespace(counters=SessionCounters()),
    )  # fmt: skip
    session = SimpleNamespace(must_restart=None, dead_letters=Counter(), skipped=0, rewinds=0, epochs=0)
    publisher: Any = SimpleNamespace(is_settled=True, published=0, session=session)
    lease: Any = SimpleNamespace(shard=0)
    return RunningSession(KEY, worker, publisher, lease)


def shard_sessions() -> tuple[ShardSessions, RunningSessions]:
    running = RunningSessions(["local"])
    delivery: Any = SimpleNamespace(sessions=SimpleNamespace(close=lambda _key: None))
    return ShardSessions(1, delivery, running, RestoredCheckpoints({})), running


def test_a_refused_session_is_tried_again_at_growing_intervals() -> None:
    """After one minute, then two; meanwhile it is shown as refused."""
    sessions, running = shard_sessions()
    for early, late in ((59.0, 61.0), (119.0, 121.0), (239.0, 241.0)):
        for seconds_ago, runs in ((early, True), (late, False)):
            running.add(refused(seconds_ago))
            sessions.remove_ended()
            assert (running.get(KEY) is not None) is runs
            assert not list(sessions.cool_downs)
    assert running.ended()["local"] == Counters()


def test_a_session_of_a_mix_server_stays_refused() -> None:
    """Each connection there takes part in runs."""
    sessions, running = shard_sessions()
    running.add(refused(1e6, is_mix=True))
    sessions.remove_ended()
    assert running.get(KEY) is not None


def test_a_reload_lifts_a_refusal_once() -> None:
    """SIGHUP or new settings: each refused session is tried at once; refused again, it stays so."""
    sessions, running = shard_sessions()
    sessions.refusals.retry()
    for _ in range(2):
        running.add(refused(1.0, is_mix=True))
        sessions.remove_ended()
        assert running.get(KEY) is not None
        sessions.refusals.retry()
        sessions.remove_ended()
        assert running.get(KEY) is None
        assert not list(sessions.cool_downs)
