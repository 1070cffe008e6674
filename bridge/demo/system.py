"""The components of the demo: embedded Kafka, simulated Mix server, bridge, independent consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Self

from bridge.clock import monotonic
from bridge.core.records.topics import PartitionCounts, SizeLimits
from bridge.daemon.daemon import Daemon
from bridge.demo.consumer import EventConsumer
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.demo.summary import Summary, fingerprint, summarize
from bridge.errors import EXIT_OK, Unreachable
from bridge.kafka.topics import TopicLimits
from bridge.settings import Settings, load
from bridge.simulator.faults.kinds import Fault
from bridge.simulator.faults.registry import FaultRecord
from bridge.simulator.faults.schedule import Chaos
from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.options import ServerOptions

_NAMES = (
    *("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heron", "iris", "juniper", "kelp", "lotus"),
    *("maple", "nectar", "opal", "pine", "quartz", "reed", "sage", "tide", "umber", "violet", "willow", "yarrow"),
)
_START_TIMEOUT = 20.0
_POLL_INTERVAL = 0.02
_LARGEST_LAG = 5000
"""Events in flight at which the agents pause: the embedded Kafka deletes all but the last 5 MB of a partition, read or
not."""
_PAGE = 2000
_BATCH_LIMIT = 1_000_000
"""Bytes of a request: the default limit of a real broker."""
_SERVER = "demo"
_CHAOS_INTERVAL = 1.5
"""Average seconds between two faults: long enough to read them, and several are active at the same time."""
_CHAOS_RECONNECT = "2s"
"""Longest wait between two attempts, because the server fails all the time and somebody watches."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of the command."""

    seconds: float | None
    """How long the agents publish; None: until a signal."""
    sessions: int
    rate: float
    """Events a second of each session."""
    seed: int
    chaos: bool = False
    """Whether the server injects random faults that lose no events."""


def names() -> Iterator[str]:
    """Yield session ids without end, all different, short enough to be shown on every line."""
    for lap in count(1):
        yield from _NAMES if lap == 1 else (f"{name}-{lap}" for name in _NAMES)


class DaemonThread:
    """The unchanged bridge daemon on a thread of the demo's process. Thread rule: one thread.

    A thread starts half a second earlier than a process. Only the demo gets Ctrl-C and then shuts the daemon down
    gracefully, and nothing remains when the demo is killed.
    """

    def __init__(self, settings: Settings, limits: TopicLimits) -> None:
        self._daemon = Daemon(settings, lambda *_: limits, lambda *_: None)
        self._exit_code: int | None = None
        self.failure: Exception | None = None
        """Why it ended, unless it was stopped."""
        self._thread = threading.Thread(target=self._run, name="daemon", daemon=True)

    def start(self, timeout: float) -> int:
        """Start it and return the port of its HTTP endpoint. Raises the daemon's own error, or Unreachable."""
        self._thread.start()
        deadline = monotonic() + timeout
        while self._daemon.http_port is None:
            self._thread.join(_POLL_INTERVAL)
            if self.failure is not None:
                raise self.failure
            if monotonic() > deadline:
                raise Unreachable(f"the bridge did not start within {timeout:g} s")
        return self._daemon.http_port

    def _run(self) -> None:
        try:
            self._exit_code = self._daemon.run()
        except Exception as failure:  # noqa: BLE001 - the demo's thread raises it again
            self.failure = failure

    @property
    def is_well(self) -> bool:
        """Whether it runs, or has ended with everything delivered."""
        return self._thread.is_alive() or self._exit_code == EXIT_OK

    def stop(self) -> None:
        """Request a graceful shutdown; the second call, an immediate end."""
        self._daemon.stop()

    def join(self, deadline: float) -> bool:
        """Wait for its end until ``deadline`` (:func:`bridge.clock.monotonic`). Return whether it has ended."""
        self._thread.join(max(0.0, deadline - monotonic()))
        return not self._thread.is_alive()


