"""A Kafka inside this process, for the demo and fast tests: librdkafka's mock cluster on loopback."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import NamedTuple, Self

from confluent_kafka import KafkaException, Producer, cimpl

from bridge.errors import Unreachable

_PRODUCER = 0
"""``RD_KAFKA_PRODUCER``: the cluster belongs to a client, of any kind."""
_REBALANCE_DELAY_MS = 100
"""How long the first member of a consumer group waits for others. The default of 3 s would delay the first event."""
_TEXT_SIZE = 512

_POINTER, _TEXT, _INT, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_FUNCTIONS = {
    "rd_kafka_conf_new": (_POINTER, ()),
    "rd_kafka_conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _TEXT, _SIZE)),
    "rd_kafka_new": (_POINTER, (_INT, _POINTER, _TEXT, _SIZE)),
    "rd_kafka_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_new": (_POINTER, (_POINTER, _INT)),
    "rd_kafka_mock_cluster_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, (_POINTER,)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (_POINTER, ctypes.c_int32)),
}


class MockCluster(NamedTuple):
    """librdkafka's mock cluster, created by its C functions: Python's client cannot configure one."""

    library: ctypes.CDLL
    client: ctypes.c_void_p
    cluster: ctypes.c_void_p
    bootstrap_servers: str


def _new_cluster(brokers: int) -> MockCluster | None:
    """Create a cluster. None if the C functions do not exist or create none."""
    if (library := _library()) is None:
        return None
    error = ctypes.create_string_buffer(_TEXT_SIZE)
    configuration = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(configuration, b"log_level", b"0", error, _TEXT_SIZE)
    if not (client := library.rd_kafka_new(_PRODUCER, configuration, error, _TEXT_SIZE)):
        return None
    if not (cluster := library.rd_kafka_mock_cluster_new(client, brokers)):
        library.rd_kafka_destroy(client)
        return None
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, _REBALANCE_DELAY_MS)
    return MockCluster(library, client, cluster, library.rd_kafka_mock_cluster_bootstraps(cluster).decode())


def _library() -> ctypes.CDLL | None:
    """Return the library that Python's client has loaded; the module that links it finds its functions."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(cimpl.__file__)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        return library
    return None


class EmbeddedKafka:
    """The mock cluster, reachable by any client on this machine while it runs; its records are in memory only.

    It creates topics of 4 partitions when they are first used. It has no topic settings, no CreateTopics and no
    compaction, and shows the records of aborted transactions: it proves no guarantee. One thread at a time.
    """

    def __init__(self, brokers: int = 1) -> None:
        self._brokers = brokers
        self._owner: Producer | None = None
        self._cluster: MockCluster | None = None
        self.bootstrap_servers = ""
        """``host:port,...`` once started; empty before."""

    def start(self, timeout: float = 10.0) -> str:
        """Start the cluster and return its bootstrap servers. Unreachable if it does not answer within ``timeout``."""
        owner = Producer(self._connection() | {"log_level": 0})
        try:
            brokers = owner.list_topics(timeout=timeout).brokers.values()
        except KafkaException as failure:
            raise Unreachable("the embedded Kafka did not start") from failure
        self._owner = owner
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        return self.bootstrap_servers

    def _connection(self) -> dict[str, str | int]:
        self._cluster = _new_cluster(self._brokers)
        if self._cluster is None:
            # The cluster then belongs to the owner, ends with it, and delays consumer groups by 3 s.
            return {"test.mock.num.brokers": self._brokers}
        return {"bootstrap.servers": self._cluster.bootstrap_servers}

    def create_topic(self, name: str, timeout: float = 10.0) -> int:
        """Create the topic if it is missing, and return its number of partitions. Raises Unreachable."""
        if self._owner is None:
            raise Unreachable("the embedded Kafka is not started")
        try:
            # A metadata request creates the topic: there is no CreateTopics.
            return len(self._owner.list_topics(name, timeout=timeout).topics[name].partitions)
        except KafkaException as failure:
            raise Unreachable(f"the embedded Kafka did not create {name}") from failure

    def stop(self) -> None:
        """End the cluster. Can be called twice."""
        self._owner = None
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.library.rd_kafka_mock_cluster_destroy(cluster.cluster)
            cluster.library.rd_kafka_destroy(cluster.client)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
