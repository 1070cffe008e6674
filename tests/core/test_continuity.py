"""Single decisions of continuity, by the actions it returns; the general rules are in ``test_continuity_model``."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from bridge.core.stream.actions import (
    Action,
    Announce,
    NoIds,
    Publish,
    Reconnect,
    StartEpoch,
    TakesPart,
    UncertainIds,
)
from bridge.core.stream.continuity import DENIED_TIMEOUT, Continuity
from bridge.core.stream.event import Event
from bridge.core.stream.facts import Policy
from bridge.core.stream.ids import FirstId, StartId
from bridge.core.stream.overlap import MOST, OverlapWindow, digest, extended
from bridge.core.stream.replay import FEW
from bridge.core.stream.start_check import ANSWER_TIMEOUT, TRIES
from bridge.core.stream.states import State

START = OverlapWindow.starting("0")


def event(own_id: str | None, data: str = "", name: str = "agent") -> Event:
    return Event(name, data or str(own_id), own_id, own_id or "", 0)


def numbered(first: int, last: int) -> list[Event]:
    return [event(str(at)) for at in range(first, last + 1)]


def continuity(**more: Any) -> Continuity:
    """Of a session that is known, on a server with ids."""
    known = {"has_ids": more.pop("has_ids", True), "is_new": more.pop("is_new", False)}
    own = frozenset({"connected", "heartbeat"})
    chosen = {"start_after_id": "0", "start_id": StartId(FirstId.IS_ONE), "connection_events": own}
    policy: dict[str, Any] = chosen | more
    return Continuity(Policy(**policy), **known)


def window(*events: Event, after: str) -> OverlapWindow:
    return OverlapWindow(after, events[-1].last_event_id, b"".join(map(digest, events)))


def announced(actions: list[Action]) -> list[tuple[str, str]]:
    """The kinds and reasons of lifecycle records."""
    events = [each.lifecycle_event for each in actions if isinstance(each, Announce | StartEpoch)]
    return [(each.kind, each.reason) for each in events]


def epochs(actions: list[Action]) -> list[OverlapWindow | None]:
    return [each.overlap_window for each in actions if isinstance(each, StartEpoch)]


def published(actions: list[Action]) -> list[str | None]:
    return [one.id for each in actions if isinstance(each, Publish) for one in each.events]


def outcome(actions: list[Action]) -> tuple[list[tuple[str, str]], list[str | None]]:
    """What is announced, and what is published."""
    return announced(actions), published(actions)


def missing(actions: list[Action]) -> list[int | None]:
    return [each.lifecycle_event.missing for each in actions if isinstance(each, StartEpoch)]


def following(one: Continuity, *events: Event) -> Continuity:
    """After a first connection that brought these events."""
    one.begin(START, is_used=False)
    one.answered(None)
    one.opened()
    one.take(events, 0)
    return one


def connect(one: Continuity, known: OverlapWindow, answered: str | None = None) -> tuple[str, list[Action]]:
    """Another connection, by a process that knows all its records."""
    sent, actions = one.begin(known, is_used=False)
    one.answered(answered)
    return sent, [*actions, *one.opened()]


# The first connection


def test_a_new_session_is_attached_when_the_server_answers() -> None:
    """After a reconnect, only the id after the start id proves that no event is missing."""
    one = continuity(has_ids=False, is_new=True)
    assert connect(one, START) == ("0", connect(continuity(has_ids=False, is_new=True), START)[1])
    assert connect(one, START)[1] == []
    assert outcome(one.take(numbered(1, 2), 0)) == ([("resumed", "nothing_before")], ["1", "2"])


@pytest.mark.parametrize(("start", "first"), [("0", "5"), ("", "1"), ("earliest", "a"), ("", "a")])
def test_a_reconnect_before_the_first_event_is_a_gap_unless_the_id_proves_otherwise(start: str, first: str) -> None:
    """Events between the two connections may be missing; their number is unknown."""
    one = continuity(start_after_id=start, has_ids=False, is_new=True)
    assert announced(connect(one, OverlapWindow.starting(start))[1]) == [("attached", "new_session")]
    connect(one, OverlapWindow.starting(start))
    assert outcome(one.take([event(first)], 0)) == ([("gap", "not_provable")], [first])


def test_a_gap_before_the_first_event_is_announced_once() -> None:
    """More reconnects before the next event make the same gap, not another one."""
    one = continuity(start_after_id="", has_ids=False)
    connect(one, OverlapWindow.starting(""))
    assert announced(one.take([event("a", name="")], 0)) == []
    assert announced(one.take([event("a")], 0)) == [("gap", "not_provable")]
    assert announced(one.take([event("b")], 0)) == []


def test_an_opaque_first_id_shows_that_a_numeric_start_was_not_understood() -> None:
    """The server may have sent live events only."""
    one = continuity(has_ids=False, is_new=True)
    connect(one, START)
    assert outcome(one.take([event("a"), event("b")], 0)) == ([("gap", "start_id_unknown")], ["a", "b"])


def test_a_server_that_counts_from_zero_is_asked_for_its_first_event() -> None:
    """Another session has shown an event with the id 0: a replay after 0 begins with 1, one after -1 with 0."""
    known = StartId(FirstId.IS_ZERO)
    one = continuity(has_ids=False, is_new=True, start_id=known)
    assert connect(one, START)[0] == "0"
    assert one.take(numbered(1, 2), 0) == [Reconnect("does the server have an event with the id 0")]
    assert connect(one, START)[0] == "-1"
    assert one.awaits_replay
    assert one.replay_timeout == ANSWER_TIMEOUT
    assert published(one.take(numbered(0, 2), 0)) == []
    assert known.first is FirstId.IS_REPLAYED
    assert connect(one, START)[0] == "-1"
    assert outcome(one.take(numbered(0, 2), 0)) == ([], ["0", "1", "2"])
    other = continuity(has_ids=False, is_new=True, start_id=known)
    assert connect(other, START)[0] == "-1"


@pytest.mark.parametrize("answer", ["refused", "nothing", "cut", "of a proxy"])
def test_a_check_without_an_answer_shows_nothing(answer: str) -> None:
    """Neither to the session that asked nor to later ones, which do not ask again: both have a gap.

    A cut or an error of a proxy may be a fault of the network alone, so the session asks three times then.
    """
    known = StartId()
    one = continuity(has_ids=False, start_id=known)
    connect(one, START)
    assert one.take(numbered(1, 2), 0) == [Reconnect("does the server have an event with the id 0")]
    for _ in range(TRIES if answer in {"cut", "of a proxy"} else 1):
        assert connect(one, START)[0] == "-1"
        assert known.first is FirstId.UNKNOWN
        if answer in {"nothing", "cut"}:
            assert one.closed(0, timed_out=answer == "nothing") == []
        assert one.check_refused(about_id=answer == "refused")
    assert connect(one, START)[0] == "0"
    assert outcome(one.take(numbered(1, 2), 0)) == ([("gap", "not_provable")], ["1", "2"])
    assert known.first is FirstId.HIDDEN
    other = continuity(has_ids=False, start_id=known)
    connect(other, START)
    assert outcome(other.take(numbered(1, 2), 0)) == ([("gap", "not_provable")], ["1", "2"])
    assert not one.check_refused(about_id=True)


def test_a_check_without_an_answer_does_not_replace_an_answer() -> None:
    """Two sessions can ask at the same time."""
    for answer in FirstId.IS_ONE, FirstId.IS_ZERO, FirstId.IS_REPLAYED:
        known = StartId()
        known.record(FirstId.HIDDEN)
        known.record(answer)
        known.record(FirstId.HIDDEN)
        assert known.first is answer


def test_a_session_that_asked_alone_may_lack_the_event_zero() -> None:
    """The replay after -1 begins with 1: the server counts from 1, or has lost exactly that event."""
    known = StartId()
    one = continuity(has_ids=False, start_id=known)
    connect(one, START)
    one.take(numbered(1, 2), 0)
    connect(one, START)
    one.take(numbered(1, 2), 0)
    assert known.first is FirstId.IS_ONE
    connect(one, START)
    assert outcome(one.take(numbered(1, 2), 0)) == ([("gap", "not_provable")], ["1", "2"])


def test_a_later_proof_that_events_begin_at_zero_is_announced_where_one_may_be_missing() -> None:
    """Sessions that were attached before it have a gap, once."""
    known = StartId()
    one = continuity(has_ids=False, is_new=True, start_id=known)
    connect(one, START)
    assert announced(one.take(numbered(1, 2), 0)) == []
    known.record(FirstId.IS_ZERO)
    assert announced(one.take(numbered(3, 3), 0)) == [("gap", "start_id_skipped")]
    assert announced(one.take(numbered(4, 4), 0)) == []


def test_a_request_with_a_position_is_no_check() -> None:
    """Its refusal is about the position."""
    one = continuity()
    connect(one, window(event("3"), after="2"))
    assert not one.check_refused(about_id=True)


def test_a_response_with_another_id_shows_that_the_start_was_not_known() -> None:
    """Mercure answers with the id that the replay follows; the gap is announced once."""
    one = continuity(has_ids=False, is_new=True)
    assert announced(connect(one, START, "urn:1")[1]) == [("attached", "new_session"), ("gap", "start_id_unknown")]
    assert announced(one.take([event("a")], 0)) == []


def test_after_a_crash_before_the_first_event_numbers_are_not_used_again() -> None:
    """Kafka may have records of other events under them, so a gap starts a new epoch."""
    one = continuity(start_after_id="", has_ids=False)
    assert one.begin(OverlapWindow.starting(""), is_used=True) == ("", [])
    actions = one.take(numbered(7, 8), 0)
    assert (announced(actions), epochs(actions)) == ([("gap", "not_provable")], [None])
    assert published(actions) == ["7", "8"]


# Servers without ids


def test_a_server_without_ids_is_refused_at_its_first_event() -> None:
    """Nothing is announced for it."""
    one = continuity(has_ids=False, is_new=True)
    one.begin(START, is_used=False)
    assert one.refuses([event(None, name="connected"), event(None)])
    assert one.take([event(None)], 0) == [NoIds()]


def test_a_mix_server_without_ids_is_refused_at_connected() -> None:
    """Before any run: a reader that leaves later would cancel one."""
    connected = event(None, name="connected")
    one = continuity(has_ids=False, readers_take_part=True)
    one.begin(START, is_used=False)
    assert one.refuses([connected])
    assert one.take([connected], 0) == [NoIds()]
    for other in (continuity(has_ids=True, readers_take_part=True), continuity(has_ids=False)):
        other.begin(START, is_used=False)
        assert not other.refuses([connected])
        assert other.take([connected], 0) == []


def test_where_no_ids_are_accepted_a_mix_server_without_ids_is_reported() -> None:
    """Its reader takes part in runs."""
    one = continuity(has_ids=False, accepts_no_ids=True, readers_take_part=True)
    one.begin(START, is_used=False)
    assert not one.refuses([event(None, name="connected")])
    assert one.take([event(None, name="connected")], 0) == [TakesPart()]


def test_events_that_are_not_published_need_no_id() -> None:
    """Their names are in ``events.skip``."""
    one = continuity(has_ids=False, ids_not_required=frozenset({"ping"}))
    one.begin(START, is_used=False)
    assert not one.refuses([event(None, name="ping")])
    assert announced(one.take([event(None, name="ping"), event("1")], 0))[-1:] != [("unresumable", "no_ids")]


@pytest.mark.parametrize(
    ("first", "expected"), [(event("1"), ("resumed", "nothing_before")), (event(None), ("unresumable", "no_ids"))]
)
def test_before_any_id_is_known_the_first_event_shows_whether_a_server_could_resume(
    first: Event, expected: tuple[str, str]
) -> None:
    """However idle the stream was before."""
    one = continuity(accepts_no_ids=True, has_ids=False)
    assert connect(one, START)[1] == []
    assert announced(one.take([event(None, name="connected"), event("", name="")], 0)) == []
    assert announced(one.take([first], 0)) == [expected]


def test_a_server_without_ids_is_unresumable_at_each_connection() -> None:
    """A loss that is announced for a connection that never opened counts for the next one."""
    one = continuity(accepts_no_ids=True, has_ids=False)
    known = extended(START, [_Entry(event(None), "0")])
    sent, actions = one.begin(known, is_used=True)
    assert (sent, announced(actions)) == ("0", [("unresumable", "no_ids")])
    for _ in range(2):
        assert one.begin(START, is_used=False) == ("0", [])
    assert one.opened() == []
    assert announced(one.take([event(None)], 0)) == []


class _Entry(NamedTuple):
    event: Event | None
    last_event_id: str


def test_a_server_that_lost_its_ids_may_give_none_any_more() -> None:
    """After it refused the last id."""
    one = continuity(accepts_no_ids=True)
    one.position_refused()
    _, actions = one.begin(window(event("5"), after="4"), is_used=True)
    assert announced(actions) == [("unresumable", "no_ids")]


def test_connected_is_an_ordinary_event_on_a_server_without_schema() -> None:
    """No event is about the connection there."""
    one = continuity(connection_events=frozenset(), has_ids=False, is_new=True)
    connect(one, START)
    assert published(one.take([event("1", name="connected"), event("2", name="heartbeat")], 0)) == ["1", "2"]


# Known events


def test_known_events_are_dropped_and_prove_the_replay() -> None:
    """The events after them are published."""
    one = continuity()
    assert one.begin(window(event("5"), after="4"), is_used=True)[0] == "4"
    assert one.opened() == []
    assert one.awaits_replay
    actions = one.take([event("", name="connected"), *numbered(5, 7)], 0)
    assert (announced(actions), published(actions)) == ([("resumed", "replay_proved")], ["6", "7"])
    assert not one.awaits_replay


def test_an_inclusive_replay_begins_with_the_event_of_the_requested_id() -> None:
    """It is known, and so are all events that share its id."""
    one = continuity()
    one.begin(window(event("5"), after="4"), is_used=True)
    assert one.take([event("4", "a"), event("4", "b")], 0) == []
    assert outcome(one.take(numbered(5, 6), 0)) == ([("resumed", "replay_proved")], ["6"])


def test_an_event_with_the_requested_id_is_published_if_the_replay_is_not_true() -> None:
    """It may be another event under the same id."""
    one = continuity()
    one.begin(window(event("2"), after="1"), is_used=True)
    actions = one.take([event("1", "other"), event("2", "other")], 0)
    assert (announced(actions), published(actions)) == ([("reset", "ids_started_over")], ["1", "2"])


def test_a_replay_of_all_events_is_recognised() -> None:
    """Servers that ignore the requested id send everything again; each event is compared."""
    one = following(continuity(has_ids=False), *numbered(1, 4))
    connect(one, window(event("4"), after="3"))
    assert outcome(one.take(numbered(1, 6), 0)) == ([("resumed", "replay_proved")], ["5", "6"])


def test_a_long_history_is_published_again_once() -> None:
    """Only the first 512 events are remembered, until a loss shows that more are needed."""
    history = numbered(1, FEW + 88)
    one = following(continuity(has_ids=False), *history)
    known = window(history[-1], after=str(FEW + 87))
    connect(one, known)
    actions = one.take(history, 0)
    assert announced(actions) == [("reset", "ids_started_over")]
    assert one.is_repeating
    connect(one, known)
    assert published(one.take(history, 0)) == []
    assert not one.is_repeating


def test_an_event_under_the_start_id_is_followed_by_the_next_id() -> None:
    """A server that counts from 0, and whose event 0 came live: an exclusive replay after 0 begins with 1."""
    for first, expected in (("1", ["1"]), ("0", ["1"])):
        one = following(continuity(has_ids=False), event("0"))
        connect(one, window(event("0"), after="0"))
        actions = one.take(numbered(int(first), 1), 0)
        assert [kind for kind, _ in announced(actions)] == ["resumed"]
        assert published(actions) == expected


def test_more_events_under_one_id_than_are_remembered_are_published_again() -> None:
    """The remembered ones prove the replay; nothing shows which of the others are known."""
    one = continuity()
    known = [event("5", str(number)) for number in range(MOST)]
    one.begin(window(*known, after="4"), is_used=True)
    assert outcome(one.take([*known, event("5", "more")], 0)) == ([("resumed", "too_many_under_one_id")], ["5"])


def test_the_next_id_is_proof_if_no_earlier_one_is_known() -> None:
    """A session that began with live events has only one id; an inclusive replay proves itself."""
    for first in (7, 8):
        one = continuity()
        assert one.begin(window(event("7"), after=""), is_used=True)[0] == "7"
        actions = one.take([event(None, name=""), *numbered(first, 8)], 0)
        assert [kind for kind, _ in announced(actions)] == ["resumed"]
        assert published(actions) == ["8"]


def test_the_next_id_is_no_proof_if_several_events_share_the_last_one() -> None:
    """More may share it, and cannot be requested."""
    one = continuity()
    one.begin(window(event("7", "a"), event("7", "b"), after=""), is_used=True)
    assert announced(one.take(numbered(8, 8), 0)) == [("gap", "not_provable")]


# A replay that fails


def test_after_a_failed_replay_everything_is_requested() -> None:
    """If that begins with known events, nothing is lost and nothing is repeated."""
    one = following(continuity(has_ids=False), *numbered(1, 3))
    known = window(event("3"), after="2")
    connect(one, known)
    assert one.closed(0, timed_out=True) == []
    assert connect(one, known)[0] == "0"
    assert one.state is State.FETCH
    assert outcome(one.take(numbered(1, 5), 0)) == ([("resumed", "replay_proved")], ["4", "5"])


def test_a_loss_is_announced_once_if_everything_brings_nothing() -> None:
    """Then the connection waits, however long."""
    one = continuity()
    known = window(event("5"), after="4")
    connect(one, known)
    assert one.closed(0, timed_out=True) == []
    connect(one, known)
    assert announced(one.closed(0, timed_out=True)) == [("gap", "not_replayed")]
    for _ in range(3):
        assert connect(one, known)[1] == []
        assert not one.awaits_replay
        assert one.closed(0, timed_out=False) == []
    assert published(one.take(numbered(5, 6), 0)) == ["6"]


def test_without_a_start_id_a_failed_replay_is_a_gap_at_once() -> None:
    """Nothing more can be requested. The known events stay known, if they come later."""
    one = continuity(start_after_id="")
    known = window(event("a"), after="b")
    connect(one, known)
    actions = one.closed(0, timed_out=True)
    assert (announced(actions), epochs(actions)) == ([("gap", "not_replayed")], [known])
    connect(one, known)
    assert not one.awaits_replay
    assert outcome(one.take([event("a"), event("c")], 0)) == ([("resumed", "replay_proved")], ["c"])


def test_events_of_a_new_history_follow_a_failed_replay() -> None:
    """They belong to the epoch that the gap has started."""
    one = continuity(start_after_id="")
    known = window(event("a"), after="b")
    connect(one, known)
    one.closed(0, timed_out=True)
    connect(one, known)
    assert outcome(one.take([event("x"), event("y")], 0)) == ([], ["x", "y"])


def test_streams_that_end_without_a_known_event_are_a_failed_replay() -> None:
    """A finite stream of a server that lost the id. Any number within the replay timeout may be cuts."""
    one = continuity(replay_timeout=10.0)
    known = window(event("5"), after="4")
    for at in [*range(7), 10]:
        assert connect(one, known)[0] == "4"
        assert one.closed(at, timed_out=False) == []
    assert connect(one, known)[0] == "0"


def test_cuts_around_an_outage_are_no_failed_replay() -> None:
    """Many in a row before it and after it; a known event ends the row."""
    one = continuity(replay_timeout=10.0)
    known = window(event("4"), event("5"), after="3")
    for at in (0, 1, 2, 600, 601, 602):
        assert connect(one, known)[0] == "3"
        assert one.closed(at, timed_out=False) == []
    connect(one, known)
    one.take([event("4")], 603)
    for at in (620, 640, 660):
        assert one.closed(at, timed_out=False) == []
        assert connect(one, known)[0] == "3"
    one.closed(680, timed_out=False)
    assert connect(one, known)[0] == "0"


def test_the_replay_timeout_is_doubled_up_to_two_minutes() -> None:
    """A slow server gets the time it needs; one that answers with another id did not know the requested one."""
    one = continuity(replay_timeout=50.0)
    known = window(event("5"), after="4")
    timeouts = []
    for _ in range(3):
        connect(one, known)
        timeouts.append(one.replay_timeout)
        one.closed(0, timed_out=True)
    assert timeouts == [50.0, 100.0, 120.0]
    connect(continuity(), known, "4")
    denied = continuity()
    connect(denied, known, "another")
    assert denied.replay_timeout == DENIED_TIMEOUT


def test_unknown_opaque_ids_are_fetched_from_the_start() -> None:
    """The event that came first waits, and comes again with those before it."""
    one = following(continuity(has_ids=False, start_after_id="earliest"), event("a"), event("b"))
    known = window(event("b"), after="a")
    connect(one, known)
    assert one.take([event("d")], 0) == [Reconnect("the replay does not begin with known events")]
    assert connect(one, known)[0] == "earliest"
    assert outcome(one.take([event(each) for each in "abcd"], 0)) == ([("resumed", "replay_proved")], ["c", "d"])


def test_an_event_that_the_server_does_not_have_any_more_is_not_lost() -> None:
    """It is published before what the server still has, or when nothing comes."""
    for events, reasons in (([event("x")], ["not_recognised", "fetched_again"]), ([], ["not_recognised"])):
        one = following(continuity(has_ids=False, start_after_id="earliest"), event("a"), event("b"))
        known = window(event("b"), after="a")
        connect(one, known)
        one.take([event("d")], 0)
        connect(one, known)
        actions = one.take(events, 0) if events else one.closed(0, timed_out=True)
        assert [reason for _, reason in announced(actions)] == reasons
        assert published(actions) == ["d", *(each.id for each in events)]


# Ids


def test_ids_that_went_back_have_started_over() -> None:
    """Everything is requested again in a new epoch."""
    one = continuity()
    one.begin(OverlapWindow("3", "7"), is_used=True)
    actions = one.take(numbered(2, 2), 0)
    assert announced(actions) == [("reset", "ids_started_over")]
    assert isinstance(actions[-1], Reconnect)


@pytest.mark.parametrize("start", ["0", ""])
def test_a_reset_promises_only_what_the_next_request_can_bring(start: str) -> None:
    """Without a start id the server may send nothing but later events."""
    one = continuity(start_after_id=start)
    connect(one, window(event("9"), after="8"))
    reset = next(each for each in one.take(numbered(5, 6), 0) if isinstance(each, StartEpoch))
    promised = "the events after the id '0' that the server still has" if start else "events from now on"
    assert reset.lifecycle_event.detail == f"the server's ids started over: the stream continues with {promised}"


def test_a_jump_is_requested_again_once_and_then_a_gap() -> None:
    """The second within ten minutes is a gap at once."""
    one = following(continuity(), *numbered(1, 5))
    assert [type(each) for each in one.take(numbered(8, 9), 0)] == [Reconnect]
    connect(one, window(event("5"), after="4"))
    actions = one.take([event("5"), *numbered(8, 9)], 1)
    assert announced(actions) == [("resumed", "replay_proved"), ("gap", "ids_jumped")]
    assert published(actions) == ["8", "9"]
    one.take(numbered(10, 30), 2)
    actions = one.take(numbered(33, 33), 3)
    assert (announced(actions), missing(actions)) == ([("gap", "ids_jumped")], [2])


def test_a_backfilled_jump_is_counted() -> None:
    """The reconnect brought the missing events."""
    one = following(continuity(), *numbered(1, 5))
    one.take(numbered(8, 9), 0)
    connect(one, window(event("5"), after="4"))
    actions = one.take(numbered(5, 9), 1)
    assert (published(actions), one.backfilled) == (["6", "7", "8", "9"], 1)


def test_events_that_no_reconnect_brings_are_published_between_two_gaps() -> None:
    """Held for a jump, on a server that never replays; each gap counts its missing events."""
    one = following(continuity(), *numbered(1, 5))
    one.take(numbered(8, 9), 0)
    connect(one, window(event("5"), after="4"))
    actions = one.take(numbered(12, 12), 1)
    assert announced(actions) == [("gap", "not_healed"), ("gap", "forgotten")]
    assert (missing(actions), published(actions)) == ([2, 2], ["8", "9", "12"])


def test_a_reset_announces_the_events_that_the_start_has_lost() -> None:
    """They make no jump and no other reconnect."""
    one = continuity()
    connect(one, window(event("9"), after="8"))
    one.take(numbered(9, 12), 0)
    connect(one, window(event("12"), after="11"))
    actions = one.take(numbered(4, 5), 1)
    assert [type(each) for each in actions] == [StartEpoch, Reconnect]
    assert announced(actions) == [("reset", "ids_started_over")]
    assert connect(one, START) == ("0", [])
    assert outcome(one.take(numbered(4, 6), 2)) == ([], ["4", "5", "6"])


# Events without ids between others


def test_an_event_without_an_id_between_others_is_uncertain_once() -> None:
    """A checkpoint says so before it is published."""
    one = continuity()
    connect(one, START)
    actions = one.take([event("1"), event(None, "a"), event("2"), event(None, "b")], 0)
    assert [type(each) for each in actions] == [Announce, Publish, UncertainIds, Publish]
    assert published(actions) == ["1", None, "2", None]


def test_events_without_ids_that_a_replay_may_leave_out_are_announced_once() -> None:
    """Reconnects of one process start no epoch."""
    one = following(continuity(), event("1"), event(None, "a"), event("2"))
    known = window(event("2"), after="1")._replace(certain=False)
    for expected in ([("gap", "events_without_ids")], [], []):
        connect(one, known)
        actions = one.take(numbered(2, 2), 0)
        assert (announced(actions), epochs(actions)) == (expected, [])


def test_a_replay_that_brings_events_without_ids_is_a_true_one() -> None:
    """The known events include one, and it came."""
    one = following(continuity(), event("1"), event("2"), event(None, "b"))
    connect(one, window(event("2"), event(None, "b"), after="1")._replace(certain=False))
    assert announced(one.take([event("2"), event(None, "b")], 0)) == [("resumed", "replay_proved")]


def test_after_a_crash_uncertain_ids_start_an_epoch() -> None:
    """The numbers in Kafka may belong to events that the replay leaves out."""
    one = continuity()
    one.begin(window(event("2"), after="1")._replace(certain=False), is_used=True)
    actions = one.take(numbered(2, 3), 0)
    assert (announced(actions), len(epochs(actions))) == ([("gap", "events_without_ids")], 1)


# Stalls


def test_a_reader_that_stalled_requests_again_at_most_every_half_minute() -> None:
    """The events that it had received are held; without ids they are published after a gap."""
    one = following(continuity(), *numbered(1, 3))
    assert [type(each) for each in one.stalled(numbered(4, 4), 6, 100)] == [Reconnect]
    connect(one, window(event("3"), after="2"))
    assert published(one.take(numbered(3, 5), 101)) == ["4", "5"]
    assert published(one.stalled(numbered(6, 6), 6, 110)) == ["6"]
    bare = following(continuity(accepts_no_ids=True, has_ids=False), event(None))
    assert outcome(bare.stalled([event(None)], 6, 0)) == ([("gap", "stood_still")], [None])


def test_a_stall_before_the_replay_has_proved_itself_changes_nothing() -> None:
    """The connection still has to prove itself."""
    one = continuity()
    one.begin(window(event("5"), after="4"), is_used=True)
    assert outcome(one.stalled(numbered(5, 6), 6, 100)) == ([("resumed", "replay_proved")], ["6"])


def test_held_events_are_published_if_the_next_connection_continues_after_them() -> None:
    """Nothing is missing."""
    one = continuity(start_after_id="")
    connect(one, OverlapWindow.starting(""))
    one.take(numbered(7, 7), 0)
    assert [type(each) for each in one.stalled(numbered(8, 9), 6, 100)] == [Reconnect]
    connect(one, window(event("7"), after=""))
    assert published(one.take(numbered(10, 10), 101)) == ["8", "9", "10"]


# Without overlap, and ids that cannot be sent


def test_without_overlap_the_server_is_believed() -> None:
    """It resumes after the last id, which an id-only block may have moved."""
    one = continuity(overlap=False)
    assert one.begin(window(event("5"), after="4"), is_used=True, cursor="7")[0] == "7"
    assert announced(one.opened()) == [("resumed", "believed")]
    assert published(one.take(numbered(8, 9), 0)) == ["8", "9"]
    assert one.begin(window(event("5"), after="4"), is_used=True)[0] == "5"
    assert one.begin(window(event("5"), after="4"), is_used=True, cursor=" x")[0] == "5"


def test_without_overlap_an_inclusive_replay_gives_no_event_two_numbers() -> None:
    """The event of the requested id is known; another one with the same id is not."""
    one = continuity(overlap=False)
    connect(one, window(event("5"), after="4"))
    assert published(one.take([event("5"), event("5", "other"), event("6")], 0)) == ["5", "6"]


def test_without_overlap_missing_ids_are_still_seen() -> None:
    """Ids that rise by one show a gap, and ids that went back a reset."""
    for first, expected in (("9", ("gap", "forgotten")), ("2", ("reset", "ids_started_over"))):
        one = continuity(overlap=False)
        connect(one, window(event("5"), after="4"))
        assert announced(one.take([event(first)], 0)) == [expected]


def test_an_id_that_cannot_be_sent_is_proved_by_the_one_before_it() -> None:
    """Also without overlap; if there is none, everything is requested after a gap."""
    one = continuity(overlap=False)
    assert one.begin(window(event(" x"), after="4"), is_used=True) == ("4", [])
    assert one.awaits_replay
    sent, actions = continuity().begin(window(event(" x"), after=""), is_used=True)
    assert (sent, announced(actions)) == ("0", [("gap", "unsendable_id")])
