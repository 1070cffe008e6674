"""The parts of the demo, put together: embedded Kafka, simulated Mix server, bridge, independent consumer."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from bridge.demo.consumer import EventConsumer
from bridge.demo.daemon_thread import DaemonThread
from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.demo.personas import Change, Wishes, names
from bridge.demo.summary import Verdict, fingerprint, judge
from bridge.kafka.topics import TopicLimits
from bridge.settings import Settings, load
from bridge.simulator.faults.registry import FaultRecord
from bridge.simulator.faults.schedule import Chaos
from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.options import ServerOptions

Tell = Callable[[str, str, str], None]
"""(part, where it is, remark)"""

_PATIENCE = 20.0
_MOST_BEHIND = 5000
"""Events on the way, at which the agents fall silent for a moment: the embedded Kafka throws away what is older than
the last 5 MB of its partition, read or not."""
_PAGE = 2000
_BATCH_LIMIT = 1_000_000
"""Bytes of a request: what a real broker takes by default."""
_SERVER = "demo"
_CHAOS_INTERVAL = 1.5
"""Seconds between two faults on average: enough to be read, and none of them the only one of its time."""
_CHAOS_RECONNECT = "2s"
"""Longest wait between two tries where servers fail all the time and somebody watches."""


class Stage:
    """Everything that plays. One thread; a context manager that ends what was started."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._names = names()
        self._kafka = EmbeddedKafka()
        chaos = Chaos(wishes.seed, _CHAOS_INTERVAL) if wishes.chaos else None
        self.faults: queue.SimpleQueue[FaultRecord] = queue.SimpleQueue()
        """What the server does wrong, as it begins and ends."""
        options = ServerOptions(port=0, sessions=0, rate=wishes.rate, seed=wishes.seed, chaos=chaos)
        self._server = MixServer(options, self.faults.put)
        self._after = ExitStack()
        self._is_held = False
        self.sent = 0
        """Events that the server has published, when it was last asked."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._after.close()

    def start(self, tell: Tell) -> None:
        """Start one after the other, the agents before the bridge: nothing of what they said before may be missing."""
        self._after.callback(self._kafka.stop)
        brokers = self._kafka.start()
        settings = self._settings(brokers, "http://unknown.invalid")
        topics = settings.topics
        needed = (topics.events, topics.dead_letters, topics.lifecycle, topics.checkpoints)
        partitions = {name: self._kafka.create_topic(name) for name in needed}
        endings = (name.removeprefix(settings.namespace) for name in partitions)
        tell("Kafka", brokers, f"embedded, topics {settings.namespace}{', '.join(endings)}")
        url = self._start_server()
        tell("Mix server", url, f"{self._wishes.sessions} agent sessions, {self._wishes.rate:g} events/s each")
        ground = TopicLimits(partitions.pop(topics.checkpoints), _BATCH_LIMIT)
        del partitions[topics.lifecycle]  # it tells of the streams, and holds none of their events
        self._start_consumer(brokers, partitions)
        port = self._start_daemon(self._settings(brokers, url), ground)
        tell("bridge", f"http://127.0.0.1:{port}", "look meanwhile: /api/status /metrics")

    def _start_server(self) -> str:
        self._after.callback(self._server.stop)
        url = self._server.start()
        for _ in range(self._wishes.sessions):
            self._server.create_session(session_id=next(self._names), announce=False)
        return url

    def _start_consumer(self, brokers: str, partitions: dict[str, int]) -> None:
        self.consumer = EventConsumer(brokers, partitions)
        self._after.callback(self.consumer.stop)
        self.consumer.start()

    def _start_daemon(self, settings: Settings, ground: TopicLimits) -> int:
        self.daemon = DaemonThread(settings, lambda _: ground)
        self._after.callback(self.daemon.stop)
        return self.daemon.start(_PATIENCE)

    # --- while it runs

    def sessions(self) -> list[str]:
        """The sessions there are now, oldest first."""
        return self._server.sessions()

    def behind(self) -> int:
        """Events that were sent and have not arrived yet; asks the server."""
        self.sent = sum(self._server.journalled().values())
        return max(0, self.sent - self.consumer.ledger.accepted)

    def keep_up(self) -> None:
        """Let the agents fall silent while the consumer is far behind."""
        behind = self.behind()
        if not self._is_held and behind > _MOST_BEHIND:
            self._is_held = True
            self._server.pause()
        elif self._is_held and behind < _MOST_BEHIND // 2:
            self._is_held = False
            self._server.resume()

    def change(self, change: Change) -> str | None:
        """A session comes or goes; its name, None if it had to be left out."""
        if change is Change.CREATE:
            return self._server.create_session(session_id=next(self._names))
        if self._wishes.chaos:
            return None  # deleted while its stream is broken, it would take with it what nobody has read yet
        # Where something has arrived, a stream is open: what the session says last still goes through.
        living, known = self._server.sessions(), self.consumer.ledger.sessions()
        name = next((each for each in living if each in known), None)
        if name is None or len(living) == 1:
            return None
        self._server.delete_session(name)
        return name

    # --- the end

    def silence(self) -> None:
        """The agents say no more, and nothing more goes wrong."""
        self._server.pause()
        self._server.end_faults()

    def verdict(self) -> Verdict:
        """Compare the journal with what arrived. After the consumer has finished."""
        return judge(self._journal(), self.consumer.ledger)

    def _journal(self) -> Iterator[tuple[str, list[bytes]]]:
        for session in self._server.journalled():
            yield session, list(self._sent_by(session))

    def _sent_by(self, session: str) -> Iterator[bytes]:
        after = 0
        while page := self._server.journal(session, after, _PAGE):
            yield from (fingerprint(entry.id, entry.event, entry.data) for entry in page)
            after = page[-1].sequence

    def _settings(self, bootstrap_servers: str, url: str) -> Settings:
        """The bridge's settings as its shortest use makes them: of no file, and of an empty environment."""
        overrides = {"kafka.bootstrap_servers": bootstrap_servers, "http.port": "0"}
        if self._wishes.chaos:
            overrides[f"servers.{_SERVER}.reconnect_max"] = _CHAOS_RECONNECT
        return load(overrides, {}, servers={_SERVER: url}, to_run=True)
