"""Puts bridges into each trouble that an alert is for: the alert fires on their real metrics, and no query is empty."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from tests.fakes.raw_server import Peer
from tests.support.broker import Broker
from tests.support.monitoring import alerts, queries, series_in
from tests.support.process import MIX_BRIDGE, Bridge
from tests.support.scene import settings, wait_acknowledged
from tests.support.scraped import Scrape, assert_fires, assert_panels_show_something, in_trouble
from tests.support.scripted_mix import Feed, ScriptedMix, block, content, contents, cut, scripted_mix, send
from tests.support.topics import alter
from tests.support.waiting import let_pass, wait_until
from tests.torture.run import Place

_DEADLINE = 120.0
_STUCK_FOR = 35.0
"""Seconds without a heartbeat: more than the rule allows."""
_REPORTS = 12.0
"""Seconds in which each producer reports its statistics: those of the topic's new limit too."""
_OUTAGE = 125.0
"""Seconds without Kafka: more than the rule about records that are stuck allows."""
_KILLS = 3
"""After the third one the worker is away for 2 s."""
_AWAY: dict[str, object] = {
    "kafka.bootstrap_servers": "127.0.0.1:9",
    "servers.local.url": "http://127.0.0.1:9",
    "start_timeout": 0,
}
_PROGRAM = """
import pathlib, sys, threading
from bridge.kafka.producer import IdempotentProducer as Producer
poll, file, never = Producer.poll, pathlib.Path(sys.argv.pop(1)), threading.Event()
def stuck(self, timeout):
    while file.exists():
        never.wait(0.1)
    return poll(self, timeout)
Producer.poll = stuck
from bridge.cli import main
sys.exit(main())
"""
"""A bridge whose delivery thread does not move while a file exists."""
_OF_SERVERS = {
    "MixBridgeEventsMissing", "MixBridgeUnresumable", "MixBridgeDeadLetters", "MixBridgeServerUnreachable",
    "MixBridgeSessionsNotBridged", "MixBridgeSessionsRefused", "MixBridgeCertificateExpires",
}  # fmt: skip
_NOTHING = Scrape({})


def each_fires(folder: Path) -> None:
    """Provoke one trouble after the other; raises AssertionError with promtool's answer."""
    with Broker(folder / "kafka") as broker, scripted_mix() as mix:
        place, load = Place(folder, broker.bootstrap, "t"), _serve(mix)
        with _bridge(place, mix, "a") as bridge:
            wait_acknowledged(bridge, "load", 3)
            provoked = _Provoked(place, bridge)
            provoked.servers(mix)
            provoked.replicas(lambda: _bridge(place, mix, "b"))
            provoked.topic()
            provoked.descriptors()
            provoked.worker()
            provoked.outage(broker, load)
        provoked.stuck(mix)
    assert provoked.fired == {each["alert"] for each in alerts()}
    print(f"| each of {len(provoked.fired)} alert rules, in its trouble | 1 | | | | | | |", flush=True)


