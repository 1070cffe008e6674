"""Delays that brokers announce because a client quota is used up (KIP-219)."""

from __future__ import annotations

from math import inf
from typing import Protocol

from bridge.clock import monotonic


class _Event(Protocol):
    """``confluent_kafka.ThrottleEvent``."""

    throttle_time: float
    """Seconds."""


class Throttle:
    """Until when the brokers delay one producer. Thread rule: the thread that polls notes; any thread reads."""

    def __init__(self) -> None:
        self.until = -inf
        """By :func:`bridge.clock.monotonic`. The broker answers no request on the connection before."""

    def note(self, event: _Event) -> None:
        """The client's ``throttle_cb``."""
        self.until = max(self.until, monotonic() + event.throttle_time)

    def is_active(self, now: float) -> bool:
        """Whether a quota delays the producer."""
        return now < self.until
