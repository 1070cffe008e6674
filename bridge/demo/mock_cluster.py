"""librdkafka's mock cluster, made through its C functions: Python's client can make one too, but not set it up.

The one thing set up here is how long the first member of a consumer group waits for others: 3 s otherwise, and the demo
would have nothing to show for as long.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

from confluent_kafka import cimpl

_PRODUCER = 0
"""``RD_KAFKA_PRODUCER``: the cluster lives in a client, of whatever kind."""
_WAIT_FOR_MEMBERS_MS = 100
_TEXT = 512

_HANDLE, _TEXT_AT, _NUMBER, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_FUNCTIONS = {
    "rd_kafka_conf_new": (_HANDLE, ()),
    "rd_kafka_conf_set": (_NUMBER, (_HANDLE, _TEXT_AT, _TEXT_AT, _TEXT_AT, _SIZE)),
    "rd_kafka_new": (_HANDLE, (_NUMBER, _HANDLE, _TEXT_AT, _SIZE)),
    "rd_kafka_destroy": (None, (_HANDLE,)),
    "rd_kafka_mock_cluster_new": (_HANDLE, (_HANDLE, _NUMBER)),
    "rd_kafka_mock_cluster_destroy": (None, (_HANDLE,)),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT_AT, (_HANDLE,)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (_HANDLE, ctypes.c_int32)),
}


class NoMockCluster(Exception):
    """The C functions are not to be found, or make none."""


class MockCluster:
    """A cluster of its own client. Thread rule: one thread starts and stops it."""

    def __init__(self, brokers: int) -> None:
        """Raises :class:`NoMockCluster`."""
        self._library = _library()
        text = ctypes.create_string_buffer(_TEXT)
        configuration = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"0", text, _TEXT)
        self._client = self._library.rd_kafka_new(_PRODUCER, configuration, text, _TEXT)
        if not self._client:
            raise NoMockCluster(text.value.decode(errors="replace"))
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        if not self._cluster:
            self.stop()
            raise NoMockCluster("no cluster was made")
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, _WAIT_FOR_MEMBERS_MS)

    @property
    def bootstrap_servers(self) -> str:
        """``host:port,...``."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def stop(self) -> None:
        """End it. Can be called twice."""
        cluster, self._cluster = self._cluster, None
        client, self._client = self._client, None
        if cluster:
            self._library.rd_kafka_mock_cluster_destroy(cluster)
        if client:
            self._library.rd_kafka_destroy(client)


def _library() -> ctypes.CDLL:
    """The library that Python's client has loaded: its functions are found through the module that needs it."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(cimpl.__file__)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        return library
    raise NoMockCluster("librdkafka's functions are not to be found")
