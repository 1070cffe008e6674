"""How long a session's worker waits between two connections, and what shortens or lengthens that."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.clock import monotonic
from bridge.daemon import session_worker as worker_module
from bridge.sse import reconnection
from tests.daemon.test_session_worker import source, working
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, Peer, answer, chunk
from tests.support.scripted_mix import Feed, contents, scripted_mix, status
from tests.support.waiting import wait_until

LONG = {"reconnect_min": "10m", "reconnect_max": "1h"}


def moments(of: list[float], script: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """The script, with the moment of each request noted."""

    def noting(peer: Peer) -> None:
        of.append(monotonic())
        script(peer)

    return noting


def with_jitter(monkeypatch: pytest.MonkeyPatch, jitter: float) -> None:
    """Chance, decided."""
    monkeypatch.setattr(random, "random", lambda: jitter)


def test_failures_are_spread_over_the_whole_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """From zero on: a thousand sessions that failed together do not come back together."""
    with_jitter(monkeypatch, 0.0)
    with scripted_mix() as mix:
        mix.streams = {"a": status(503)}
        with working(source(mix, **LONG)):
            wait_until(lambda: len(mix.asked) > 5, what="tries without a wait")


def test_the_bounds_of_the_settings_are_those_of_the_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the other end of chance the second try is minutes away."""
    with_jitter(monkeypatch, 0.999)
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": status(503)}
        with working(source(mix, **LONG)):
            wait_until(lambda: [line for line in logs if line["event"] == "disconnected"])
    assert len(mix.asked) == 1
    assert [line["reconnect_in"] for line in logs if "reconnect_in" in line] == [599.4]


@pytest.mark.parametrize("asks", [status(503), lambda peer: peer.send(answer(429, b"Retry-After: 600"))])
def test_a_stop_ends_every_wait_at_once(monkeypatch: pytest.MonkeyPatch, asks: Callable[[Peer], None]) -> None:
    """Also one that the server asked for."""
    with_jitter(monkeypatch, 0.999)
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {"a": asks}
        with working(source(mix, reconnect_min="10m", reconnect_max="10m")) as (worker, _):
            wait_until(lambda: [line for line in logs if line["event"] == "disconnected"])
            began = monotonic()
            worker.stop()
            assert worker.join(began + 5)
            assert monotonic() - began < 1
    assert len(mix.asked) == 1
    assert next(line["reconnect_in"] for line in logs if "reconnect_in" in line) >= 599


def test_what_the_server_asks_for_lengthens_a_wait() -> None:
    """``Retry-After`` above the settings' maximum of 40 ms."""
    at: list[float] = []
    with scripted_mix() as mix:
        mix.streams = {"a": moments(at, lambda peer: peer.send(answer(503, b"Retry-After: 1")))}
        with working(source(mix)):
            wait_until(lambda: len(at) > 1)
    assert 1.0 <= at[1] - at[0] < 4


def test_a_retry_of_the_stream_outlives_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent once; it is the base of all later waits, also where the next connection brings none."""
    with_jitter(monkeypatch, 0.999)
    at: list[float] = []

    def script(peer: Peer) -> None:
        event = contents(len(at))[0]
        peer.send(CHUNKED + chunk((b"retry: 500\n" if len(at) == 1 else b"") + event) + LAST_CHUNK)

    with scripted_mix() as mix:
        mix.streams = {"a": moments(at, script)}
        with working(source(mix, reconnect_max="5s")):
            wait_until(lambda: len(at) > 2)
    assert [0.6 < later - earlier < 2 for earlier, later in pairwise(at)] == [True, True]


@pytest.mark.parametrize("body", [b"", b"data: not closed\n", b":"], ids=repr)
def test_a_connection_that_brings_no_block_is_a_failure(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """However long it was open: to be let in proves nothing."""
    monkeypatch.setattr(worker_module, "_LASTING", 0.05)

    def script(peer: Peer) -> None:
        peer.send(UNTIL_CLOSE + body)
        peer.server.ending.wait(0.1)

    with scripted_mix() as mix:
        mix.streams = {"a": script}
        with working(source(mix)) as (worker, _):
            wait_until(lambda: worker._history.failures >= 4)


def test_a_block_ends_the_row_of_failures() -> None:
    """After an outage the first ordinary end is followed by a short wait again."""
    with scripted_mix() as mix:
        feed = Feed(1)
        mix.streams = {"a": lambda peer: peer.send(answer(503)) if len(mix.asked) < 6 else feed(peer)}
        with working(source(mix)) as (worker, publisher):
            wait_until(lambda: publisher.position.sequence == 1)
            assert worker._history.failures == 5
            feed.cut()
            wait_until(lambda: len(mix.asked) > 6)
            wait_until(lambda: worker._history.failures <= 1)


def test_refused_credentials_are_slow_and_loud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Far above ``reconnect_min``, said at each try with what to look at; then with what the file says by now."""
    monkeypatch.setattr(reconnection, "SLOW", 1.0)
    token = tmp_path / "token"
    token.write_text("old\n")
    sent: list[bytes] = []

    def script(peer: Peer) -> None:
        sent.append(peer.headers["authorization"])
        feed(peer) if sent[-1] == b"Bearer new" else peer.send(answer(401))

    with scripted_mix() as mix, capture_logs() as logs:
        feed = Feed(1)
        mix.streams = {"a": script}
        with working(source(mix, token_file=token, reconnect_max="1m")) as (worker, publisher):
            wait_until(lambda: [line for line in logs if line["event"] == "disconnected"])
            assert "token_file" in str(worker.session_counters.last_error)
            token.write_text("new\n")
            wait_until(lambda: publisher.position.sequence == 1)
    said: list[dict[str, Any]] = [dict(line) for line in logs if line["event"] == "disconnected"]
    assert sent == [b"Bearer old", b"Bearer new"]
    assert said[0]["log_level"] in {"warning", "error"}
    assert said[0]["reconnect_in"] >= 1.0
    assert "token_file" in said[0]["detail"]
