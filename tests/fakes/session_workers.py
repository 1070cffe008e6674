"""A real session worker whose publisher only records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

from bridge.clock import monotonic
from bridge.core.checkpoint_history import Restored
from bridge.core.identity import Position, SessionKey
from bridge.core.records.checkpoint import Checkpoint
from bridge.core.records.lifecycle import LifecycleEvent
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow, extended
from bridge.daemon.read_linger import ReadLinger
from bridge.daemon.session_stream import SessionStream
from bridge.daemon.session_worker import SessionWorker
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.delivery.lease import Lease
from bridge.delivery.publisher import SessionPublisher
from tests.fakes.membership import SoleOwner
from tests.support.waiting import TIMEOUT

KEY = SessionKey("local", "a")


class _Published(NamedTuple):
    event: Event
    last_event_id: str


@dataclass
class RecordingPublisher:
    """A publisher that numbers events and keeps their data."""

    position: Position = field(default=Position(0, 0, ""))
    overlap_window: OverlapWindow = field(default=OverlapWindow.starting(""))
    epochs: list[str] = field(default_factory=list)
    """The id after which each new epoch resumes."""
    announced: list[str] = field(default_factory=list)
    """The kinds of the lifecycle events."""
    marks: list[OverlapWindow] = field(default_factory=list)
    """The windows written before events."""
    details: list[str] = field(default_factory=list)
    """Their sentences."""
    published: list[str] = field(default_factory=list)
    """The data of all events."""

    def submit(self, events: Sequence[Event]) -> None:
        """Give each event a number."""
        self.published += [event.data for event in events]
        published = [_Published(event, event.last_event_id) for event in events]
        self.overlap_window = extended(self.overlap_window, published)
        self.position = Position(self.position.epoch, self.position.sequence + len(events), events[-1].last_event_id)

    def begin_epoch(self, overlap_window: OverlapWindow, why: LifecycleEvent | None = None) -> None:
        """Start the next epoch."""
        if why is not None:
            self.announce(why)
        self.epochs.append(overlap_window.cursor)
        self.overlap_window = overlap_window
        self.position = Position(self.position.epoch + 1, 0, overlap_window.cursor)

    def announce(self, what: LifecycleEvent) -> None:
        """Record the announcement."""
        self.announced.append(what.kind)
        self.details.append(what.detail)

    def hold_unfinished(self, size: int) -> None:
        """Count nothing."""

    def mark(self, overlap_window: OverlapWindow) -> None:
        """Continue with this window."""
        self.marks.append(overlap_window)
        self.overlap_window = overlap_window

    def end(self, why: LifecycleEvent) -> None:
        """Record the end."""
        self.announced.append(why.kind)

    def stop(self) -> None:
        """Do nothing: nothing waits here."""


def session_worker(  # noqa: PLR0913 - a session and its surroundings
    source: Source,
    publisher: RecordingPublisher,
    restored: Restored | None = None,
    now: Callable[[], float] = monotonic,
    jitter: Callable[[], float] = lambda: 0.5,
    *,
    stall_detector: StallDetector | None = None,
) -> SessionWorker:
    """A worker of a session whose shard nobody else wants. ``stall_detector``: default, one with the clock ``now``."""
    lease, detector = Lease(0, SoleOwner()), stall_detector or StallDetector(now)
    stream = SessionStream(KEY, source, cast("SessionPublisher", publisher), restored, lease, detector, now)
    return SessionWorker(stream, source, ReadLinger(), now, jitter)


@contextmanager
def running_worker(  # noqa: PLR0913 - a session and its surroundings
    source: Source,
    restored: Position | None = None,
    now: Callable[[], float] = monotonic,
    jitter: Callable[[], float] = lambda: 0.5,
    *,
    state: Literal["active", "ended"] = "active",
    is_new: bool = False,
    window: OverlapWindow | None = None,
) -> Iterator[tuple[SessionWorker, RecordingPublisher]]:
    """A running worker and its publisher. ``window``: with known events; default: none are known."""
    publisher, stored = RecordingPublisher(), None
    if restored is not None:
        window = window or OverlapWindow.starting(restored.last_event_id)._replace(is_new=is_new)
        publisher = RecordingPublisher(restored, window)
        stored = Restored(Checkpoint(KEY, restored, state, 0, source.fingerprint, window), is_stale=False)
    worker = session_worker(source, publisher, stored, now, jitter)
    worker.start()
    try:
        yield worker, publisher
    finally:
        worker.stop()
        assert worker.join(monotonic() + TIMEOUT)
