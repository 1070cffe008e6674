"""A session's worker where the system gives it no thread."""

from __future__ import annotations

import threading
from typing import Any, cast

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.daemon.session_states import State
from bridge.daemon.session_worker import SessionWorker
from bridge.daemon.source import Source
from bridge.daemon.stall import StallDetector
from bridge.delivery.lease import Lease, SoleOwner
from bridge.delivery.protocol import Publisher
from bridge.settings import load


class NoOutbox:
    """Nothing is ever submitted."""

    def stop(self) -> None:
        """Nothing waits."""


def test_a_session_without_a_thread_is_over_and_can_be_stopped(monkeypatch: Any) -> None:
    """One process limit must cost one session for a while, not the daemon."""
    values = {"servers.local.url": "http://127.0.0.1:9", "kafka.bootstrap_servers": "127.0.0.1:9"}
    key = SessionKey("local", "a")
    source, lease = Source("local", load(values, {})), Lease(0, SoleOwner())
    worker = SessionWorker(key, source, cast("Publisher", NoOutbox()), None, lease, StallDetector(), lambda: None)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker.start()
    assert (worker.state, worker.is_over) == (State.CRASHED, True)
    assert worker.session_counters.last_error == "can't start new thread"
    worker.stop()
    assert worker.join(monotonic() + 1)
