"""When a worker is started again, and when the parent ends."""

from __future__ import annotations

import signal

import pytest

from bridge.errors import EXIT_BUG, EXIT_FATAL, EXIT_OK, EXIT_SETTINGS, EXIT_UNREACHABLE, EXIT_USAGE
from bridge.workers.process import MOST_SHORT_LIVES, SHORT_LIFE, GiveUp, Lives, StartAgain


@pytest.mark.parametrize("code", [-signal.SIGKILL, EXIT_BUG, EXIT_FATAL, EXIT_OK])
def test_a_worker_that_ended_is_started_again_later_and_later(code: int) -> None:
    """Until its short lives are too many: a crash loop ends with 75."""
    lives, delays = Lives(), []
    for _ in range(MOST_SHORT_LIVES - 1):
        decision, lives = lives.ended(code, 1.0)
        assert isinstance(decision, StartAgain)
        delays.append(decision.seconds)
    assert delays == sorted(delays)
    assert delays[0] < delays[-1]
    assert lives.ended(code, 1.0)[0] == GiveUp(EXIT_FATAL)


def test_a_long_life_ends_the_series() -> None:
    """A worker that is killed once a day is no crash loop."""
    lives = Lives()
    for _ in range(3 * MOST_SHORT_LIVES):
        decision, lives = lives.ended(-signal.SIGKILL, 1.0)
        assert isinstance(decision, StartAgain)
        decision, lives = lives.ended(-signal.SIGKILL, SHORT_LIFE)
        assert decision == StartAgain(0.5)


@pytest.mark.parametrize(
    ("code", "final"),
    [(EXIT_SETTINGS, EXIT_SETTINGS), (EXIT_USAGE, EXIT_SETTINGS), (EXIT_UNREACHABLE, EXIT_UNREACHABLE)],
)
def test_where_no_restart_helps_the_parent_ends_at_once(code: int, final: int) -> None:
    """With the code that says why."""
    assert Lives().ended(code, 100.0)[0] == GiveUp(final)


@pytest.mark.parametrize("code", [EXIT_UNREACHABLE, EXIT_SETTINGS, EXIT_USAGE])
@pytest.mark.parametrize("seconds", [1.0, 100.0])
def test_a_later_start_of_a_worker_that_fails_does_not_end_the_others(code: int, seconds: float) -> None:
    """Kafka is away, or the settings file is being edited: they hold what they have read, and continue."""
    _, lives = Lives().ended(-signal.SIGKILL, 100.0)
    for delay in (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0):
        decision, lives = lives.ended(code, seconds)
        assert decision == StartAgain(delay)
    assert lives.ended(-signal.SIGKILL, SHORT_LIFE)[0] == StartAgain(0.5)
