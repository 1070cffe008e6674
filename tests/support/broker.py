"""Real Kafka brokers for tests: KRaft mode, on loopback, killed and paused by pid.

A broker never outlives the process that started it (see ``tests.support.processes``).
"""

from __future__ import annotations

import fcntl
import logging
import random
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.archive import flags
from tests.support.forked import Process
from tests.support.formatted import format_data, new_id
from tests.support.jars import HERE, TARGET, classpath, java
from tests.support.processes import spawn
from tests.support.waiting import TIMEOUT, wait_until

# C1 code only, the serial collector, no class verification, no performance file: the broker listens a second earlier.
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto", "-Xss512k")
# For measurements: the compiler and the collector that people run brokers with.
FULL_SPEED = ("-XX:-UsePerfData",)

# Below the range the kernel picks client ports from (32768 on), so that no connection of a test sits on a broker's
# port while that broker is down and about to restart on it.
_PORTS = range(15_000, 30_000)

# A first start on two busy cores took up to 12 s; a broker that needs a minute is broken.
_START_DEADLINE = 60.0

_SINGLE = {
    "auto.create.topics.enable": "false",
    "delete.topic.enable": "true",
    # Groups in tests have one or two members: no need to wait for more.
    "group.initial.rebalance.delay.ms": "0",
    # So that tests may ask for short session timeouts (the broker's default minimum is 6 s).
    "group.min.session.timeout.ms": "500",
    # Each partition of an internal topic is a directory with files: few of them make the first use quick.
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.num.partitions": "1",
    # Timed-out transactions are aborted within a second instead of ten.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "transaction.max.timeout.ms": "900000",
    "num.partitions": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.cleaner.threads": "1",
}

# The controller notices a killed broker after 2 s, not 9 s; it refuses the broker's return before that.
_QUICK_RETURN = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "400"}

# Leaders of a cluster move within seconds, elections of its controllers are short.
_QUICK_FAILOVER = {
    "controller.quorum.fetch.timeout.ms": "1500",
    "controller.quorum.election.timeout.ms": "500",
}


class _Address:
    """The ports of one node of a cluster."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.client_port = _free_port()
        self.controller_port = _free_port()


_PORT_LOCKS = TARGET / "ports"
_RESERVED: list[IO[str]] = []
"""Locks on the ports of this process's brokers, also while these are down; the kernel releases them at its end."""


def _free_port() -> int:
    for port in random.sample(_PORTS, 50):
        if _reserve(port):
            return port
    raise RuntimeError("50 random ports of the loopback interface are all taken")


def _reserve(port: int) -> bool:
    """Whether the port is free; then no other test process takes it while its broker is down."""
    _PORT_LOCKS.mkdir(parents=True, exist_ok=True)
    lock = (_PORT_LOCKS / str(port)).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            # As the broker binds: otherwise a port with a connection in TIME_WAIT looks taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        lock.close()
        return False
    _RESERVED.append(lock)
    return True


