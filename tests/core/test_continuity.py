"""Single decisions of continuity, each by the actions it returns; the laws are in ``test_continuity_model``."""

from __future__ import annotations

from typing import Any

from bridge.core.stream.continuity import (
    Action,
    Announce,
    Continuity,
    NoIds,
    Publish,
    Reconnect,
    StartEpoch,
    UncertainIds,
)
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import MOST, OverlapWindow, digest, extended


def event(own_id: str | None, data: str = "", name: str = "agent") -> Event:
    return Event(name, data or str(own_id), own_id, own_id or "", 0)


def numbered(first: int, last: int) -> list[Event]:
    return [event(str(at)) for at in range(first, last + 1)]


def continuity(**more: Any) -> Continuity:
    """Of a session that is known, on a server with ids."""
    chosen: dict[str, Any] = {"overlap": True, "accepts_no_ids": False, "has_ids": True, "is_new": False}
    return Continuity("0", **(chosen | more))


def window(*events: Event, after: str) -> OverlapWindow:
    return OverlapWindow(after, events[-1].last_event_id, b"".join(map(digest, events)))


def told(actions: list[Action]) -> list[tuple[str, str]]:
    """What is said, by kind and reason."""
    return [
        (each.lifecycle_event.kind, each.lifecycle_event.reason)
        for each in actions
        if isinstance(each, Announce | StartEpoch)
    ]


def published(actions: list[Action]) -> list[str | None]:
    return [one.id for each in actions if isinstance(each, Publish) for one in each.events]


def test_a_new_session_is_attached_when_the_server_answers() -> None:
    """Once: the next connection goes on."""
    one = continuity(has_ids=False, is_new=True)
    assert one.begin(OverlapWindow.starting("0"), is_used=False) == ("0", [])
    assert told(one.opened()) == [("attached", "new_session")]
    one.begin(OverlapWindow.starting("0"), is_used=False)
    assert told(one.opened()) == [("resumed", "nothing_before")]


def test_before_any_id_is_known_the_first_event_tells_whether_a_server_could_resume() -> None:
    """Where no ids are accepted: a server that gives none has not gone on where it stopped, however idle it was."""
    for first, expected in ((event("1"), ("resumed", "nothing_before")), (event(None), ("unresumable", "no_ids"))):
        one = continuity(accepts_no_ids=True, has_ids=False)
        one.begin(OverlapWindow.starting("0"), is_used=False)
        assert told(one.opened()) == []
        assert told(one.take([event(None, name="connected"), event("", name="")], 0)) == []
        assert told(one.take([first], 0)) == [expected]


def test_what_was_said_for_a_connection_that_never_came_holds_for_the_next_one() -> None:
    """Told when it was tried: the one that comes in the end must not say that nothing happened."""
    one = continuity(accepts_no_ids=True, has_ids=False)
    _, actions = one.begin(OverlapWindow("0", "0", digest(event(None))), is_used=True)
    assert told(actions) == [("unresumable", "no_ids")]
    for _ in range(2):
        assert one.begin(OverlapWindow.starting("0"), is_used=False) == ("0", [])
    assert told(one.opened()) == []
    assert told(one.take([event(None)], 0)) == []


def test_known_events_are_dropped_and_prove_the_replay() -> None:
    """From before the last id; what is behind them is handed over."""
    one = continuity()
    assert one.begin(window(event("5"), after="4"), is_used=True)[0] == "4"
    assert one.opened() == []
    assert one.awaits_replay
    actions = one.take([event("", name="connected"), *numbered(5, 7)], 0)
    assert (told(actions), published(actions)) == ([("resumed", "replay_proved")], ["6", "7"])
    assert not one.awaits_replay


def test_more_events_under_one_id_than_are_remembered_come_again() -> None:
    """Those that are remembered prove the replay; behind them nothing tells which are known."""
    one = continuity()
    known = [event("5", str(number)) for number in range(MOST)]
    one.begin(window(*known, after="4"), is_used=True)
    actions = one.take([*known, event("5", "more")], 0)
    assert told(actions) == [("resumed", "too_many_under_one_id")]
    assert published(actions) == ["5"]


