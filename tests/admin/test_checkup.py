"""How the checks of ``mix-bridge check`` run."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from bridge.admin.check.checkup import _Running
from bridge.admin.check.line import Line, State
from bridge.clock import monotonic
from tests.support.waiting import TIMEOUT


def test_a_check_that_hangs_keeps_its_first_lines() -> None:
    """One more line reports the time-out; the thread is abandoned."""
    freed, found = threading.Event(), Line("kafka", State.OK, "answers")

    def run() -> Iterator[Line]:
        yield found
        freed.wait(TIMEOUT)

    running = _Running("kafka", run)
    try:
        first, late = running.lines(monotonic() + 0.2)
    finally:
        freed.set()
    assert first == found
    assert (late.subject, late.state, late.detail.startswith("no answer within")) == ("kafka", State.FAILED, True)
    assert running.lines(monotonic() + 10) == [found]
