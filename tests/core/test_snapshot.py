"""The snapshot: totals, and the body of /api/status."""

from __future__ import annotations

import json
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.snapshot import Counters, ServerSnapshot, SessionSnapshot, TopicSnapshot, status
from tests.fakes.snapshots import WELL


def test_a_total_adds_every_counter_and_every_reason() -> None:
    """No field is left out of a sum, those of a later version included."""
    numbers = {each.name: 2 for each in fields(Counters) if each.name != "dead_letters"}
    one = Counters(dead_letters={"schema": 1, "oversize": 2}, **numbers)
    other = Counters(dead_letters={"schema": 3}, **numbers)
    total = Counters.total((one, other))
    assert {name: getattr(total, name) for name in numbers} == dict.fromkeys(numbers, 4)
    assert total.dead_letters == {"schema": 4, "oversize": 2}


def test_the_total_of_nothing_is_nothing() -> None:
    """A server without sessions has counters, all zero."""
    assert Counters.total(()) == Counters()
    snapshot = replace(WELL, servers={"local": ServerSnapshot(reachable=True)})
    assert snapshot.totals() == {"local": Counters()}


def test_a_session_of_a_server_that_left_the_settings_is_counted() -> None:
    """A session is counted even when nothing else is known of its server."""
    session = SessionSnapshot("old", "1", "streaming", counters=Counters(received=3))
    assert replace(WELL, sessions=(session,)).totals() == {"old": Counters(received=3)}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["receive", "end"])), max_size=40))
def test_totals_never_decrease_when_sessions_end_and_start_again(steps: list[tuple[str, str]]) -> None:
    """The rule of ServerSnapshot's docstring is enough for that."""
    live: dict[str, Counters] = {}
    ended, before = Counters(), 0
    for name, step in steps:
        counters = live.pop(name, Counters())
        if step == "end":
            ended = Counters.total((ended, counters))
        else:
            live[name] = replace(counters, received=counters.received + 1)
        sessions = tuple(SessionSnapshot("local", each, "streaming", counters=live[each]) for each in live)
        server = ServerSnapshot(reachable=True, ended=ended)
        now = replace(WELL, sessions=sessions, servers={"local": server}).totals()["local"].received
        assert now == before + (step == "receive")
        before = now


def test_the_status_of_a_session_has_the_names_of_the_interface() -> None:
    """Other programs depend on these names and their order."""
    session = SessionSnapshot(
        "local", "42", "streaming", "e7", 1_700_000_000, 9, 8, 1, 0.12345, 0.5, None, Counters(reconnects=2)
    )
    assert status(replace(WELL, sessions=(session,)))["sessions"] == [
        {
            "server": "local",
            "session": "42",
            "state": "streaming",
            "last_event_id": "e7",
            "epoch": 1_700_000_000,
            "sequence": 9,
            "acknowledged_sequence": 8,
            "in_flight": 1,
            "last_event_age": 0.123,
            "last_byte_age": 0.5,
            "reconnects": 2,
            "last_error": None,
            "shard": None,
        }
    ]


def test_the_status_is_json() -> None:
    """Everything in the status can be written as JSON; an age is null if the thing never happened."""
    snapshot = replace(
        WELL,
        kafka_last_answer_age=None,
        servers={"local": ServerSnapshot(reachable=False, listed=7, not_bridged=2)},
        loops={"poll": 0.25},
    )
    body = json.loads(json.dumps(status(snapshot)))
    assert body["bridge"]["kafka_last_answer_age"] is None
    assert body["bridge"]["loops"] == {"poll": 0.25}
    assert body["servers"]["local"] == {
        "reachable": False,
        "last_discovery_age": None,
        "listed": 7,
        "not_bridged": 2,
        "entries_skipped": 0,
    }


def test_the_status_contains_each_topic() -> None:
    """Its size, its problem and its changes."""
    topic = TopicSnapshot("mix.events", 8, "no leader", ("small",), {"partitions": 1})
    assert status(replace(WELL, topics=(topic,)))["topics"] == {
        "mix.events": {"partitions": 8, "trouble": "no leader", "warnings": ["small"], "changes": {"partitions": 1}}
    }