def test_without_overlap_the_server_is_believed() -> None:
    """Resumed after the last id, which an id without an event may have moved."""
    one = continuity(overlap=False)
    assert one.begin(window(event("5"), after="4"), is_used=True, cursor="7")[0] == "7"
    assert told(one.opened()) == [("resumed", "believed")]
    assert published(one.take(numbered(8, 9), 0)) == ["8", "9"]


def test_without_overlap_an_id_that_cannot_be_sent_means_the_one_before_it() -> None:
    """In a new epoch, since events come again."""
    one = continuity(overlap=False)
    sent, actions = one.begin(window(event(" x"), after="4"), is_used=True)
    assert (sent, told(actions)) == ("4", [("resumed", "unsendable_id")])
    assert one.opened() == []


def test_where_no_earlier_id_is_known_the_next_one_is_proof() -> None:
    """A session that began with what came live has only one id."""
    one = continuity()
    assert one.begin(window(event("7"), after=""), is_used=True)[0] == "7"
    assert told(one.take([event(None, name=""), *numbered(8, 8)], 0)) == [("resumed", "next_id")]


def test_ids_that_went_back_where_nothing_was_known_have_started_over() -> None:
    """All from the start, in a new epoch."""
    one = continuity()
    one.begin(OverlapWindow("3", "7"), is_used=True)
    actions = one.take(numbered(2, 2), 0)
    assert told(actions) == [("reset", "ids_started_over")]
    assert isinstance(actions[-1], Reconnect)


def test_a_replay_that_does_not_come_is_given_up() -> None:
    """All is fetched anew, from the start; from where the stream stands when the start is only what comes live."""
    one = continuity()
    one.begin(window(event("5"), after="4"), is_used=True)
    (anew,) = one.lapse()
    assert isinstance(anew, StartEpoch)
    assert (told([anew]), anew.overlap_window) == ([("gap", "not_replayed")], OverlapWindow.starting("0"))
    live = Continuity("", overlap=True, accepts_no_ids=False, has_ids=True, is_new=False)
    live.begin(window(event("5"), after="4"), is_used=True)
    (anew,) = live.lapse()
    assert isinstance(anew, StartEpoch)
    assert anew.overlap_window == OverlapWindow.starting("5")


def test_a_server_without_ids_is_refused_at_its_first_event() -> None:
    """What was before it is handed over."""
    one = continuity(has_ids=False)
    one.begin(OverlapWindow.starting("0"), is_used=False)
    assert one.take([event(None)], 0) == [NoIds()]


def test_an_event_without_an_id_between_others_is_doubted_once() -> None:
    """Before it is handed over; a reconnect then numbers anew."""
    one = continuity()
    one.begin(OverlapWindow.starting("0"), is_used=False)
    actions = one.take([event("1"), event(None, "a"), event("2"), event(None, "b")], 0)
    assert [type(each) for each in actions] == [Publish, UncertainIds, Publish]
    assert published(actions) == ["1", None, "2", None]
    one.begin(window(event("2"), event(None, "b"), after="1")._replace(certain=False), is_used=True)
    assert told(one.take([event("2"), event(None, "b")], 0)) == [("resumed", "events_without_ids")]


def test_a_jump_is_healed_once_and_then_a_gap() -> None:
    """The second within ten minutes is a gap at once."""
    one = continuity()
    one.begin(OverlapWindow.starting("0"), is_used=False)
    one.take(numbered(1, 5), 0)
    assert [type(each) for each in one.take(numbered(8, 9), 0)] == [Reconnect]
    one.begin(window(event("5"), after="4"), is_used=True)
    actions = one.take([event("5"), *numbered(8, 9)], 1)
    assert told(actions) == [("resumed", "replay_proved"), ("gap", "ids_jumped")]
    assert published(actions) == ["8", "9"]
    one.take(numbered(10, 30), 2)
    actions = one.take(numbered(33, 33), 3)
    assert told(actions) == [("gap", "ids_jumped")]
    assert [each.lifecycle_event.missing for each in actions if isinstance(each, StartEpoch)] == [2]


