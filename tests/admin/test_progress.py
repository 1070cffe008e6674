"""The bars of commands that read topics."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

import pytest

from bridge.admin.progress import bars, waiting
from tests.support.waiting import TIMEOUT, let_pass


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


@pytest.mark.parametrize(("after", "is_shown"), [(0.0, True), (TIMEOUT, False)])
def test_a_terminal_shows_what_is_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, after: float, *, is_shown: bool
) -> None:
    """What has no measure of its progress; nothing remains on the screen."""
    screen, terminal = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(screen, "rb", buffering=0) as shown:
        with os.fdopen(terminal, "w", encoding="utf-8") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            with waiting("answers", after):
                if is_shown:
                    os.set_blocking(shown.fileno(), True)
                    text = shown.read(1)
                else:
                    let_pass(0.05)
                    text = b""
        with suppress(OSError):  # the end, once everything is read
            while part := shown.read(4096):
                text += part
    assert (b"waiting for answers" in text) == is_shown
    assert bool(text) == is_shown
    assert text.endswith(b"\x1b[2K") == is_shown


def test_elsewhere_no_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for bars."""
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with waiting("answers", 0.0):
        let_pass(0.05)
    assert stderr.getvalue() == ""