class DemoSystem:
    """All components. One thread; a context manager that stops what was started, except after an error.

    After an error the process must end at once: to destroy the embedded Kafka while the daemon's clients still use it
    crashes or hangs the process (15 of 90 immediate ends).
    """

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._names = names()
        self._kafka = EmbeddedKafka()
        chaos = Chaos(options.seed, _CHAOS_INTERVAL) if options.chaos else None
        self.faults: queue.SimpleQueue[FaultRecord[Fault]] = queue.SimpleQueue()
        """The server's faults, as they begin and end."""
        server = ServerOptions(port=0, sessions=0, rate=options.rate, seed=options.seed, chaos=chaos)
        self._server = MixServer(server, self.faults.put)
        self._cleanup = ExitStack()
        self._is_paused = False
        self.sent = 0
        """Events that the server had published at the last ``lag``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self._cleanup.close()

    def start(self, report: Callable[[str, str, str], None]) -> None:
        """Start one component after the other, and report each: its name, its address and a remark.

        The agents start before the bridge: it must not miss the events that were published before.
        """
        self._cleanup.callback(self._kafka.stop)
        brokers = self._kafka.start()
        settings = self._settings(brokers, "http://unknown.invalid")
        topics = settings.topics
        needed = (topics.events, topics.dead_letters, topics.lifecycle, topics.checkpoints)
        partitions = {name: self._kafka.create_topic(name) for name in needed}
        suffixes = ", ".join(name.removeprefix(settings.namespace) for name in needed)
        report("Kafka", brokers, f"embedded, topics {settings.namespace}{suffixes}")
        url = self._start_server()
        report("Mix server", url, f"{self._options.sessions} agent sessions, {self._options.rate:g} events/s each")
        event_topics = {name: partitions[name] for name in (topics.events, topics.dead_letters)}
        self.consumer = EventConsumer(brokers, event_topics)
        self._cleanup.callback(self.consumer.stop)
        self.consumer.start()
        sizes, counts = SizeLimits(default=_BATCH_LIMIT), PartitionCounts(partitions)
        limits = TopicLimits(partitions[topics.checkpoints], sizes, counts=counts)
        self.daemon = DaemonThread(self._settings(brokers, url), limits)
        self._cleanup.callback(self.daemon.stop)
        port = self.daemon.start(_START_TIMEOUT)
        report("bridge", f"http://127.0.0.1:{port}", "with /api/status and /metrics")

    def _start_server(self) -> str:
        self._cleanup.callback(self._server.stop)
        url = self._server.start()
        for _ in range(self._options.sessions):
            self._server.create_session(session_id=next(self._names), announce=False)
        return url

    # --- while it runs

    def sessions(self) -> list[str]:
        return self._server.sessions()

    def lag(self) -> int:
        """Ask the server how many events were sent, and return how many of them have not arrived yet."""
        self.sent = sum(self._server.journalled().values())
        return max(0, self.sent - self.consumer.received.accepted)

    def limit_lag(self) -> None:
        lag = self.lag()
        if not self._is_paused and lag > _LARGEST_LAG:
            self._is_paused = True
            self._server.pause()
        elif self._is_paused and lag < _LARGEST_LAG // 2:
            self._is_paused = False
            self._server.resume()

    def create_session(self) -> str:
        return self._server.create_session(session_id=next(self._names))

    def delete_session(self) -> str | None:
        """Delete a session and return its name. None if no session can be deleted without losing events."""
        if self._options.chaos:
            return None  # a session that is deleted while its stream is broken takes unread events with it
        # A session with arrived events has an open stream, which delivers its last events.
        sessions, arrived = self._server.sessions(), self.consumer.received.sessions()
        name = next((each for each in sessions if each in arrived), None)
        if name is None or len(sessions) == 1:
            return None
        self._server.delete_session(name)
        return name

    # --- at the end

    def quiesce(self) -> None:
        self._server.pause()
        self._server.end_faults()

    def summary(self) -> Summary:
        """Compare the journal with what arrived. Call it after the consumer has finished."""
        journal = ((session, list(self._sent_by(session))) for session in self._server.journalled())
        return summarize(journal, self.consumer.received)

    def _sent_by(self, session: str) -> Iterator[bytes]:
        after = 0
        while page := self._server.journal(session, after, _PAGE):
            yield from (fingerprint(entry.id, entry.event, entry.data) for entry in page)
            after = page[-1].sequence

    def _settings(self, bootstrap_servers: str, url: str) -> Settings:
        """Return the bridge's settings for its shortest use, without a file and with an empty environment."""
        overrides = {"kafka.bootstrap_servers": bootstrap_servers, "http.port": "0"}
        if self._options.chaos:
            overrides[f"servers.{_SERVER}.reconnect_max"] = _CHAOS_RECONNECT
        return load(overrides, {}, servers={_SERVER: url}, to_run=True)
