"""Liveness and readiness as functions of a snapshot."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bridge.core.snapshot import Replica, ServerSnapshot, SessionSnapshot, ShardSnapshot, TopicSnapshot
from bridge.observe.health import LOOP_LIMIT, Heartbeats, Verdict, liveness, readiness
from tests.fakes import snapshots

WELL = replace(
    snapshots.WELL,
    loops={"main": 0.2, "poll": 0.9},
)
UNWELL = SessionSnapshot("far", "1", "waiting", last_error="connection refused")
STREAMING = SessionSnapshot("local", "2", "streaming")


def failed(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.detail for check in verdict.checks if not check.ok}


def test_alive_while_every_loop_sends_heartbeats() -> None:
    """There is one check for each loop."""
    verdict = liveness(WELL)
    assert verdict.ok
    assert [check.name for check in verdict.checks] == ["loop:main", "loop:poll"]


def test_not_alive_when_one_loop_is_stuck() -> None:
    """The check names the loop, for how long, and what to do."""
    verdict = liveness(replace(WELL, loops={"main": 0.2, "poll": LOOP_LIMIT}))
    assert not verdict.ok
    assert failed(verdict) == {
        "loop:poll": "has not moved for 5.0 s (limit 5 s): restart the bridge, no event is lost by that"
    }


def test_a_loop_beside_thousands_of_sessions_has_more_time() -> None:
    """On a slow machine each thread gets the interpreter late: a restart would not make it faster."""
    sessions = tuple(replace(STREAMING, session=str(number)) for number in range(3000))
    assert liveness(replace(WELL, loops={"main": 5 * LOOP_LIMIT}, sessions=sessions)).ok
    assert not liveness(replace(WELL, loops={"main": 7 * LOOP_LIMIT}, sessions=sessions)).ok
    assert not liveness(replace(WELL, loops={"main": LOOP_LIMIT}, sessions=sessions[:100])).ok


def test_a_stuck_loop_is_found_within_ten_seconds() -> None:
    """The limit leaves time for one heartbeat and for a probe every few seconds."""
    assert LOOP_LIMIT <= 7


def test_an_outage_of_kafka_or_a_server_is_not_about_liveness() -> None:
    """A restart would not end it."""
    outage = replace(
        WELL,
        restored=False,
        kafka_last_answer_age=None,
        sessions=(UNWELL,),
        servers={"far": ServerSnapshot(reachable=False)},
    )
    assert liveness(outage).ok
    assert not readiness(outage).ok


def test_alive_before_any_loop_runs() -> None:
    """A daemon that is starting is not stuck."""
    assert liveness(replace(WELL, loops={})).ok


def test_ready_without_sessions() -> None:
    """It is not an error that there is nothing to bridge yet."""
    assert readiness(WELL).ok


@pytest.mark.parametrize("age", [None, 10.0, 3600.0])
def test_not_ready_when_kafka_has_not_answered_lately(age: float | None) -> None:
    """The advice names the setting."""
    details = failed(readiness(replace(WELL, kafka_last_answer_age=age)))
    assert list(details) == ["kafka"]
    assert "kafka.bootstrap_servers" in details["kafka"]


def test_not_ready_until_the_checkpoints_are_restored() -> None:
    """Before that no session can be resumed."""
    assert list(failed(readiness(replace(WELL, restored=False)))) == ["restore"]


ANSWERS, AWAY = (
    ServerSnapshot(reachable=True, discovers=True),
    ServerSnapshot(reachable=False, discovers=True, discovery_fails=True),
)
WITHOUT_A_LIST = ServerSnapshot(reachable=True, discovers=True, discovery_fails=True)
FIXED = ServerSnapshot(reachable=True)
ASKED_AGAIN = SessionSnapshot("far", "3", "waiting")


@pytest.mark.parametrize(
    ("servers", "sessions", "ready"),
    [
        ((AWAY,), (), False),
        ((AWAY, AWAY), (), False),
        ((AWAY, ANSWERS), (), True),
        ((AWAY,), (STREAMING,), True),
        ((WITHOUT_A_LIST,), (), False),
        ((WITHOUT_A_LIST, AWAY), (), False),
        ((WITHOUT_A_LIST, ANSWERS), (), True),
        ((WITHOUT_A_LIST, FIXED), (), False),
        ((WITHOUT_A_LIST,), (STREAMING,), True),
        ((WITHOUT_A_LIST,), (ASKED_AGAIN,), True),
        ((WITHOUT_A_LIST,), (UNWELL,), False),
        ((WITHOUT_A_LIST,), (replace(UNWELL, state="refused"),), False),
        ((AWAY,), (replace(UNWELL, server="local", state="refused"),), False),
        ((FIXED,), (), True),
    ],
)
def test_ready_while_a_server_answers_and_lists_or_streams(
    servers: tuple[ServerSnapshot, ...],
    sessions: tuple[SessionSnapshot, ...],
    ready: bool,  # noqa: FBT001
) -> None:
    """Also without a session: else nobody would see that every server is away, or refuses the token."""
    named = dict(zip(("local", "other"), servers, strict=False))
    details = failed(readiness(replace(WELL, servers=named, sessions=sessions)))
    assert ("servers" not in details) is ready


def test_a_server_that_does_not_list_sessions_is_named_with_the_fix() -> None:
    """Nothing runs, and it cannot be found out which sessions there are."""
    named = {"local": replace(WITHOUT_A_LIST, lists_none=True)}
    details = failed(readiness(replace(WELL, servers=named, sessions=())))
    assert "local: this server does not list sessions: name them" in details["servers"]
    assert "servers.local.sessions" in details["servers"]


@pytest.mark.parametrize("state", ["refused", "crashed"])
def test_sessions_that_are_refused_or_have_crashed_are_not_bridged(state: str) -> None:
    """Ten of ten are no readiness; with or without an error."""
    bad = replace(UNWELL, state=state)
    details = failed(readiness(replace(WELL, sessions=(bad,) * 9 + (replace(bad, last_error=None),))))
    assert details["sessions"].startswith(f"10 of 10 sessions are not bridged: 0 cannot connect, 10 {state}")
    assert "sessions" not in failed(readiness(replace(WELL, sessions=(bad, STREAMING))))


def test_a_session_that_waits_for_its_response_head_is_no_failure() -> None:
    """Its connection stands: some servers send the head with the first event."""
    waiting = replace(UNWELL, state="waiting for the response head")
    assert "sessions" not in failed(readiness(replace(WELL, sessions=(waiting, waiting))))


def test_not_ready_when_a_bug_has_ended_delivery() -> None:
    """Until the process ends with it."""
    assert list(failed(readiness(replace(WELL, delivers=False)))) == ["delivery"]


@pytest.mark.parametrize(
    ("unwell", "streaming", "ready"),
    [(0, 1, True), (1, 1, True), (1, 0, False), (2, 1, False), (2, 2, True), (3, 2, False)],
)
def test_ready_while_at_most_half_of_the_sessions_cannot_connect(unwell: int, streaming: int, ready: bool) -> None:  # noqa: FBT001
    """Half is still ready, one more is not."""
    sessions = (UNWELL,) * unwell + (STREAMING,) * streaming
    assert readiness(replace(WELL, sessions=sessions)).ok is ready


def test_sessions_that_cannot_connect_are_reported_by_server_without_their_errors() -> None:
    """The answer needs no token, so it quotes neither a session nor an error text."""
    details = failed(readiness(replace(WELL, sessions=(replace(UNWELL, session="s3cret", last_error="b0om"),))))
    assert "far" in details["sessions"]
    assert "1 of 1 sessions cannot connect" in details["sessions"]
    assert "s3cret" not in details["sessions"]
    assert "b0om" not in details["sessions"]


@pytest.mark.parametrize(
    ("state", "error", "ready"),
    [
        ("connecting", None, True),
        ("connecting", "timed out", False),
        ("waiting", None, True),
        ("waiting", "refused", False),
        ("streaming", "an old one", True),
    ],
)
def test_only_states_without_a_connection_and_with_an_error_count(state: str, error: str | None, ready: bool) -> None:  # noqa: FBT001
    """The first connection, and the wait after a normal end of a stream, are no problem."""
    session = replace(UNWELL, state=state, last_error=error)
    assert readiness(replace(WELL, sessions=(session,))).ok is ready


def test_a_verdict_as_json_contains_every_check() -> None:
    """The body has the answer and each check's name and detail."""
    body = json.loads(json.dumps(readiness(WELL).to_json()))
    assert body["ok"] is True
    assert [check["name"] for check in body["checks"]] == ["restore", "kafka", "delivery", "servers", "sessions"]
    assert all(check["detail"] for check in body["checks"])


