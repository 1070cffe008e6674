"""The limits of the whole process."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator

import pytest

from bridge.daemon.limits import raise_open_files, set_switch_interval, switch_interval


@pytest.fixture
def interval_before() -> Iterator[float]:
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


def test_the_switch_interval_grows_with_the_readers_above_a_hundred() -> None:
    """However many wait, they wake up 20,000 times a second together."""
    assert switch_interval(1) == switch_interval(100) == pytest.approx(0.005)
    assert all(readers / switch_interval(readers) == pytest.approx(20_000) for readers in (101, 800, 5000))


def test_the_switch_interval_is_set_and_reset(interval_before: float) -> None:
    """When the readers end, it is Python's own again."""
    set_switch_interval(5000)
    assert sys.getswitchinterval() == pytest.approx(0.25)
    set_switch_interval(0)
    assert sys.getswitchinterval() == pytest.approx(interval_before)


def test_the_soft_limit_of_open_files_becomes_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that refuses is no reason to fail."""
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))
    raise_open_files()
    assert limits == [(resource.RLIMIT_NOFILE, (4096, 4096))]

    def refuse(*_limit: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_open_files()
