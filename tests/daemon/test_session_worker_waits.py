"""How long a session's worker waits between two connections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.clock import monotonic
from bridge.sse.reconnection import SLOW
from tests.fakes.clock import fast_clock
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, Peer, answer, chunk
from tests.fakes.session_workers import running_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, contents, scripted_mix, status
from tests.support.waiting import TIMEOUT, wait_until

LONG = {"reconnect_min": "10m", "reconnect_max": "1h"}

Lines = list[Any]


def waits(logs: Lines) -> list[float]:
    """The waits that were logged, once there is one."""
    return wait_until(lambda: [line["reconnect_in"] for line in logs if line["event"] == "disconnected"])


def least() -> float:
    """The smallest jitter."""
    return 0.0


def most() -> float:
    """Nearly the largest jitter."""
    return 0.999


def test_failures_are_spread_over_the_whole_wait() -> None:
    """From zero on: a thousand sessions that failed together do not reconnect together."""
    with scripted_mix() as mix:
        mix.streams = {"a": status(503)}
        with running_worker(source(mix.url, **LONG), jitter=least):
            wait_until(lambda: len(mix.asked) > 5, what="tries without a wait")


def test_the_bounds_of_the_settings_are_those_of_the_waits() -> None:
    """With the largest jitter the second try is minutes away."""
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": status(503)}
        with running_worker(source(mix.url, **LONG), jitter=most):
            assert waits(logs) == [599.4]
    assert len(mix.asked) == 1


@pytest.mark.parametrize("script", [status(503), lambda peer: peer.send(answer(429, b"Retry-After: 600"))])
def test_a_stop_ends_every_wait_at_once(script: Callable[[Peer], None]) -> None:
    """Also a wait that the server asked for."""
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": script}
        with running_worker(source(mix.url, reconnect_min="10m", reconnect_max="10m"), jitter=most) as (worker, _):
            assert waits(logs)[0] >= 599
            worker.stop()
            assert worker.join(monotonic() + TIMEOUT)
    assert len(mix.asked) == 1


def test_retry_after_lengthens_a_wait() -> None:
    """``Retry-After`` is above the settings' maximum of 40 ms."""
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": lambda peer: peer.send(answer(503, b"Retry-After: 3"))}
        with running_worker(source(mix.url)):
            assert 3.0 <= waits(logs)[0] < 12


def test_a_retry_field_outlives_its_connection() -> None:
    """Sent once, it is the base of all later waits, also where the next connection brings none."""
    with scripted_mix() as mix, capture_logs() as logs:

        def script(peer: Peer) -> None:
            retry = b"retry: 500\n" if len(mix.asked) == 1 else b""
            peer.send(CHUNKED + chunk(retry + contents(len(mix.asked))[0]) + LAST_CHUNK)

        mix.streams = {"a": script}
        with running_worker(source(mix.url, reconnect_max="5s"), jitter=most):
            wait_until(lambda: len(waits(logs)) > 1)
    assert all(0.6 < wait < 2 for wait in waits(logs))


@pytest.mark.parametrize("body", [b"", b"data: not closed\n", b":"], ids=repr)
def test_a_connection_that_brings_no_block_is_a_failure(body: bytes) -> None:
    """However long it was open, here minutes by the worker's clock: an accepted connection proves nothing."""

    def script(peer: Peer) -> None:
        peer.send(UNTIL_CLOSE + body)
        peer.server.ending.wait(0.1)

    with scripted_mix() as mix:
        mix.streams = {"a": script}
        with running_worker(source(mix.url), now=fast_clock(1000)) as (worker, _):
            wait_until(lambda: worker.retries.history.failures >= 4)


def test_a_block_ends_a_row_of_failures() -> None:
    """After an outage the first ordinary end is followed by a short wait again."""
    with scripted_mix() as mix:
        feed = Feed(1)
        mix.streams = {"a": lambda peer: peer.send(answer(503)) if len(mix.asked) < 6 else feed(peer)}
        with running_worker(source(mix.url)) as (worker, publisher):
            wait_until(lambda: publisher.position.sequence == 1)
            assert worker.retries.history.failures == 5
            feed.cut()
            wait_until(lambda: len(mix.asked) > 6)
            wait_until(lambda: worker.retries.history.failures <= 1)


def test_refused_credentials_are_retried_slowly_and_reported_with_the_setting(tmp_path: Path) -> None:
    """Far above ``reconnect_min``: fast retries would lock accounts."""
    token = tmp_path / "token"
    token.write_text("old\n")
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": status(401)}
        with running_worker(source(mix.url, token_file=token, reconnect_max="1m")) as (worker, _):
            assert waits(logs)[0] >= SLOW
            assert "token_file" in str(worker.stream.counters.last_error)
    (line,) = [line for line in logs if line["event"] == "disconnected"]
    assert line["log_level"] == "error"
    assert "token_file" in line["detail"]
    assert mix.asked[0].headers["authorization"] == b"Bearer old"