@dataclass
class _Provoked:
    """What was provoked so far, of one bridge."""

    place: Place
    bridge: Bridge
    fired: set[str] = field(default_factory=set)
    well: Scrape = _NOTHING
    """Once all troubles of the servers were counted."""
    parent: Scrape = _NOTHING
    """Of a process that supervises workers, one of which does not run."""

    def servers(self, mix: ScriptedMix) -> None:
        """A gap, no ids, invalid data, a server away and its old certificate from the start; then many sessions."""
        value = self._value
        self._wait(lambda: value("gaps_total", server="local") > 0, "a gap")
        self._wait(lambda: value("unresumable_total", server="noids") > 0, "a stream that cannot be resumed")
        self._wait(lambda: value("dead_letters_total", server="local", reason="schema") > 0, "a dead letter")
        mix.list("load", "gap", "dead", "more", "most")
        self._wait(lambda: value("sessions_not_bridged", server="local") > 0, "too many sessions")
        self._wait(lambda: value("sessions", server="refusing", state="refused") > 0, "a refused session")
        self._wait(lambda: value("ready") == 1 and value("shards", state="owned") == 2, "readiness")
        self.well = Scrape.of(self.bridge)
        self._fires(_OF_SERVERS, [self.well], before=_NOTHING, all_others_silent=True)

    def replicas(self, another: Callable[[], AbstractContextManager[Bridge]]) -> None:
        """A second one with other settings, which is then killed."""
        with another() as other:
            self._wait(lambda: all(_owned(each) == 1 for each in (self.bridge, other)), "one shard each")
            self._fires({"MixBridgeSettingsDiffer"}, [Scrape.of(self.bridge), Scrape.of(other)])
            other.kill()
            self._fires({"MixBridgeDown", "MixBridgeShardsUnowned"}, [Scrape.of(self.bridge), Scrape.of(other)])
        self._wait(lambda: _owned(self.bridge) == 2, "the other's shard")

    def topic(self) -> None:
        """Somebody compacts the events topic, and lowers its limit."""
        topic = f"{self.place.namespace}.events"
        alter(self.place.kafka, topic, cleanup_policy="compact", max_message_bytes=1_000_000)
        self._wait(lambda: self._value("topic_trouble", topic=topic) == 1, "the problem")
        self._wait(lambda: self._value("topic_changes_total", topic=topic, change="limit") == 1, "the change")
        self._fires({"MixBridgeTopicTrouble"}, [Scrape.of(self.bridge)])
        alter(self.place.kafka, topic, cleanup_policy="delete")
        self._wait(lambda: self._value("topic_trouble", topic=topic) == 0, "the solution")

    def descriptors(self) -> None:
        """The limit is a few files above what is open."""
        before = resource.prlimit(self.bridge.pid, resource.RLIMIT_NOFILE)
        few = int(self._value("process_open_fds")) + 6
        resource.prlimit(self.bridge.pid, resource.RLIMIT_NOFILE, (few, before[1]))
        self._fires({"MixBridgeDescriptorsNearLimit"}, [Scrape.of(self.bridge)])
        resource.prlimit(self.bridge.pid, resource.RLIMIT_NOFILE, before)

    def worker(self) -> None:
        """One of two workers of another process is killed again and again: it is started later each time."""
        chosen = _AWAY | {"workers": 2}
        with Bridge(self.place.folder / "workers", chosen).start() as parent:
            for killed in range(_KILLS):
                wait_until(lambda: _of_worker(parent, "up") == 1, _DEADLINE, "a running worker", 0.1)
                wait_until(lambda n=killed: len(_workers(parent)) == n + 1, _DEADLINE, "its process", 0.1)  # type: ignore[misc]
                os.kill(_workers(parent)[-1], signal.SIGKILL)
                wait_until(lambda: _of_worker(parent, "up") == 0, _DEADLINE, "its end", 0.1)
            self.parent = Scrape.of(parent)
        self._fires({"MixBridgeWorkerDown"}, [self.parent], before=_NOTHING)

    def outage(self, broker: Broker, load: Feed) -> None:
        """Kafka is paused under load; afterwards the latency is as long as the outage."""
        load.add(1)
        let_pass(_REPORTS)
        assert self._has("kafka_round_trip_seconds")
        broker.pause()
        for _ in range(400):
            load.push("content", content("x" * 20_000))
        self._wait(
            lambda: _age(Scrape.of(self.bridge), "oldest_unacknowledged") > _OUTAGE,
            "records that are stuck",
            2 * _OUTAGE,
        )
        found = Scrape.of(self.bridge)
        fires = {"MixBridgeNotReady", "MixBridgeKafkaSilent", "MixBridgeRecordsStuck", "MixBridgeBufferNearlyFull"}
        self._fires(fires, [found])
        used = [each["expr"] for each in alerts()] + [each.expression for each in queries()]
        present = {name for scrape in (found, self.parent) for name, _ in scrape.values}
        assert {name for each in used for name in series_in(each)} - present == set()
        assert_panels_show_something(self.place.folder, in_trouble(self.well, [found, self.parent]))
        broker.resume()
        self._wait(lambda: self._value("records_in_flight", server="local") == 0, "the delivery of all records")
        self._fires({"MixBridgeLatencyHigh"}, [Scrape.of(self.bridge)])

    def stuck(self, mix: ScriptedMix) -> None:
        """The delivery thread of another process does not move."""
        file = self.place.folder / "stuck"
        with _bridge(self.place, mix, "c", (MIX_BRIDGE[0], "-c", _PROGRAM, str(file))) as bridge:
            self.bridge = bridge
            self._wait(lambda: self._value("restored") == 1, "the restore")
            file.touch()
            self._wait(lambda: _age(Scrape.of(bridge), "last_heartbeat", loop="delivery") > _STUCK_FOR, "a stuck loop")
            self._fires({"MixBridgeLoopStuck"}, [Scrape.of(bridge)])
            file.unlink()

    def _has(self, name: str) -> bool:
        return any(found == f"mix_bridge_{name}" for found, _ in Scrape.of(self.bridge).values)

    def _value(self, name: str, **labels: str) -> float:
        return Scrape.of(self.bridge).value(f"mix_bridge_{name}", **labels)

    def _wait(self, condition: Callable[[], bool], what: str, deadline: float = _DEADLINE) -> None:
        wait_until(condition, deadline, f"{what}, see {self.bridge.log}", 0.2)

    def _fires(
        self, names: set[str], now: list[Scrape], *, before: Scrape | None = None, all_others_silent: bool = False
    ) -> None:
        others: Iterable[str] = {each["alert"] for each in alerts()} - names if all_others_silent else ()
        series = in_trouble(self.well if before is None else before, now)
        assert_fires(self.place.folder, series, fires=names, silent=others)
        self.fired |= names