def test_heartbeats_return_the_age_of_each_loop() -> None:
    """An age grows until the next heartbeat; a loop that was removed has none."""
    now = 100.0
    heartbeats = Heartbeats(lambda: now)
    heartbeats.record("main")
    heartbeats.record("poll")
    now = 103.0
    heartbeats.record("main")
    now = 104.0
    assert heartbeats.ages() == {"main": 1.0, "poll": 4.0}
    heartbeats.forget("poll")
    heartbeats.forget("poll")
    assert heartbeats.ages() == {"main": 1.0}


def test_the_default_clock_of_heartbeats_is_the_real_one() -> None:
    heartbeats = Heartbeats()
    heartbeats.record("main")
    assert 0 <= heartbeats.ages()["main"] < 5


def test_not_ready_while_a_topic_has_a_problem() -> None:
    """The problem is reported as it is; there is no check if the topics are not watched."""
    topics = (TopicSnapshot("mix.events", None, "topic mix.events is gone: create it"), TopicSnapshot("mix.tools", 8))
    verdict = readiness(replace(WELL, topics=topics))
    assert failed(verdict) == {"topics": "topic mix.events is gone: create it"}
    assert readiness(replace(WELL, topics=topics[1:])).ok
    assert "topics" not in [check.name for check in readiness(WELL).checks]


def test_no_session_is_named_whatever_holds_up_a_shard() -> None:
    """The answer needs no token; the trouble of a shard may be the checkpoint of one session, and its repair."""
    replica = Replica(
        shard_count=2,
        shards=(
            ShardSnapshot(0, "blocked", 1, 0, "mix-bridge checkpoints reset local/s3cret", "invalid checkpoints: 1"),
            ShardSnapshot(1, "blocked", 1, 0, "mix-bridge checkpoints reset local/s3cret"),
        ),
    )
    verdict = readiness(replace(WELL, replica=replica))
    assert failed(verdict) == {
        "shards": "owns 0 of 2; shard 0: invalid checkpoints: 1; shard 1: see /api/status",
    }