def test_a_healed_jump_is_counted() -> None:
    """The reconnect brought what was missing."""
    one = continuity()
    one.begin(OverlapWindow.starting("0"), is_used=False)
    one.take(numbered(1, 5), 0)
    one.take(numbered(8, 9), 0)
    one.begin(window(event("5"), after="4"), is_used=True)
    actions = one.take(numbered(5, 9), 1)
    assert (published(actions), one.healed) == (["6", "7", "8", "9"], 1)


def test_a_reader_that_stood_still_asks_again_at_most_every_half_minute() -> None:
    """What it held is not handed over; where there are no ids it is, and told of."""
    one = continuity()
    one.begin(OverlapWindow.starting("0"), is_used=False)
    one.take(numbered(1, 3), 0)
    assert [type(each) for each in one.stood_still(numbered(4, 4), 6, 100)] == [Reconnect]
    one.begin(window(event("3"), after="2"), is_used=True)
    assert published(one.take(numbered(3, 5), 101)) == ["4", "5"]
    assert published(one.stood_still(numbered(6, 6), 6, 110)) == ["6"]
    bare = continuity(accepts_no_ids=True, has_ids=False)
    bare.begin(OverlapWindow.starting("0"), is_used=False)
    actions = bare.stood_still([event(None)], 6, 0)
    assert (told(actions), published(actions)) == ([("gap", "stood_still")], [None])


def test_a_server_without_ids_is_unresumable_at_each_connection() -> None:
    """Where that is accepted."""
    one = continuity(accepts_no_ids=True, has_ids=False)
    known = extended(OverlapWindow.starting("0"), [_Passed(event(None))])
    sent, actions = one.begin(known, is_used=True)
    assert (sent, told(actions)) == ("0", [("unresumable", "no_ids")])
    assert one.opened() == []


class _Passed:
    """An event that is in Kafka."""

    def __init__(self, one: Event) -> None:
        self.event: Event | None = one
        self.last_event_id = "0"


def test_where_only_what_comes_live_is_read_a_crash_at_the_beginning_may_have_lost_events() -> None:
    """No header, nothing remembered: what came meanwhile is gone, and that is said."""
    live = Continuity("", overlap=True, accepts_no_ids=False, has_ids=False, is_new=False)
    assert live.begin(OverlapWindow.starting(""), is_used=True) == ("", [])
    actions = live.take(numbered(7, 8), 0)
    assert (told(actions), published(actions)) == ([("gap", "not_provable")], ["7", "8"])


def test_the_next_id_is_no_proof_where_several_events_share_the_last_one() -> None:
    """More may stand under it, and cannot be asked for where no earlier id is known."""
    one = continuity()
    one.begin(window(event("7", "a"), event("7", "b"), after=""), is_used=True)
    assert told(one.take(numbered(8, 8), 0)) == [("gap", "not_provable")]


def test_what_the_start_has_lost_is_told_by_the_reset_alone() -> None:
    """No jump, and no other reconnect, where the ids that started over no longer begin with the first."""
    one = continuity()
    one.begin(window(event("9"), after="8"), is_used=True)
    one.take(numbered(9, 12), 0)
    one.begin(window(event("12"), after="11"), is_used=True)
    actions = one.take(numbered(4, 5), 1)
    assert [type(each) for each in actions] == [StartEpoch, Reconnect]
    assert told(actions) == [("reset", "ids_started_over")]
    assert one.begin(OverlapWindow.starting("0"), is_used=False) == ("0", [])
    actions = one.take(numbered(4, 6), 2)
    assert (told(actions), published(actions)) == ([], ["4", "5", "6"])


def test_events_that_no_reconnect_brings_are_handed_over_between_two_gaps() -> None:
    """What was held for a heal, on a server that never replays; each gap counts what is missing there."""
    one = continuity()
    one.begin(OverlapWindow.starting("0"), is_used=False)
    one.take(numbered(1, 5), 0)
    one.take(numbered(8, 9), 0)
    one.begin(window(event("5"), after="4"), is_used=True)
    actions = one.take(numbered(12, 12), 1)
    assert told(actions) == [("gap", "not_healed"), ("gap", "forgotten")]
    assert [each.lifecycle_event.missing for each in actions if isinstance(each, StartEpoch)] == [2, 2]
    assert published(actions) == ["8", "9", "12"]


