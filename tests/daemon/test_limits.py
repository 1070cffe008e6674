"""The limits of the whole process."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator

import pytest

from bridge.daemon.limits import raise_open_files, set_switch_interval


@pytest.fixture
def interval_before() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("readers", "seconds"), [(0, 0.005), (10, 0.005), (50, 0.025), (100, 0.05), (1000, 0.5), (5000, 2.5)]
)
@pytest.mark.usefixtures("interval_before")
def test_the_switch_interval_grows_with_the_readers(readers: int, seconds: float) -> None:
    """Those who wait wake up 2,000 times a second together at most. When they end, it is Python's own again."""
    set_switch_interval(5000)
    set_switch_interval(readers)
    assert sys.getswitchinterval() == pytest.approx(seconds)


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
