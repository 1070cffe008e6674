"""The real endpoint of a parent over workers that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bridge.observe.api import HttpEndpoint
from bridge.observe.log_levels import LogLevels
from bridge.observe.metrics.of_bridge import Seats
from bridge.workers.endpoint import application
from bridge.workers.queries import Place, Workers
from tests.fakes.http_endpoint import WELL, listening

OWN = {
    "version": "1", "namespace": "mix", "owner": "host:1", "instance": None, "host": "host", "pid": 1,
    "started_at_ms": 5,
}  # fmt: skip
"""What the parent says of itself."""


@contextmanager
def parent_of(places: Callable[[], Sequence[Place]], token: str | None = None) -> Iterator[int]:
    """A running endpoint's port; each worker was started again as often as its number says."""
    endpoint = HttpEndpoint("127.0.0.1", 0, token, lambda: WELL)

    def seats() -> Seats:
        return {each.number: (each.port is not None, each.number) for each in places()}

    workers = Workers(places, endpoint.tokens.valid)
    endpoint.instead = application(workers, lambda: OWN, lambda: 0.0, seats, LogLevels("info"), endpoint.tokens)
    with listening(endpoint) as port:
        yield port
