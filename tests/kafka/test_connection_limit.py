"""A broker that has as many connections as it allows closes each new one at once: the text names its limits."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bridge.kafka.connection_failures import ClientErrors, ConnectionFailure, NotReached
from bridge.kafka.group_consumer import GroupConsumer, GroupSettings
from bridge.kafka.producer import ProducerSettings
from bridge.kafka.topic_admin import TopicAdmin
from bridge.kafka.transactional import TransactionalProducer, TransactionTimeouts, Verdict
from tests.fakes.group_listener import Listener
from tests.support.refusing_proxy import end
from tests.support.waiting import TIMEOUT, wait_until

NAMED = "max.connections.per.ip"
_RESET = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module", params=["reset", "end"])
def full_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a broker that accepts connections and closes them, as Kafka's SocketServer does at its limits."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):  # the end of the listener
            while True:
                client, _ = listener.accept()
                if request.param == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    end(listener)
    listener.close()
    thread.join(TIMEOUT)


def test_it_is_named_at_the_start_and_by_check(full_broker: str) -> None:
    admin = TopicAdmin({"bootstrap.servers": full_broker}, timeout=0.5)

    def is_named() -> bool:
        with pytest.raises(NotReached) as raised:
            admin.brokers()
        return raised.value.connection_failure is ConnectionFailure.CLOSED and NAMED in str(raised.value)

    wait_until(is_named, what="the cause", interval=0)


def test_it_is_named_while_the_group_does_not_answer(full_broker: str) -> None:
    config = {"bootstrap.servers": full_broker}
    errors = ClientErrors(config, "test")
    consumer = GroupConsumer(GroupSettings(config, "g", "t", 1, None, 6.0), Listener(), errors)
    consumer.subscribe()

    def cause() -> str:
        consumer.poll(0.05)
        return errors.cause or ""

    wait_until(lambda: NAMED in cause(), what="the cause", interval=0)
    consumer.abandon(TIMEOUT)


def test_it_is_named_while_a_shard_waits_for_its_transactional_id(full_broker: str) -> None:
    producer = TransactionalProducer(
        ProducerSettings({"bootstrap.servers": full_broker}, 1000), "id", TransactionTimeouts()
    )

    def is_named() -> bool:
        assert producer.init(0.5) is Verdict.UNKNOWN
        assert (producer.trouble or "").startswith("_TIMED_OUT: ")
        return NAMED in (producer.trouble or "")

    wait_until(is_named, what="the cause", interval=0)
    producer.abandon()