def _of_worker(parent: Bridge, name: str) -> float:
    return Scrape.of(parent).value(f"mix_bridge_worker_{name}", worker="1")


def _workers(parent: Bridge) -> list[int]:
    """The processes of the first worker, the present one last."""
    return [line["pid"] for line in parent.log_lines() if line["event"] == "worker started" and line["worker"] == 1]


def _owned(bridge: Bridge) -> float:
    return Scrape.of(bridge).value("mix_bridge_shards", state="owned")


def _age(scrape: Scrape, name: str, **labels: str) -> float:
    return scrape.at - scrape.value(f"mix_bridge_{name}_timestamp_seconds", **labels)


def _serve(mix: ScriptedMix) -> Feed:
    """Serve one good session, and one for each trouble; returns the good one."""

    def with_gap(peer: Peer) -> None:
        is_first = len(mix.ids_of("gap")) == 1
        send(peer, contents(1, 2, 3) if is_first else contents(8, 9))
        if not is_first:
            peer.hold()

    def broken(peer: Peer) -> None:
        send(peer, [*contents(1), block("2", "content", "{}")])
        peer.hold()

    without_id = cut(block(None, "content", content("no id")))
    mix.serve({"load": (load := Feed(3)), "gap": with_gap, "dead": broken})
    mix.streams |= {"n": without_id, "r": without_id}
    return load


def _expiring(folder: Path) -> Path:
    """A certificate with less time than the rule demands."""
    file = folder / "expiring.pem"
    if not file.exists():
        soon = datetime.now(UTC) + timedelta(days=10)
        trustme.CA().issue_cert("localhost", not_after=soon).cert_chain_pems[0].write_to_path(file)
    return file


@contextmanager
def _bridge(place: Place, mix: ScriptedMix, instance: str, program: tuple[str, ...] = MIX_BRIDGE) -> Iterator[Bridge]:
    more = {
        "instance": instance,
        "servers.local.max_sessions": 3,
        "servers.noids.url": mix.url,
        "servers.noids.sessions": "n",
        "servers.noids.discover": False,
        "servers.noids.without_ids": "accept",
        "servers.refusing.url": mix.url,
        "servers.refusing.sessions": "r",
        "servers.refusing.discover": False,
        "servers.away.url": "https://127.0.0.1:9",
        "servers.away.ca_file": _expiring(place.folder),
        "delivery.max_buffer_bytes": "4MiB",
        "kafka.group_session_timeout": "6s",
        "events.skip": "nothing" if instance == "a" else "something",
    }
    bridge = Bridge(place.folder / instance, settings(place.kafka, place.namespace, mix.url, more), program)
    with bridge.start():
        yield bridge