def test_how_much_a_gap_lacks_is_not_said_where_the_next_connection_begins_before_it() -> None:
    """It may bring all of it."""
    one = continuity()
    one.begin(OverlapWindow.starting("0"), is_used=False)
    one.take(numbered(1, 5), 0)
    one.take(numbered(8, 9), 0)
    one.begin(window(event("5"), after="4"), is_used=True)
    actions = one.take(numbered(1, 3), 1)
    assert told(actions) == [("gap", "not_healed"), ("reset", "ids_started_over")]
    assert [each.lifecycle_event.missing for each in actions if isinstance(each, StartEpoch)] == [None, None]


def test_a_reader_that_stood_still_before_the_replay_proved_itself_has_asked_anew_already() -> None:
    """The connection goes on to prove itself; so it does with events held from an earlier one."""
    one = continuity()
    one.begin(window(event("5"), after="4"), is_used=True)
    actions = one.stood_still(numbered(5, 6), 6, 100)
    assert (told(actions), published(actions)) == ([("resumed", "replay_proved")], ["6"])


def test_a_server_that_forgot_the_ids_is_looked_at_again() -> None:
    """What was known of its ids no longer counts."""
    one = continuity(accepts_no_ids=True)
    one.forget_ids()
    _, actions = one.begin(window(event("5"), after="4"), is_used=True)
    assert told(actions) == [("unresumable", "no_ids")]


def test_a_server_that_is_known_to_give_ids_is_not_believed_without_a_proof() -> None:
    """Where no ids are accepted: its first event without one, after a crash at the beginning, is told of."""
    one = continuity(accepts_no_ids=True, has_ids=False)
    one.begin(OverlapWindow.starting("0"), is_used=True)
    assert told(one.take([event(None)], 0)) == [("unresumable", "no_ids")]


def test_without_an_id_before_the_last_one_overlap_goes_on_after_the_last_that_can_be_sent() -> None:
    """An id that HTTP cannot carry, and none before it: from the start, in a new epoch."""
    one = continuity()
    sent, actions = one.begin(window(event(" x"), after=""), is_used=True)
    assert (sent, told(actions)) == ("", [("resumed", "unsendable_id")])


def test_events_that_were_kept_are_handed_over_before_one_that_proves_nothing() -> None:
    """Where no earlier id is known, the next connection begins with what follows them: nothing is missing."""
    one = Continuity("", overlap=True, accepts_no_ids=False, has_ids=True, is_new=False)
    one.begin(OverlapWindow.starting(""), is_used=False)
    one.take(numbered(7, 7), 0)
    assert [type(each) for each in one.stood_still(numbered(8, 9), 6, 100)] == [Reconnect]
    one.begin(window(event("7"), after=""), is_used=True)
    assert published(one.take(numbered(10, 10), 101)) == ["8", "9", "10"]


def test_a_server_that_gave_no_id_before_a_crash_is_refused_at_its_first_event_without_one() -> None:
    """Also after a crash, where nothing else is known."""
    one = continuity(has_ids=False)
    one.begin(OverlapWindow.starting("0"), is_used=True)
    assert one.take([event(None)], 0) == [NoIds()]


def test_without_overlap_the_last_event_says_where_to_resume_unless_an_id_alone_moved_it() -> None:
    """The outbox need not say so."""
    one = continuity(overlap=False)
    assert one.begin(window(event("5"), after="4"), is_used=True)[0] == "5"
    assert one.begin(window(event("5"), after="4"), is_used=True, cursor=" x")[0] == "5"


def test_a_proof_says_nothing_more_where_a_new_epoch_was_told_of_before() -> None:
    """Two words for one connection would contradict each other."""
    one = continuity()
    assert told(one.begin(window(event(" x"), after=""), is_used=True)[1]) == [("resumed", "unsendable_id")]
    one.begin(window(event("5"), after="4"), is_used=True)
    actions = one.take(numbered(5, 6), 0)
    assert (told(actions), published(actions)) == ([], ["6"])
