"""The order and the result of a shutdown, without a Kafka, and the requests of signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from bridge.clock import monotonic
from bridge.core.durations import Durations
from bridge.daemon.forgetting import Forgetting
from bridge.daemon.pipeline import Delivery, Measurements, Pipeline
from bridge.daemon.service import SignalQueue
from bridge.daemon.supervisor import Supervisor
from bridge.sharding.coordinator import ShardCoordinator


class Parts:
    """A supervisor, a coordinator and a delivery that record what is called."""

    left_undelivered = 0
    last_answer = None

    def __init__(self, name: str, calls: list[str], *, ends: bool = True) -> None:
        self._name = name
        self._calls = calls
        self._ends = ends
        self.bug: Exception | None = None

    def stop(self, _deadline: float = 0.0) -> None:
        """Record."""
        self._calls.append(f"{self._name} stop")

    def join(self, _deadline: float) -> bool:
        """Whether the work ended."""
        return self._ends

    def abort(self) -> None:
        """Record."""
        self._calls.append(f"{self._name} abort")

    def close(self, _deadline: float = 0.0, *, has_left: bool = True) -> None:
        """Record."""
        self._calls.append(f"{self._name} close" if has_left else f"{self._name} abandoned")


def wait(join: Callable[[float], bool], deadline: float) -> bool:
    """Wait for one step."""
    return join(deadline)


def pipeline_of(delivery: Parts, group: Parts, calls: list[str]) -> Pipeline:
    """A pipeline of parts that record."""
    return Pipeline(
        cast("Delivery", delivery),
        cast("Supervisor", Parts("readers", calls)),
        cast("ShardCoordinator", group),
        None,
        Measurements(Durations()),
        cast("Forgetting", Parts("forgetting", calls)),
    )


@pytest.mark.parametrize(
    ("leaves", "delivers", "last"),
    [
        (True, True, ["group close"]),
        (False, True, ["group abandoned"]),
        (True, False, ["delivery abort", "group close"]),
    ],
    ids=["all well", "the group does not answer", "not delivered"],
)
def test_only_what_is_not_delivered_makes_a_shutdown_fail(*, leaves: bool, delivers: bool, last: list[str]) -> None:
    """A group that does not answer costs time, and no event. Readers stop first, then what they read is delivered."""
    calls: list[str] = []
    pipeline = pipeline_of(Parts("delivery", calls, ends=delivers), Parts("group", calls, ends=leaves), calls)
    assert pipeline.drain(10.0, wait) is delivers
    assert calls == ["readers stop", "forgetting close", "group stop", "delivery stop", *last]


def test_a_shutdown_with_a_dead_delivery_thread_does_not_succeed() -> None:
    """Even if the thread had delivered everything before its bug, and has ended before the shutdown waits for it."""
    calls: list[str] = []
    delivery = Parts("delivery", calls)
    delivery.bug = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        pipeline_of(delivery, Parts("group", calls), calls).drain(10.0, wait)


def test_stops_are_counted_and_other_requests_only_wake() -> None:
    """A second stop asks for an immediate shutdown."""
    signals = SignalQueue()
    signals.wake()
    signals.stop()
    begun = monotonic()
    signals.wait(60.0)
    assert signals.stops == 1
    signals.stop()
    signals.wait(60.0)
    assert signals.stops == 2
    assert monotonic() - begun < 30
