"""The parent's looks at its workers, where the system allows no more threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from bridge.workers.queries import LOOK, Health, HealthChecks, Place, Workers
from tests.support.waiting import wait_until


def _refused() -> None:
    raise RuntimeError("can't start new thread")  # as Python says it


def test_the_parent_goes_on_without_a_thread_for_its_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers may use all threads that their container allows; it looks again later."""
    checks = HealthChecks(Workers(lambda: [Place(1, None)], lambda: ()))
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", lambda _: _refused())
        assert checks.next(LOOK) is None
    assert checks.next(2 * LOOK) is None
    assert wait_until(lambda: checks.next(2 * LOOK)) == Health(frozenset(), frozenset())


def test_a_look_that_fails_is_followed_by_another() -> None:
    """The pool had no thread for its requests."""
    looks = []

    def places() -> Sequence[Place]:
        looks.append(1)
        if len(looks) == 1:
            _refused()
        return [Place(1, None)]

    checks = HealthChecks(Workers(places, lambda: ()))
    assert checks.next(LOOK) is None
    wait_until(lambda: looks)
    now = iter(range(2, 1_000_000))
    assert wait_until(lambda: checks.next(LOOK * next(now))) == Health(frozenset(), frozenset())
