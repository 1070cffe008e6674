"""Why a client cannot reach Kafka, derived from its errors."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from bridge.kafka.connection_failures import ConnectionFailure, Destinations, connection_failure_of

DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
NOWHERE = Destinations()
REFUSED = KafkaError(
    KafkaError._TRANSPORT, "h:9/bootstrap: Connect failed: Connection refused (after 0ms in state CONNECT)"
)


@pytest.mark.parametrize(
    ("errors", "connection_failure"),
    [
        ([], ConnectionFailure.SILENT),
        ([DOWN], ConnectionFailure.SILENT),
        ([REFUSED, DOWN], ConnectionFailure.REFUSED),
        ([KafkaError(KafkaError._RESOLVE, "unknown"), DOWN], ConnectionFailure.NAME),
        ([KafkaError(KafkaError._RESOLVE, "unknown"), REFUSED], ConnectionFailure.REFUSED),
        ([REFUSED, KafkaError(KafkaError._AUTHENTICATION, "wrong password")], ConnectionFailure.LOGIN),
        ([REFUSED, KafkaError(KafkaError._SSL, "certificate verify failed")], ConnectionFailure.TLS),
        ([KafkaError(KafkaError._BAD_MSG, "Invalid response size 1213486160")], ConnectionFailure.PROTOCOL),
        (
            [KafkaError(KafkaError._TRANSPORT, "Disconnected: connecting to a PLAINTEXT broker listener?")],
            ConnectionFailure.PROTOCOL,
        ),
        (
            [KafkaError(KafkaError._TRANSPORT, "Disconnected: incorrect security.protocol configuration")],
            ConnectionFailure.PROTOCOL,
        ),
        ([KafkaError(KafkaError._TRANSPORT, "Connection setup timed out in state CONNECT")], ConnectionFailure.SILENT),
        ([KafkaError(KafkaError._TRANSPORT, "Network is unreachable")], ConnectionFailure.OTHER),
        ([KafkaError(KafkaError.UNKNOWN, "?")], ConnectionFailure.OTHER),
    ],
)
def test_the_error_of_the_connection_that_got_furthest_is_reported(
    errors: list[KafkaError], connection_failure: ConnectionFailure
) -> None:
    """A broker that refuses a login says more than another one that is down."""
    assert connection_failure_of(errors, 5, NOWHERE)[0] is connection_failure


def test_the_clients_internal_states_are_left_out() -> None:
    """They are for the developers of the client."""
    assert connection_failure_of([REFUSED, DOWN], 5, NOWHERE)[1] == "h:9/bootstrap: Connect failed: Connection refused"
    assert connection_failure_of([DOWN], 5, NOWHERE)[1] == "no answer within 5 s"


@pytest.mark.parametrize(
    "why",
    [
        "Connect to ipv4#192.0.2.77:9092 failed: No route to host",
        "Failed to resolve '192.0.2.77:9092': Name or service not known",
        "Connection setup timed out in state CONNECT",
    ],
)
def test_an_address_that_a_broker_advertises_is_named(why: str) -> None:
    """The client learned it from a bootstrap broker: not the bootstrap address is wrong."""
    errors = [KafkaError(KafkaError._TRANSPORT, f"192.0.2.77:9092/1: {why} (after 3ms in state CONNECT)"), DOWN]
    of = Destinations.of({"bootstrap.servers": "kafka,other:9093"})
    failure, detail = connection_failure_of(errors, 5, of)
    assert failure is ConnectionFailure.ADVERTISED
    assert detail.startswith(
        f"broker 1 advertises 192.0.2.77:9092, which cannot be reached: advertised.listeners ({why}"
    )


def test_a_bootstrap_address_that_is_also_advertised_is_not_blamed() -> None:
    """The broker is down."""
    error = KafkaError(KafkaError._TRANSPORT, "kafka:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused")
    of = Destinations.of({"bootstrap.servers": "kafka"})
    assert connection_failure_of([error], 5, of)[0] is ConnectionFailure.REFUSED


def test_a_token_endpoint_is_named_without_its_credentials() -> None:
    """It is not Kafka that is away."""
    url = "https://user:hunter2@login.example.org/token?secret=hunter2"
    of = Destinations.of({"bootstrap.servers": "kafka", "sasl.oauthbearer.token.endpoint.url": url})
    prefix = "Failed to acquire SASL OAUTHBEARER token: "
    refused = KafkaError(KafkaError._AUTHENTICATION, f"{prefix}Failed to connect to login.example.org:443")
    failure, detail = connection_failure_of([refused, DOWN], 5, of)
    assert failure is ConnectionFailure.TOKEN
    assert "login.example.org/token refused the connection: Failed to connect" in detail
    assert "hunter2" not in detail
    denied = KafkaError(KafkaError._AUTHENTICATION, f"{prefix}HTTP error code: 401")
    assert "refused to give a token: HTTP error code: 401" in connection_failure_of([denied], 5, of)[1]
