"""How long readers wait for larger pieces, by ticks of a main loop that come late."""

from __future__ import annotations

import pytest

from bridge.daemon.read_linger import ReadLinger

READERS = 3000
TICK = 0.5


def ticked(*late: float, readers: int = READERS) -> tuple[ReadLinger, float]:
    """One whose ticks came so many seconds late, and the time of the last one."""
    linger, now = ReadLinger(), 100.0
    linger.ticked(now, now + TICK, readers)
    for seconds in late:
        now += TICK + seconds
        linger.ticked(now, now + TICK, readers)
    return linger, now


def test_readers_do_not_wait_while_ticks_come_in_time() -> None:
    """A busy machine delays each thread a little."""
    linger, now = ticked(0.0, 0.09, 0.05)
    assert linger.seconds(now) == 0.0
    assert linger.seconds(now + TICK) == 0.0


def test_readers_wait_longer_while_ticks_are_late() -> None:
    """Each late tick adds four times its delay: the pause grows until there is enough time."""
    linger, now = ticked(0.5, 1.0)
    assert linger.seconds(now) == pytest.approx(6.0)


def test_a_tick_that_has_not_come_counts() -> None:
    """Behind thousands of readers the main loop itself waits for seconds."""
    linger, now = ticked(0.0)
    assert linger.seconds(now + TICK + 2.0) == pytest.approx(8.0)


def test_the_pause_shrinks_while_ticks_come_in_time() -> None:
    """Half of it is left after 7 s: fast enough for readers, slow enough not to begin at zero again and again."""
    linger, now = ticked(2.0, *[0.0] * 14)
    assert linger.seconds(now) == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize(("readers", "longest"), [(1, 0.003), (100, 0.3), (3000, 9.0), (10_000, 10.0)])
def test_few_readers_wait_for_a_short_time_only(readers: int, longest: float) -> None:
    """They are not what takes the time; and no connection is without a reader for long."""
    linger, now = ticked(60.0, readers=readers)
    assert linger.seconds(now) == pytest.approx(longest)


def test_before_the_first_tick_nobody_waits() -> None:
    """The main loop has not begun."""
    assert ReadLinger().seconds(1e9) == 0.0
