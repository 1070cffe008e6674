"""The bars of commands that read topics."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

import pytest

from bridge.admin.progress import bars


@pytest.mark.parametrize(("seconds", "is_shown"), [(3.0, True), (1.0, False)])
def test_a_terminal_shows_what_takes_long(monkeypatch: pytest.MonkeyPatch, seconds: float, *, is_shown: bool) -> None:
    """On stderr: stdout has the result."""
    screen, terminal = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    times = iter([0.0, seconds, seconds])
    with os.fdopen(screen, "rb", buffering=0) as shown:
        with os.fdopen(terminal, "w", encoding="utf-8") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            with bars(now=lambda: next(times)) as show:
                show("dead letters", 0, 7)
                show("dead letters", 5, 7)
        text = b""
        with suppress(OSError):  # the end, once everything is read
            while part := shown.read(4096):
                text += part
    assert (b"reading dead letters" in text) == is_shown
    assert bool(text) == is_shown


def test_elsewhere_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log or a pipe has no use for bars."""
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with bars() as show:
        show("dead letters", 5, 7)
    assert stderr.getvalue() == ""
