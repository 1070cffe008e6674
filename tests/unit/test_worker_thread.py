"""A session's worker where the system gives it no thread."""

from __future__ import annotations

import threading
from typing import Any, cast

from bridge.clock import monotonic
from bridge.core.identity import SessionKey
from bridge.core.states import State
from bridge.daemon.pulse import Pulse
from bridge.daemon.source import Source
from bridge.daemon.worker import Worker
from bridge.delivery.protocol import Outbox
from bridge.delivery.tenure import SoleOwner, Tenure
from bridge.settings import load


class NoOutbox:
    """Nothing is ever submitted."""

    def stop(self) -> None:
        """Nothing waits."""


def test_a_session_without_a_thread_is_over_and_can_be_stopped(monkeypatch: Any) -> None:
    """One process limit must cost one session for a while, not the daemon."""
    values = {"servers.local.url": "http://127.0.0.1:9", "kafka.bootstrap_servers": "127.0.0.1:9"}
    key = SessionKey("local", "a")
    source, tenure = Source("local", load(values, {})), Tenure(0, SoleOwner())
    worker = Worker(key, source, cast("Outbox", NoOutbox()), None, tenure, Pulse(), lambda: None)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker.start()
    assert (worker.state, worker.is_over) == (State.CRASHED, True)
    assert worker.readings.last_error == "can't start new thread"
    worker.stop()
    assert worker.join(monotonic() + 1)