class Broker:
    """One broker, which is its own controller or one of a quorum. Used by one thread at a time.

    ``start()`` may follow ``kill()`` and ``terminate()``: same data, same ports. ``listeners`` names further
    listeners, such as ``SASL_SSL``; ``properties`` must configure them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        properties: Mapping[str, str] | None = None,
        listeners: Sequence[str] = (),
        jvm: Sequence[str] = QUICK_START,
        heap: str = "512m",
    ) -> None:
        self._prepare(folder, _Address(1), properties or {}, jvm, heap)
        self._ports |= {protocol: _free_port() for protocol in listeners}
        self._join([self.address], new_id())

    @classmethod
    def _of_cluster(cls, folder: Path, address: _Address, properties: Mapping[str, str], heap: str) -> Self:
        broker = cls.__new__(cls)
        broker._prepare(folder, address, properties, QUICK_START, heap)
        return broker

    def _prepare(
        self, folder: Path, address: _Address, properties: Mapping[str, str], jvm: Sequence[str], heap: str
    ) -> None:
        self.folder = folder
        self.address = address
        self.log = folder / "broker.log"
        self._properties = properties
        self._ports = {"PLAINTEXT": address.client_port}
        self._java = [*jvm, f"-Xmx{heap}", "-Xms128m"]
        self._process: Process | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def _join(self, quorum: Sequence[_Address], cluster_id: str) -> None:
        """Write this node's settings and format its data folder; before the first start."""
        replicas = str(min(3, len(quorum)))
        listeners = [f"{protocol}://127.0.0.1:{port}" for protocol, port in self._ports.items()]
        protocols = ["CONTROLLER:PLAINTEXT", *(f"{protocol}:{protocol}" for protocol in self._ports)]
        lines = {
            "process.roles": "broker,controller",
            "node.id": str(self.address.node),
            "controller.quorum.voters": ",".join(f"{one.node}@127.0.0.1:{one.controller_port}" for one in quorum),
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{self.address.controller_port}"]),
            "advertised.listeners": ",".join(listeners),
            "listener.security.protocol.map": ",".join(protocols),
            "log.dirs": str(self._data),
            "default.replication.factor": replicas,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": "1",
            **_SINGLE,
            **_QUICK_RETURN,
            **(_QUICK_FAILOVER if len(quorum) > 1 else {}),
            **self._properties,
        }
        self._settings.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        self.format(cluster_id)

    def format(self, cluster_id: str) -> None:
        """Prepare an empty data folder; another id than before makes it another cluster."""
        topics = Path(self._properties.get("log.dirs", self._data))
        metadata = Path(self._properties.get("metadata.log.dir", topics))
        format_data(topics, metadata, cluster_id, self.address.node)

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _command(self, main: str, *arguments: str | Path) -> list[str]:
        logging_to = f"-Dlog4j2.configurationFile=file:{HERE / 'log4j2.properties'}"
        jars = classpath()
        archive = flags() if set(QUICK_START) <= set(self._java) else []
        return [java(), *self._java, *archive, logging_to, "-cp", jars, main, *map(str, arguments)]

    @property
    def bootstrap(self) -> str:
        """``bootstrap.servers`` for clients."""
        return f"127.0.0.1:{self.address.client_port}"

    def bootstrap_of(self, protocol: str) -> str:
        """``bootstrap.servers`` of one of the further listeners."""
        return f"127.0.0.1:{self._ports[protocol]}"

    @property
    def data(self) -> Path:
        """The folder of its topics, with one folder for each partition."""
        return self._data

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """True between a start and the end of the process, also while it is paused."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> Self:
        """Start the broker; with ``wait``, return once it answers clients."""
        if self.running:
            raise RuntimeError("the broker runs already")
        self._process = spawn(self._command("kafka.Kafka", self._settings), log=self.log)
        return self.wait_ready() if wait else self

    def wait_ready(self, brokers: int = 1) -> Self:
        """Return once this broker answers and lists this number of live brokers."""
        wait_until(self._alive_and_listening, _START_DEADLINE, f"broker on {self.bootstrap}, see {self.log}", 0.05)
        answering(self.bootstrap, brokers)
        return self

    def _alive_and_listening(self) -> bool:
        if not self.running:
            raise RuntimeError(f"the broker ended while it started:\n{self.log.read_text(errors='replace')[-4000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.address.client_port)) == 0

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, and clients see their connections end. Can be called twice."""
        if self._process is not None:
            self._process.kill()  # also ends a paused one
            self._process.wait()
            self._process = None

    def terminate(self, timeout: float = TIMEOUT) -> None:
        """SIGTERM: a controlled shutdown. Can be called twice."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout)
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and the broker answers nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after ``pause()``."""
        self._running().send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill the broker and delete its data; its log stays. Can be called twice."""
        self.kill()
        shutil.rmtree(self._data, ignore_errors=True)

    def _running(self) -> Process:
        if self._process is None:
            raise RuntimeError("the broker does not run")
        return self._process

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()


class Cluster:
    """Several brokers, each also a controller: three survive the loss of one. Used by one thread at a time."""

    def __init__(self, folder: Path, size: int = 3, *, properties: Mapping[str, str] | None = None) -> None:
        addresses = [_Address(node) for node in range(1, size + 1)]
        self.brokers = [
            Broker._of_cluster(folder / str(address.node), address, properties or {}, "384m") for address in addresses
        ]
        cluster_id = new_id()
        for broker in self.brokers:
            broker._join(addresses, cluster_id)

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, so that clients find the cluster while one is down."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def start(self) -> Self:
        """Start all brokers and return once each lists all."""
        for broker in self.brokers:
            broker.start(wait=False)
        for broker in self.brokers:
            broker.wait_ready(len(self.brokers))
        return self

    def leader_of(self, topic: str, partition: int = 0) -> Broker:
        """Return the present leader of a partition."""
        known = quiet_admin(self.bootstrap).list_topics(topic, timeout=TIMEOUT)
        leader = known.topics[topic].partitions[partition].leader
        return next(broker for broker in self.brokers if broker.address.node == leader)

    def remove(self) -> None:
        """Kill all brokers and delete their data. Can be called twice."""
        for broker in self.brokers:
            broker.remove()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()


def quiet_admin(bootstrap: str) -> AdminClient:
    """An admin client that does not write refused connections to the standard error of the tests."""
    silent = logging.getLogger("tests.support.admin")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    # By default, this client's request for the metadata of one topic makes a broker create the topic.
    waits: dict[str, int | bool] = {"reconnect.backoff.max.ms": 100, "allow.auto.create.topics": False}
    return AdminClient({"bootstrap.servers": bootstrap, **waits}, logger=silent)


def answering(bootstrap: str, brokers: int = 1, deadline: float = _START_DEADLINE) -> None:
    """Return once a cluster answers with this number of live brokers and a controller."""
    admin = quiet_admin(bootstrap)

    def known() -> bool:
        try:
            cluster = admin.describe_cluster(request_timeout=2).result(3)
        except (KafkaException, TimeoutError):
            return False
        return len(cluster.nodes) >= brokers and cluster.controller is not None

    wait_until(known, deadline, f"{brokers} broker(s) at {bootstrap}", 0.05)
