"""The scripted agents repeat for a seed, send all kinds of events, and are valid by the contract's schemas."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from bridge.mix.events import EVENTS, VALIDATORS
from bridge.simulator.scripts.agent_script import AgentScript, session_id_of

# Long enough for the rarest kind of event (with seed 1 all kinds occur in 700 events).
LONG = 3000


def script(seed: int = 1, session: str = "s", *, now: int = 1_700_000_000, count: int = LONG):
    return list(islice(AgentScript(seed, session, lambda: now).events(), count))


def test_the_same_seed_and_session_give_the_same_events():
    assert script(7) == script(7)


def test_another_seed_or_session_gives_other_events():
    assert len({tuple(script(seed, session, count=50)) for seed in (1, 2) for session in ("a", "b")}) == 4


def test_only_times_depend_on_the_clock():
    """The seed decides everything but ``createdAt``."""

    def timeless(now: int):
        return [{**json.loads(event.data), "createdAt": 0} for event in script(now=now)]

    assert timeless(1) == timeless(2)
    assert script(now=1) != script(now=2)


def test_every_kind_of_event_an_agent_can_send_occurs():
    """All events of the contract but those about connections and about other sessions."""
    others = {"connected", "heartbeat", "session_created", "session_deleted"}
    assert {event.name for event in script()} == set(EVENTS) - others


def test_every_event_is_valid_by_the_contract():
    violations = {VALIDATORS[event.name](event.data.decode()) for event in script()}
    assert violations == {None}


def test_a_turn_begins_with_the_user_and_ends_with_complete():
    names = [event.name for event in script()]
    after_complete = {names[at + 1] for at, name in enumerate(names[:-1]) if name == "complete"}
    assert names[0] == "user_message_created"
    assert after_complete == {"user_message_created"}
    assert names.count("complete") > 10


def test_the_deltas_of_a_tools_parameters_add_up_to_its_input():
    streamed: dict[str, str] = {}
    completed = 0
    for event in script():
        fields = json.loads(event.data)
        if event.name == "tool_use_parameter_delta":
            streamed[fields["toolCallId"]] = streamed.get(fields["toolCallId"], "") + fields["input"]
        elif event.name == "tool_use_parameter_streaming_complete":
            assert streamed[fields["id"]] == fields["input"]
            completed += 1
    assert completed > 10


def test_the_events_of_a_subagent_have_its_tool_call_as_parent():
    fields = [json.loads(event.data) for event in script()]
    parents = {one["parentToolCallId"] for one in fields if "parentToolCallId" in one}
    tasks = {one["id"] for one in fields if one.get("name") == "Task"}
    assert parents
    assert parents <= tasks


@pytest.mark.parametrize("awkward", ["\u0085", "\u2028", "\U0001f4ca", "ö", "ロ", '\\"', "\\n"])
def test_the_texts_contain_characters_that_careless_clients_read_wrong(awkward):
    """Unicode line separators, which do not end a line of an event stream; four-byte characters; escapes."""
    assert any(awkward in event.data.decode() for event in script())


def test_each_event_has_one_data_line():
    assert not any(end in event.data for event in script() for end in (b"\n", b"\r"))


def test_session_ids_are_stable_and_distinct():
    ids = [session_id_of(1, number) for number in range(1, 101)]
    assert len(set(ids)) == 100
    assert ids[0] == session_id_of(1, 1) != session_id_of(2, 1)
