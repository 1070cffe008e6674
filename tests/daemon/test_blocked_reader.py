"""A reader that was blocked for long: it distrusts the server only if the server may have been unable to send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from bridge.clock import monotonic
from bridge.core.stream.event import Event
from bridge.daemon.stall import STALL_LIMIT, StallDetector
from tests.fakes.session_workers import KEY, RecordingPublisher, session_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import TIMEOUT, wait_until


@dataclass
class BlockingPublisher(RecordingPublisher):
    """Its second call takes longer than a reader may stall, by the session's clock."""

    meanwhile: Callable[[], None] = field(default=lambda: None)
    blocked: float = 0.0
    calls: int = 0

    def submit(self, events: Sequence[Event]) -> None:
        """Block once."""
        super().submit(events)
        self.calls += 1
        if self.calls == 2:
            self.meanwhile()
            self.blocked = STALL_LIMIT + 1

    def now(self) -> float:
        """The clock of the session alone: the rest of the process was not stopped."""
        return monotonic() + self.blocked


@pytest.mark.parametrize(("count", "reconnects"), [(1, False), (200, True)], ids=["little", "much"])
def test_only_much_that_waits_unread_makes_a_blocked_reader_reconnect(count: int, *, reconnects: bool) -> None:
    """With little in the socket the server could send all the time: thousands of readers need not ask again."""
    feed = Feed(1)
    with scripted_mix() as mix, capture_logs() as logs:
        mix.streams = {KEY.session_id: feed}
        publisher = BlockingPublisher()
        worker = session_worker(source(mix.url), publisher, now=publisher.now, stall_detector=StallDetector())

        def meanwhile() -> None:
            connection = worker._connection
            assert connection is not None
            feed.add(count)
            wait_until(lambda: connection.stream.unread > (4096 if reconnects else 0))

        publisher.meanwhile = meanwhile
        worker.start()
        try:
            wait_until(lambda: publisher.calls == 1)
            feed.add(1)
            wait_until(lambda: len(publisher.published) == 2 + count)
        finally:
            worker.stop()
            assert worker.join(monotonic() + TIMEOUT)
    reasons = [line["why"] for line in logs if line["event"] == "reconnecting at once"]
    assert bool(reasons) is reconnects
    assert len(set(publisher.published)) == len(publisher.published) == 2 + count
