"""``kafka.properties``: the clients get the accepted ones, and no client logs a warning about them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from bridge.demo.embedded_kafka import EmbeddedKafka
from bridge.kafka.config import admin_client, client_config
from bridge.kafka.group_consumer import GroupSettings, member_config
from bridge.kafka.producer import IdempotentProducer, ProducerSettings, Role, producer_config
from bridge.kafka.reader import PartitionReader, reader_config
from bridge.kafka.topic_reader import TUNING
from bridge.kafka.transactional import TransactionTimeouts, transactional_config
from bridge.settings.loading import load
from bridge.settings.properties import refusal
from tests.support.waiting import TIMEOUT

# All pairs of names for one property in librdkafka's CONFIGURATION.md
ALIASES = {
    "metadata.broker.list": "bootstrap.servers",
    "max.in.flight.requests.per.connection": "max.in.flight",
    "sasl.mechanisms": "sasl.mechanism",
    "queue.buffering.max.ms": "linger.ms",
    "message.send.max.retries": "retries",
    "compression.codec": "compression.type",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "request.required.acks": "acks",
    "message.timeout.ms": "delivery.timeout.ms",
    "enable.auto.commit": "auto.commit.enable",
}
# A record must have its own batch to be found as the refused one. The transactional producer reads its client's log.
NOT_THE_USERS: dict[str, set[str]] = {
    "single": {"batch.num.messages"},
    "isolation": {"batch.num.messages"},
    "transactional": {"log_level"},
}


def bridge_config(properties: dict[str, str]) -> dict[str, Any]:
    """Return the clients' configuration for settings with these properties."""
    required = {"kafka.bootstrap_servers": "127.0.0.1:9", "servers.local.url": "http://127.0.0.1:9"}
    settings = load(required | {f"kafka.properties.{name}": value for name, value in properties.items()}, {})
    return client_config(settings.kafka, "mix-bridge") | {"compression.type": settings.kafka.compression}


def made(properties: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the final configuration of every kind of client."""
    return made_of(bridge_config(properties))


def made_of(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the final configuration of every kind of client from one configuration."""
    of_producers = {role.value: producer_config(ProducerSettings(config, 1_000_000), role) for role in Role}
    transactional = transactional_config(ProducerSettings(config, 1_000_000), "mix.bridge.0", TransactionTimeouts())
    return {**of_producers, "transactional": transactional, "reader": reader_config(config, TUNING)}


def own_names() -> set[str]:
    """Return every name that the bridge sets anywhere, and the other names of the same properties."""
    ours = {name for config in made({}).values() for name in config}
    return ours | {new for pair in ALIASES.items() if ours & set(pair) for new in pair}


@pytest.mark.parametrize("name", sorted(name for name in own_names() | set(ALIASES) if refusal(name) is None))
def test_an_accepted_property_has_the_users_value(name: str) -> None:
    """The bridge overrides it under none of its names."""
    others = {one for pair in ALIASES.items() if name in pair for one in pair} - {name}
    for client, config in made({name: "77"}).items():
        if name in NOT_THE_USERS.get(client, set()):
            continue
        assert config[name] == "77", client
        assert not others & set(config), client


def test_the_bridges_tuning_can_be_overridden() -> None:
    """It is a default."""
    assert {name for name in own_names() if refusal(name) is None} >= {
        "client.id",
        "fetch.wait.max.ms",
        "linger.ms",
        "queue.buffering.max.ms",
    }
    assert made({})["events"]["linger.ms"] == 5
    assert made({})["single"]["linger.ms"] == 0
    assert made({})["reader"]["fetch.wait.max.ms"] == 10


def test_no_client_waits_for_a_connection_that_a_load_balancer_dropped() -> None:
    """Idle connections are closed before that, also those to bootstrap addresses, and new ones are tried at once."""
    for client, config in every_client({}).items():
        assert config["socket.keepalive.enable"] is True, client
        assert 0 < config["connections.max.idle.ms"] < 240_000, client
        assert config["reconnect.backoff.ms"] <= config["reconnect.backoff.max.ms"] <= 1000, client


def every_client(properties: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the final configuration of every kind of client, with the member of the group and the admin client."""
    config = bridge_config(properties)
    member = member_config(GroupSettings(config, "group", "topic", 1, None, 10.0))
    return made_of(config) | {"member": member, "admin": config}


@pytest.mark.parametrize(("name", "value"), [("reconnect.backoff.ms", "5000"), ("reconnect.backoff.max.ms", "400")])
def test_one_of_the_two_reconnect_times_may_be_chosen(name: str, value: str) -> None:
    """The client refuses a first delay above the largest one, so the bridge's default gives way."""
    config = every_client({name: value})["member"]
    assert config[name] == value
    Consumer(config).close()


def test_no_client_makes_a_broker_create_a_topic() -> None:
    """A deleted topic would come back with one partition, and the checkpoints topic without compaction."""
    with EmbeddedKafka() as kafka:  # which creates topics, as brokers do by default
        broker: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers}
        for number, client in enumerate(("events", "checkpoints", "single", "isolation", "admin")):
            producer = Producer(every_client({})[client] | broker)
            producer.produce(f"missing-{number}", b"value")
            producer.poll(0.3)
            producer.purge()
        consumer = Consumer(every_client({})["reader"] | broker)
        consumer.assign([TopicPartition("missing-reader", 0)])
        consumer.poll(0.3)
        consumer.close()
        assert set(AdminClient(broker).list_topics(timeout=TIMEOUT).topics) == set()


def test_properties_that_protect_delivery_are_refused() -> None:
    """All names that the bridge overrides are refused, except the batch size of isolation."""
    config = dict.fromkeys(own_names(), "user")
    for role in Role:
        final = producer_config(ProducerSettings(config, 1_000_000), role)
        above = {name for name, value in final.items() if value != "user"} - NOT_THE_USERS.get(role.value, set())
        assert above
        assert all(refusal(name) for name in above), above
    others = made_of(config)
    for client in ("transactional", "reader"):
        above = {name for name, value in others[client].items() if value != "user"} - NOT_THE_USERS.get(client, set())
        assert above
        assert all(refusal(name) for name in above), above


def test_no_client_warns_about_a_property_of_another_kind_of_client(caplog: pytest.LogCaptureFixture) -> None:
    """The same properties go to all of them; other lines are still logged."""
    properties = {"linger.ms": "7", "fetch.wait.max.ms": "70", "compression.level": "1"}
    config = bridge_config(properties)
    with caplog.at_level(logging.DEBUG):
        clients: list[Producer | Consumer | AdminClient | IdempotentProducer] = [
            admin_client(config),
            PartitionReader(config, TUNING)._consumer,
            *(IdempotentProducer(ProducerSettings(config, 1_000_000), role) for role in Role),
        ]
        for client in clients:
            client.poll(0.05)  # it logs when it is polled
        logging.getLogger("bridge.kafka.librdkafka").warning("something else")
    logged = [line.getMessage() for line in caplog.records if "CONFWARN" in line.getMessage() or "else" in line.message]
    assert logged == ["something else"]
