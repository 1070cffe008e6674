"""Jumps in ids that rise by one prove a loss; all other ids prove nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.stream.event import Event
from bridge.core.stream.ids import RisingIds, Step, number


def events(*ids: str | None) -> list[Event]:
    return [Event("agent", "", each, each or "", 0) for each in ids]


def proven(last: int = 5) -> RisingIds:
    """Ids that have proved that they rise by one; the newest is ``last``."""
    ids = RisingIds()
    ids.begin(str(last - 2))
    for each in (last - 1, last):
        ids.classify(str(each))
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
    """Python accepts more texts as integers; to a server they are opaque."""
    assert number(text) == value


def test_the_first_ids_prove_nothing() -> None:
    """One step in a row is not enough, two are."""
    ids = RisingIds()
    assert [ids.classify(each) for each in ("1", "2")] == [Step.NEXT] * 2
    assert not ids.prove_jumps
    assert ids.classify("9") is Step.NEXT
    assert [ids.classify(each) for each in ("10", "11")] == [Step.NEXT] * 2
    assert ids.prove_jumps
    assert ids.classify("13") is Step.JUMP


def test_a_proved_jump_or_step_back_is_not_accepted() -> None:
    """The caller decides where the stream continues."""
    ids = proven(5)
    assert ids.classify("8") is Step.JUMP
    assert ids.classify("4") is Step.BACK
    assert ids.last == 5
    assert ids.classify("6") is Step.NEXT


def test_the_same_id_again_is_in_sequence() -> None:
    """Servers use one id for several events; that neither proves nor disproves that ids rise by one."""
    ids = proven(5)
    assert ids.classify("5") is Step.NEXT
    assert ids.prove_jumps


def test_ids_that_are_not_numbers_prove_nothing() -> None:
    """Also between numbers."""
    ids = proven(5)
    assert ids.classify("abc") is Step.NEXT
    assert ids.last is None
    assert ids.classify("99") is Step.NEXT
    assert ids.last == 99


def test_two_consecutive_ids_of_a_position_can_be_counted_and_do_not_prove_jumps() -> None:
    """They are one step: enough to count missing ids, too few to believe a jump."""
    ids = RisingIds()
    ids.begin("5", "4")
    assert (ids.last, ids.are_countable, ids.prove_jumps) == (5, True, False)
    for last, before in (("5", "3"), ("5", ""), ("x", "4"), ("5", "x"), ("5", "5")):
        ids = RisingIds()
        ids.begin(last, before)
        assert not ids.are_countable
    ids = proven()
    ids.begin("9", "3")
    assert (ids.last, ids.prove_jumps) == (9, True)


def test_shared_ids_never_prove_jumps() -> None:
    """Events about the connection use some ids, so every replay has jumps."""
    ids = proven(5)
    ids.mark_shared()
    assert not ids.prove_jumps
    assert ids.classify("8") is Step.NEXT


def test_each_jump_that_was_not_a_loss_raises_the_number_of_steps_needed() -> None:
    """Four times as many steps are needed each time."""
    ids = proven(0)
    needed = 2
    for _ in range(3):
        ids.distrust()
        needed *= 4
        steps = 0
        while not ids.prove_jumps:
            assert ids.last is not None
            ids.classify(str(ids.last + 1))
            steps += 1
        assert steps == needed


def test_a_batch_in_sequence_is_accepted_whole_or_not_at_all() -> None:
    """The fast path for ids that rise by one; all other ids are classified one at a time."""
    ids = RisingIds()
    assert not ids.advance(events("1"))
    ids.begin("0")
    assert ids.advance(events("1"))
    assert ids.advance(events("2", "3", "4"))
    assert (ids.last, ids.prove_jumps) == (4, True)
    for refused in (("6",), ("5", "7"), ("5", "5"), ("5", None), (None,), ("05",), ("5", "x"), ("4",)):
        assert not ids.advance(events(*refused))
        assert ids.last == 4


@given(ids=st.lists(st.sampled_from(["1", "2", "3", "4", "5", "6", "9", "x"]), max_size=30), portion=st.integers(1, 5))
def test_the_fast_path_and_the_slow_path_agree(ids: list[str], portion: int) -> None:
    """Ids in portions or one at a time lead to the same state."""
    fast, slow = RisingIds(), RisingIds()
    for at in range(0, len(ids), portion):
        part = ids[at : at + portion]
        if not fast.advance(events(*part)):
            for each in part:
                fast.classify(each)
        for each in part:
            slow.classify(each)
        assert (fast.last, fast.prove_jumps, fast._steps) == (slow.last, slow.prove_jumps, slow._steps)
