"""The bars of commands that read topics, and the line of those that wait."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from bridge.admin.kafka_access import bars, waiting
from tests.support.waiting import TIMEOUT, let_pass


def shown(monkeypatch: pytest.MonkeyPatch, show: Callable[[Callable[[], bytes]], None]) -> bytes:
    """What a terminal shows on stderr; ``show`` may wait for the first of it."""
    screen, terminal = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    text = b""
    with os.fdopen(screen, "rb", buffering=0) as output:

        def first() -> bytes:
            nonlocal text
            text += output.read(1)
            return text

        with os.fdopen(terminal, "w", encoding="utf-8") as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            show(first)
        with suppress(OSError):  # the end, once everything is read
            while part := output.read(4096):
                text += part
    return text


@pytest.mark.parametrize(("seconds", "is_shown"), [(3.0, True), (1.0, False)])
def test_a_terminal_shows_what_takes_long(monkeypatch: pytest.MonkeyPatch, seconds: float, *, is_shown: bool) -> None:
    """On stderr: stdout has the result."""
    times = iter([0.0, seconds, seconds])

    def show(_first: object) -> None:
        with bars(now=lambda: next(times)) as progress:
            progress("dead letters", 0, 7)
            progress("dead letters", 5, 7)

    text = shown(monkeypatch, show)
    assert (b"reading dead letters" in text) == bool(text) == is_shown


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_terminal_shows_what_is_waited_for_long(monkeypatch: pytest.MonkeyPatch, *, is_shown: bool) -> None:
    """What has no measure of its progress; nothing remains on the screen."""

    def show(first: Callable[[], bytes]) -> None:
        with waiting("answers", 0.0 if is_shown else TIMEOUT):
            if is_shown:
                first()
            else:
                let_pass(0.05)

    text = shown(monkeypatch, show)
    assert (b"waiting for answers" in text) == bool(text) == text.endswith(b"\x1b[2K") == is_shown


def test_elsewhere_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log or a pipe has no use for bars and lines."""
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with bars() as show:
        show("dead letters", 5, 7)
    with waiting("answers", 0.0):
        let_pass(0.05)
    assert stderr.getvalue() == ""
