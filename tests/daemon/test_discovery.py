"""Discovery and the supervisor against a real server: what is begun, what is gone on with, how often it asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.stream.overlap import OverlapWindow
from bridge.daemon.discovery import Discovery
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.daemon.supervisor import Supervisor
from bridge.delivery.at_least_once import AtLeastOnce
from bridge.delivery.lease import Lease, SoleOwner
from bridge.settings import load
from tests.support.scripted_mix import ScriptedMix, listing, scripted_mix
from tests.support.waiting import wait_until

OLD = "2020-01-01T00:00:00Z"


def source(mix: ScriptedMix, **more: object) -> Source:
    """The server as the settings have it."""
    values: dict[str, Any] = {"kafka.bootstrap_servers": "127.0.0.1:9", "servers.local.url": mix.url}
    return Source("local", load(values | {f"servers.local.{name}": value for name, value in more.items()}, {}))


@contextmanager
def discovering(of: Source) -> Iterator[Discovery]:
    """Discovery that has had its first answer."""
    discovery = Discovery(of, lambda: None)
    discovery.start()
    try:
        wait_until(lambda: discovery.answered_at is not None)
        yield discovery
    finally:
        discovery.stop()
        assert discovery.join(monotonic() + 5)


def test_hints_ask_once_a_second_and_the_first_at_once() -> None:
    """Hundreds may come in one replay."""
    with scripted_mix() as mix, discovering(source(mix, discover_interval="10m")) as discovery:
        begun = monotonic()
        discovery.ask_now()
        wait_until(lambda: mix.lists == 2)
        assert monotonic() - begun < 0.5
        while monotonic() - begun < 1.5:
            discovery.ask_now()
            wait_until(discovery._thread.is_alive)
        assert mix.lists <= 3
        wait_until(lambda: mix.lists == 4)


def test_hints_do_not_put_off_the_next_poll() -> None:
    """An interval below a second stays what it is."""
    with scripted_mix() as mix, discovering(source(mix, discover_interval="100ms")) as discovery:
        begun = monotonic()
        while mix.lists < 6:
            discovery.ask_now()
            wait_until(discovery._thread.is_alive)
            assert monotonic() - begun < 3


def test_a_filtered_session_is_still_listed() -> None:
    """Too old to be begun is not gone: only what the server no longer lists is."""
    with scripted_mix() as mix:
        mix.listed = [listing("old", createdAt=OLD)]
        with discovering(source(mix, created_within="1h")) as discovery:
            assert discovery.listed == ()
            assert not discovery.has_dropped("old", 0.0)
            assert discovery.has_dropped("other", 0.0)


def test_an_old_session_with_a_checkpoint_goes_on(monkeypatch: Any) -> None:
    """It ended while a proxy answered 404, and is listed all the time: its age must not keep it away for good."""
    launched: list[SessionKey] = []

    def launch(_supervisor: Supervisor, key: SessionKey, _source: Source, _lease: Lease) -> None:
        launched.append(key)

    monkeypatch.setattr(Supervisor, "_launch", launch)
    key = SessionKey("local", "ended")
    with scripted_mix() as mix:
        mix.listed = [listing("ended", createdAt=OLD), listing("new-to-us", createdAt=OLD)]
        checkpoint = Checkpoint(key, Position(1, 3, "3"), "ended", 0, "", OverlapWindow.starting("3"))
        sources = {"local": source(mix, created_within="1h")}
        supervisor = Supervisor(sources, 1, cast("AtLeastOnce", None), StallDetector(), lambda: None)
        supervisor.acquire(Lease(0, SoleOwner()), {key: Restored(checkpoint, is_stale=False)})
        supervisor.start()
        try:
            wait_until(lambda: supervisor.servers()["local"].last_discovery_age is not None)
            supervisor.tick()
        finally:
            supervisor.stop()
    assert launched == [key]
