"""A Kafka inside this process, for the demo and quick tests: librdkafka's mock cluster on loopback."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException, Producer

from bridge.demo.mock_cluster import MockCluster, NoMockCluster
from bridge.errors import Unreachable


class EmbeddedKafka:
    """The mock cluster, reachable by any client on this machine while it runs; its records live in memory only.

    It creates topics of 4 partitions when they are first used. It has no topic settings, no CreateTopics and no
    compaction, and shows the records of aborted transactions: no guarantee is ever proved on it. One thread at a time.
    """

    def __init__(self, brokers: int = 1) -> None:
        self._brokers = brokers
        self._owner: Producer | None = None
        self._cluster: MockCluster | None = None
        self.bootstrap_servers = ""
        """``host:port,...`` once started; empty before."""

    def start(self, timeout: float = 10.0) -> str:
        """Start the cluster; its bootstrap servers. Unreachable if it does not answer within ``timeout`` seconds."""
        owner = Producer(self._where() | {"log_level": 0})
        try:
            brokers = owner.list_topics(timeout=timeout).brokers.values()
        except KafkaException as failure:
            raise Unreachable("the embedded Kafka did not start") from failure
        self._owner = owner
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        return self.bootstrap_servers

    def _where(self) -> dict[str, str | int]:
        try:
            self._cluster = MockCluster(self._brokers)
        except NoMockCluster:
            # It then belongs to the client that asks for it, lives as long, and lets consumer groups wait for 3 s.
            return {"test.mock.num.brokers": self._brokers}
        return {"bootstrap.servers": self._cluster.bootstrap_servers}

    def create_topic(self, name: str, timeout: float = 10.0) -> int:
        """Make sure the topic is there; how many partitions it has. Unreachable if the cluster does not answer."""
        if self._owner is None:
            raise Unreachable("the embedded Kafka is not started")
        try:
            # To ask for a topic is what creates it: there is no CreateTopics.
            return len(self._owner.list_topics(name, timeout=timeout).topics[name].partitions)
        except KafkaException as failure:
            raise Unreachable(f"the embedded Kafka did not create {name}") from failure

    def stop(self) -> None:
        """End the cluster and forget its records. Can be called twice."""
        self._owner = None
        if self._cluster is not None:
            self._cluster.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
