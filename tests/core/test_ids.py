"""Ids that rise by one tell of a loss; all others tell nothing, and are left in peace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.stream.event import Event
from bridge.core.stream.ids import RisingIds, Step, number


def events(*ids: str | None) -> list[Event]:
    return [Event("agent", "", each, each or "", 0) for each in ids]


def proven(last: int = 5) -> RisingIds:
    """Ids that have shown that they rise by one, and stand at ``last``."""
    ids = RisingIds()
    ids.begin(str(last - 2))
    for each in (last - 1, last):
        ids.judge(str(each))
    return ids


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("7", 7), ("007", 7), ("9" * 18, 10**18 - 1),
        (None, None), ("", None), ("9" * 19, None), ("-1", None), ("+1", None), (" 1", None), ("1_0", None),
        ("\u0661", None), ("\u00b2", None), ("1a", None),
    ],
)  # fmt: skip
def test_an_id_is_a_number_only_in_plain_digits(text: str | None, value: int | None) -> None:
    """What Python takes for an integer beside them is opaque text to a server."""
    assert number(text) == value


def test_the_first_ids_tell_nothing() -> None:
    """One step in a row is not enough, two are."""
    ids = RisingIds()
    assert [ids.judge(each) for each in ("1", "2")] == [Step.NEXT] * 2
    assert not ids.tell
    assert ids.judge("9") is Step.NEXT
    assert [ids.judge(each) for each in ("10", "11")] == [Step.NEXT] * 2
    assert ids.tell
    assert ids.judge("13") is Step.JUMP


def test_a_jump_or_a_step_back_that_tells_is_not_taken() -> None:
    """The caller decides, and says where the stream goes on."""
    ids = proven(5)
    assert ids.judge("8") is Step.JUMP
    assert ids.judge("4") is Step.BACK
    assert ids.last == 5
    assert ids.judge("6") is Step.NEXT


def test_the_same_id_again_is_in_its_place() -> None:
    """Servers give one id to several events; that neither proves nor disproves that ids rise by one."""
    ids = proven(5)
    assert ids.judge("5") is Step.NEXT
    assert ids.tell


def test_ids_that_are_no_numbers_tell_nothing() -> None:
    """Also between numbers."""
    ids = proven(5)
    assert ids.judge("abc") is Step.NEXT
    assert ids.last is None
    assert ids.judge("99") is Step.NEXT
    assert ids.last == 99


def test_two_ids_in_a_row_of_a_position_count_and_do_not_yet_tell() -> None:
    """They are one step: enough to count what a server has forgotten, too few to believe a jump."""
    ids = RisingIds()
    ids.begin("5", "4")
    assert (ids.last, ids.count, ids.tell) == (5, True, False)
    for last, before in (("5", "3"), ("5", ""), ("x", "4"), ("5", "x"), ("5", "5")):
        ids = RisingIds()
        ids.begin(last, before)
        assert not ids.count
    ids = proven()
    ids.begin("9", "3")
    assert (ids.last, ids.tell) == (9, True)


def test_shared_ids_never_tell() -> None:
    """Events about the connection take some, so others are missing in every replay."""
    ids = proven(5)
    ids.share()
    assert not ids.tell
    assert ids.judge("8") is Step.NEXT


def test_each_jump_that_was_no_loss_is_followed_by_more_distrust() -> None:
    """Four times as many steps are needed each time."""
    ids = proven(0)
    needed = 2
    for _ in range(3):
        ids.distrust()
        needed *= 4
        steps = 0
        while not ids.tell:
            assert ids.last is not None
            ids.judge(str(ids.last + 1))
            steps += 1
        assert steps == needed


def test_a_batch_that_follows_is_taken_as_a_whole_or_not_at_all() -> None:
    """The quick way for ids that rise by one; anything else is left to be judged one at a time."""
    ids = RisingIds()
    assert not ids.follow(events("1"))
    ids.begin("0")
    assert ids.follow(events("1"))
    assert ids.follow(events("2", "3", "4"))
    assert (ids.last, ids.tell) == (4, True)
    for refused in (("6",), ("5", "7"), ("5", "5"), ("5", None), (None,), ("05",), ("5", "x"), ("4",)):
        assert not ids.follow(events(*refused))
        assert ids.last == 4


@given(ids=st.lists(st.sampled_from(["1", "2", "3", "4", "5", "6", "9", "x"]), max_size=30), portion=st.integers(1, 5))
def test_the_quick_way_says_what_the_slow_one_says(ids: list[str], portion: int) -> None:
    """Ids taken in portions or one at a time leave the same behind."""
    quick, slow = RisingIds(), RisingIds()
    for at in range(0, len(ids), portion):
        part = ids[at : at + portion]
        if not quick.follow(events(*part)):
            for each in part:
                quick.judge(each)
        for each in part:
            slow.judge(each)
        assert (quick.last, quick.tell, quick._steps) == (slow.last, slow.tell, slow._steps)
