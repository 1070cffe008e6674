"""The heartbeat of the readers: a stuck worker is found, an idle or a slow one is not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from bridge.core.stream.event import Event
from bridge.daemon.reader_watch import SURE_AFTER, ReaderWatch, Seen
from bridge.daemon.session_states import State
from bridge.observe.health import LIMITS, liveness
from tests.fakes import snapshots
from tests.fakes.raw_server import Peer, answer
from tests.fakes.session_workers import RecordingPublisher, running_worker, session_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import TIMEOUT, wait_until

TICK = 0.5


def watched(seconds: float, *, busy: int = 0, idle: int = 0, stuck: int = 0) -> float:
    """The age after so many seconds with workers of each kind; a busy one moves ten times a second."""
    watch = ReaderWatch(0.0)
    for tick in range(1, int(seconds / TICK) + 1):
        now = tick * TICK
        moves = int(now * 10)
        workers = [Seen(("busy", at), is_busy=(tick + at) % 2 == 0, moves=moves) for at in range(busy)]
        workers += [Seen(("idle", at), is_busy=False, moves=int(now / 45)) for at in range(idle)]
        workers += [Seen(("stuck", at), is_busy=True, moves=7) for at in range(stuck)]
        watch.look(workers, now)
    return watch.age


def test_idle_streams_are_no_fault() -> None:
    """However long; with and without heartbeats of the server."""
    assert watched(7200, idle=100) == 0
    assert watched(3600) == 0


def test_readers_that_all_hang_are_found() -> None:
    """Within the limit and a few ticks, although other streams are idle."""
    age = watched(LIMITS["sessions"] + 2, stuck=10, idle=40)
    assert age > LIMITS["sessions"]
    assert not liveness(replace(snapshots.WELL, loops={"sessions": age})).ok


def test_one_reader_that_hangs_among_busy_ones_is_found() -> None:
    assert watched(SURE_AFTER, busy=99, stuck=1) < LIMITS["sessions"]
    assert watched(SURE_AFTER + 5, busy=99, stuck=1) > LIMITS["sessions"]


def test_a_starved_machine_is_no_fault() -> None:
    """Each of 1,000 workers moves once in five minutes, so each is busy for minutes without a move."""
    watch = ReaderWatch(0.0)
    for tick in range(1, 2400):
        workers = [Seen(at, is_busy=True, moves=(tick + 2 * at) // 600) for at in range(1000)]
        watch.look(workers, tick * TICK)
        assert watch.age < LIMITS["sessions"]


def test_a_pause_of_the_whole_process_is_no_fault() -> None:
    """SIGSTOP for an hour, or a machine that slept, while a worker was busy."""
    watch = ReaderWatch(0.0)
    watch.look([Seen("a", is_busy=True, moves=1)], 0.5)
    watch.look([Seen("a", is_busy=True, moves=1)], 3600.0)
    assert watch.age < 2


def test_real_workers_wait_wherever_they_may_wait_for_long() -> None:
    """For the answer of a server, for events, in back-off. One in a call that never returns is busy."""

    class Stuck(RecordingPublisher):
        released = threading.Event()

        def submit(self, events: Sequence[Event]) -> None:
            """Never return, as a write to a pipe that nobody reads."""
            self.released.wait(TIMEOUT)
            super().submit(events)

    silent = threading.Event()

    def mute(peer: Peer) -> None:
        silent.set()
        peer.hold()

    with scripted_mix() as mix:
        mix.streams = {"a": mute}
        with running_worker(source(mix.url)) as (worker, _):
            assert silent.wait(TIMEOUT)
            assert not worker.waiting.is_busy
        mix.streams = {"a": lambda peer: peer.send(answer(500))}
        with running_worker(source(mix.url, reconnect_min="1h", reconnect_max="1h")) as (worker, _):
            wait_until(lambda: worker.state is State.WAITING and not worker.waiting.is_busy)
        mix.streams = {"a": (feed := Feed(1))}
        with running_worker(source(mix.url)) as (worker, publisher):
            wait_until(lambda: publisher.position.sequence == 1 and not worker.waiting.is_busy)
            moves = worker.waiting.moves
            feed.add(1)
            wait_until(lambda: worker.waiting.moves > moves)
        stuck = session_worker(source(mix.url), publisher := Stuck())
        stuck.start()
        wait_until(lambda: stuck.state is State.STREAMING and stuck.waiting.is_busy)
        moves = stuck.waiting.moves
        feed.add(1)
        assert stuck.waiting.is_busy
        assert stuck.waiting.moves == moves
        stuck.stop()
        publisher.released.set()
        wait_until(lambda: not stuck.is_alive)
        assert stuck.is_over
