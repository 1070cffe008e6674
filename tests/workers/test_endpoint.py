"""The routes of the parent of several workers, over loopback."""

from __future__ import annotations

import pytest
import requests

from bridge import clock
from bridge.observe.api import HttpEndpoint
from bridge.observe.log_levels import LogLevels
from bridge.workers.endpoint import OwnMetrics, application
from bridge.workers.queries import Place, Workers
from tests.fakes.http_endpoint import WELL
from tests.support.waiting import TIMEOUT


@pytest.mark.parametrize(
    ("places", "where"),
    [
        ([Place(1, 40001), Place(2, None), Place(3, 40003)], "http://127.0.0.1:40001/, http://127.0.0.1:40003/"),
        ([Place(1, None)], "none listens yet"),
    ],
)
def test_the_page_is_found_at_the_workers(places: list[Place], where: str) -> None:
    """The parent has none: 404 with their addresses."""
    endpoint = HttpEndpoint("127.0.0.1", 0, None, lambda: WELL)
    workers = Workers(lambda: places, endpoint.tokens.valid)
    endpoint.application = application(workers, dict, lambda: 0.0, OwnMetrics(dict), LogLevels("info"), endpoint.tokens)
    port = endpoint.start()
    try:
        for path in ("/", "/api/stream"):
            answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT)
            assert answer.status_code == 404
            assert answer.json()["error"].startswith("the page is served by each worker")
            assert answer.json()["error"].endswith(f": {where}")
    finally:
        endpoint.stop()
        assert endpoint.join(clock.monotonic() + TIMEOUT)
