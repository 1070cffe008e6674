"""Discovery and the supervisor against a real server: which sessions start and continue, how often it is polled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.stream.overlap import OverlapWindow
from bridge.daemon.capacity import Capacity, Fit, Reserve
from bridge.daemon.discovery import Discovery
from bridge.daemon.server_sessions import ServerSessions
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.daemon.supervisor import Supervisor
from bridge.delivery.lease import Lease
from bridge.delivery.protocol import ShardDelivery
from tests.fakes.membership import SoleOwner
from tests.fakes.raw_server import answer
from tests.fakes.sources import source
from tests.support.scripted_mix import listing, scripted_mix
from tests.support.waiting import wait_until

OLD = "2020-01-01T00:00:00Z"


@contextmanager
def discovering(of: Source, *, listed: bool = True) -> Iterator[Discovery]:
    """Discovery that has had its first list, if there is one."""
    discovery = Discovery(of, lambda: None)
    discovery.start()
    try:
        wait_until(lambda: discovery.answered_at is not None or not listed)
        yield discovery
    finally:
        discovery.stop()
        wait_until(lambda: not discovery._thread.is_alive())


def test_a_requested_poll_comes_at_once_and_further_ones_after_a_second() -> None:
    """A replay may contain hundreds of events that ask for one."""
    with scripted_mix() as mix, discovering(of := source(mix.url, discover_interval="10m")):
        begun = monotonic()
        for lists in (2, 3, 4):  # the first at once, the others a second apart, however often they are asked for
            wait_until(lambda lists=lists: of.list_wanted.set() or mix.lists >= lists)  # type: ignore[misc, func-returns-value]
        assert monotonic() - begun >= 2.0


def test_requested_polls_do_not_delay_the_next_regular_one() -> None:
    """An interval below a second is kept."""
    with scripted_mix() as mix, discovering(of := source(mix.url, discover_interval="100ms")):
        wait_until(lambda: of.list_wanted.set() or mix.lists >= 6, 30)  # type: ignore[func-returns-value]


def test_a_filtered_session_is_still_listed() -> None:
    """One that is too old to start has not been removed from the server."""
    with scripted_mix() as mix:
        mix.listed = [listing("old", createdAt=OLD)]
        with discovering(source(mix.url, created_within="1h")) as discovery:
            assert discovery.listed == ()
            assert discovery.titles == {"old": "old"}
            assert not discovery.is_unlisted_since("old", 0.0)
            assert discovery.is_unlisted_since("other", 0.0)


def test_an_old_session_with_a_checkpoint_starts_again(monkeypatch: Any) -> None:
    """It ended while a proxy answered 404, and the server lists it: its age must not exclude it for good."""
    started: list[SessionKey] = []

    def start(_supervisor: Supervisor, key: SessionKey, _server: ServerSessions, _lease: Lease) -> None:
        started.append(key)

    monkeypatch.setattr(Supervisor, "_start_session", start)
    key = SessionKey("local", "ended")
    with scripted_mix() as mix:
        mix.listed = [listing("ended", createdAt=OLD), listing("new-to-us", createdAt=OLD)]
        checkpoint = Checkpoint(key, Position(1, 3, "3"), "ended", 0, "", OverlapWindow.starting("3"))
        sources = {"local": source(mix.url, created_within="1h")}
        unlimited = Capacity(Reserve(0, 0), lambda _: Fit())
        supervisor = Supervisor(sources, 1, cast("ShardDelivery", None), StallDetector(), lambda: None, unlimited)
        supervisor.shards.acquire(Lease(0, SoleOwner()), {key: Restored(checkpoint, is_stale=False)})
        supervisor.start()
        try:
            wait_until(lambda: supervisor.servers()["local"].last_discovery_age is not None)
            supervisor.tick()
        finally:
            supervisor.stop()
    assert started == [key]


def test_a_server_that_lists_no_sessions_is_named_with_the_fix() -> None:
    """Public Mix servers answer any path with a text. Their sessions end without a list."""
    with scripted_mix() as mix:
        mix.list_answer = answer(200, b"Content-Type: text/plain", body=b"ok")
        of = source(mix.url, discover_interval="50ms")
        assert not of.gone_sessions.may_end("a", 0.0, monotonic())
        with discovering(of, listed=False) as discovery:
            wait_until(lambda: discovery.is_failing)
            text = "this server does not list sessions: name them (`--session ID`, `servers.local.sessions`)"
            assert of.failure == f"{text} (GET /api/sessions: the content type is not JSON)"
            assert discovery.lists_none
            assert not of.gone_sessions.may_end("a", 0.0, monotonic()), "no stream came either"
            of.gone_sessions.streamed("b")
            wait_until(lambda: of.gone_sessions.may_end("a", 0.0, monotonic()))
            mix.list_answer = None
            mix.listed = [listing("a"), listing("a"), {}]
            wait_until(lambda: not discovery.is_failing)
            assert (discovery.lists_none, discovery.skipped) == (False, 2)


def test_an_error_answer_proves_that_the_server_is_reachable() -> None:
    """The start waits for any answer, even an error; a list is polled for ever."""
    with scripted_mix() as mix:
        mix.list_answer = answer(503)
        of = source(mix.url, discover_interval="50ms")
        discovery = Discovery(of, lambda: None)
        discovery.start()
        wait_until(lambda: discovery.is_failing)
        assert (of.has_answered, of.answers, of.failure) == (True, True, "GET /api/sessions: HTTP status 503")
        mix.list_answer = None
        wait_until(lambda: discovery.answered_at is not None and not discovery.is_failing)
        assert of.failure is None
        discovery.stop()
        wait_until(lambda: not discovery._thread.is_alive())
