"""A session's worker against a real server: where it resumes, when it begins a new epoch, how often it asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import pytest

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow, extended
from bridge.daemon.session_states import State
from bridge.daemon.session_worker import SessionWorker
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.delivery.lease import Lease, SoleOwner
from bridge.delivery.protocol import Publisher
from bridge.settings import load
from bridge.sse.connection import Connector
from tests.fakes.raw_server import Peer, answer
from tests.support.scripted_mix import Feed, ScriptedMix, block, content, cut, scripted_mix, send
from tests.support.waiting import wait_until

KEY = SessionKey("local", "a")
START = Position(0, 0, "")


def lease() -> Lease:
    """Of a process that shares with nobody."""
    return Lease(0, SoleOwner())


class Taken(NamedTuple):
    """An event that was handed over."""

    event: Event
    last_event_id: str


@dataclass
class Kept:
    """An outbox that only counts."""

    position: Position = field(default=START)
    overlap_window: OverlapWindow = field(default=OverlapWindow.starting(""))
    epochs: list[str] = field(default_factory=list)
    """The id each new epoch resumes after."""
    told: list[str] = field(default_factory=list)
    """What was announced, by its kind."""
    taken: list[str] = field(default_factory=list)
    """The data of all events."""

    def submit(self, events: Sequence[Event]) -> None:
        """Each takes a number."""
        last = events[-1].last_event_id
        self.taken += [event.data for event in events]
        self.overlap_window = extended(self.overlap_window, [Taken(event, event.last_event_id) for event in events])
        self.position = Position(self.position.epoch, self.position.sequence + len(events), last)

    def begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        """The next one."""
        if why is not None:
            self.told.append(why.kind)
        self.epochs.append(overlap_window.cursor)
        self.overlap_window = overlap_window
        self.position = Position(self.position.epoch + 1, 0, overlap_window.cursor)

    def announce(self, what: LifecycleEvent) -> None:
        """Said."""
        self.told.append(what.kind)

    def doubt(self) -> None:
        """Noted."""
        self.overlap_window = self.overlap_window._replace(certain=False)

    def end(self, why: LifecycleEvent) -> None:
        """Over."""
        self.told.append(why.kind)

    def stop(self) -> None:
        """Nothing waits."""


def source(mix: ScriptedMix, **more: object) -> Source:
    """The server as the settings have it, with short waits."""
    values: dict[str, Any] = {"kafka.bootstrap_servers": "127.0.0.1:9", "servers.local.url": mix.url}
    values |= {"servers.local.reconnect_min": "20ms", "servers.local.reconnect_max": "40ms"}
    values |= {f"servers.local.{name}": value for name, value in more.items()}
    return Source("local", load(values, {}))


@contextmanager
def working(
    of: Source, restored: Position | None = None, overlap_window: OverlapWindow | None = None
) -> Iterator[tuple[SessionWorker, Kept]]:
    """A running worker, and its outbox."""
    publisher = Kept()
    checkpoint: Restored | None = None
    if restored is not None:
        overlap_window = overlap_window or OverlapWindow.starting(restored.last_event_id)
        publisher = Kept(restored, overlap_window)
        checkpoint = Restored(Checkpoint(KEY, restored, "active", 0, of.fingerprint, overlap_window), is_stale=False)
    worker = SessionWorker(KEY, of, cast("Publisher", publisher), checkpoint, lease(), StallDetector(), lambda: None)
    worker.start()
    try:
        yield worker, publisher
    finally:
        worker.stop()
        assert worker.join(monotonic() + 5)


@pytest.mark.parametrize(
    ("more", "position", "begun"),
    [
        ({"without_ids": "accept"}, Position(9, 0, "0"), []),
        ({"start_after_id": ""}, Position(9, 0, ""), [""]),
        ({"start_after_id": ""}, Position(9, 3, ""), [""]),
        ({"without_ids": "accept"}, Position(9, 3, "3"), []),
        ({}, Position(9, 0, "0"), []),
        ({}, Position(9, 3, "3"), []),
    ],
)
def test_a_restart_begins_an_epoch_where_its_numbers_may_be_given_to_other_events(
    more: dict[str, str], position: Position, begun: list[str]
) -> None:
    """Published but not checkpointed: without ids, or live only, what comes now is something else, and was dropped."""
    with scripted_mix() as mix:
        mix.streams = {"a": (feed := Feed(5))}
        with working(source(mix, **more), position) as (worker, publisher):
            wait_until(lambda: worker.state is State.STREAMING)
            feed.add(2)
            wait_until(lambda: publisher.taken[-1:] == [content(7)])
            assert publisher.epochs == begun


def test_a_server_that_had_a_stream_is_never_asked_without_an_id() -> None:
    """A proxy's 400 to everything, however long, costs the position at most, not what is sent meanwhile."""
    with scripted_mix() as mix:
        feed = Feed(3)

        def script(peer: Peer) -> None:
            peer.send(answer(400)) if 1 < len(mix.asked) < 14 else feed(peer)

        mix.streams = {"a": script}
        with working(source(mix)) as (_, publisher):
            wait_until(lambda: publisher.position.sequence == 3)
            feed.cut()
            wait_until(lambda: len(mix.asked) > 1)
            feed.add(2)
            wait_until(lambda: publisher.position == Position(2, 5, "5"))
        assert mix.ids_of("a") == ["0", "2", "2", "2"] + ["0"] * 10
        assert publisher.epochs == ["0", "0"]


def test_a_restored_session_is_never_asked_without_an_id() -> None:
    """The server took its ids before the restart."""
    with scripted_mix() as mix:
        feed = Feed(5)
        mix.streams = {"a": lambda peer: peer.send(answer(400)) if len(mix.asked) < 9 else feed(peer)}
        with working(source(mix), Position(1, 3, "3")) as (_, publisher):
            wait_until(lambda: publisher.position == Position(2, 5, "5"))
        assert mix.ids_of("a") == ["3"] * 3 + ["0"] * 6


def test_a_stream_that_only_says_no_is_asked_ever_more_seldom() -> None:
    """An old server answers an unknown session with 200 and one event without an id: no reason to hurry."""
    with scripted_mix() as mix:
        mix.streams = {"a": cut(block(None, "error", '{"type":"error","error":"no"}'))}
        more = {"without_ids": "accept", "reconnect_max": "1h"}
        with working(source(mix, **more)) as (worker, _):
            wait_until(lambda: worker._history.failures >= 4)


def test_a_stream_that_moved_the_id_is_asked_again_soon() -> None:
    """However short it was."""
    with scripted_mix() as mix:
        mix.streams = {"a": lambda peer: send(peer, [block(str(len(mix.asked)), "content", content(1))])}
        with working(source(mix)) as (worker, _):
            wait_until(lambda: len(mix.asked) > 6)
            assert worker._history.failures <= 1


def test_connections_made_together_do_not_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each session has a moment of its own within the last tenth of the age."""
    retired = []

    def retire(connector: Connector) -> None:
        retired.append(connector)

    monkeypatch.setattr(Connector, "retire", retire)
    with scripted_mix() as mix:
        of = source(mix)
        workers = [
            SessionWorker(
                SessionKey("local", f"s{number}"),
                of,
                cast("Publisher", Kept()),
                None,
                lease(),
                StallDetector(),
                lambda: None,
            )
            for number in range(100)
        ]
        ended = []
        for age in (89, 95, 101):
            for worker in workers:
                worker._connected_at = monotonic() - age
                worker.retire_if_older(100)
            ended.append(len(retired))
            retired.clear()
    assert ended[0] == 0
    assert 20 < ended[1] < 80
    assert ended[2] == 100
