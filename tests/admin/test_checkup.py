"""How the checks of ``mix-bridge check`` are put together."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from bridge.admin.check.checkup import _Check, _Running
from bridge.admin.check.lines import Line, State
from bridge.clock import monotonic


def test_what_a_check_found_before_it_hung_is_told() -> None:
    """With a line that says that the rest is not known; the thread is left behind."""
    freed, found = threading.Event(), Line("kafka", State.OK, "answers")

    def look() -> Iterator[Line]:
        yield found
        freed.wait(10)

    running = _Running(_Check("kafka", look))
    try:
        first, late = running.lines(monotonic() + 0.2)
    finally:
        freed.set()
    assert first == found
    assert (late.subject, late.state, late.detail.startswith("no answer within")) == ("kafka", State.FAILED, True)
    assert running.lines(monotonic() + 10) == [found]
