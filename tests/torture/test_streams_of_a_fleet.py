"""The evaluation of the server's list of streams."""

from __future__ import annotations

from math import inf

from tests.torture.streams import Stream, longest_unread, moved_after, open_at, together

KILLED_AT_10 = [
    Stream(1, "s", "a.1", 0.0, 10.0),
    Stream(2, "t", "a.1", 0.0, 10.1),
    Stream(3, "u", "b.1", 0.0, inf),
    Stream(4, "s", "b.1", 16.0, inf),
]
TAKEN_OVER = [*KILLED_AT_10, Stream(5, "t", "c.1", 17.5, inf)]


def test_who_reads_what_at_a_moment():
    assert open_at(TAKEN_OVER, 9.0) == {"s": {"a.1"}, "t": {"a.1"}, "u": {"b.1"}}
    assert open_at(TAKEN_OVER, 12.0) == {"u": {"b.1"}}


def test_sessions_have_moved_when_the_last_of_them_is_read_again():
    assert moved_after(KILLED_AT_10, "a.1", 9.9) is None
    assert moved_after(TAKEN_OVER, "a.1", 10.0) == 7.5
    assert moved_after(TAKEN_OVER, "nobody", 10.0) == 0.0


def test_the_longest_time_without_a_reader_is_of_one_session():
    assert longest_unread(TAKEN_OVER, 5.0, 20.0) == 17.5 - 10.1
    assert longest_unread(KILLED_AT_10, 5.0, 30.0) == 30.0 - 10.1
    assert longest_unread(TAKEN_OVER, 18.0, 20.0) == 0.0


def test_two_readers_at_once_are_found_unless_one_stood_still():
    zombie = [Stream(1, "s", "a.1", 0.0, 20.0), Stream(2, "s", "b.1", 12.0, inf)]
    assert [each.seconds for each in together(zombie, {}, 30.0)] == [8.0]
    assert together(zombie, {"a.1": [(5.0, 21.0)]}, 30.0) == []
    assert [each.seconds for each in together(zombie, {"a.1": [(5.0, 18.5)]}, 30.0)] == [1.5]
    assert together(TAKEN_OVER, {}, 30.0) == []
