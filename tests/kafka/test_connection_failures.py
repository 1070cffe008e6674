"""Why a client cannot reach Kafka, derived from its errors."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from bridge.kafka.connection_failures import ClientError, ConnectionFailure, connection_failure_of

DOWN = ClientError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
REFUSED = ClientError(
    KafkaError._TRANSPORT, "h:9/bootstrap: Connect failed: Connection refused (after 0ms in state CONNECT)"
)


@pytest.mark.parametrize(
    ("errors", "connection_failure"),
    [
        ([], ConnectionFailure.SILENT),
        ([DOWN], ConnectionFailure.SILENT),
        ([REFUSED, DOWN], ConnectionFailure.REFUSED),
        ([ClientError(KafkaError._RESOLVE, "unknown"), DOWN], ConnectionFailure.NAME),
        ([ClientError(KafkaError._RESOLVE, "unknown"), REFUSED], ConnectionFailure.REFUSED),
        ([REFUSED, ClientError(KafkaError._AUTHENTICATION, "wrong password")], ConnectionFailure.LOGIN),
        ([REFUSED, ClientError(KafkaError._SSL, "certificate verify failed")], ConnectionFailure.TLS),
        ([ClientError(KafkaError._BAD_MSG, "Invalid response size 1213486160")], ConnectionFailure.PROTOCOL),
        (
            [ClientError(KafkaError._TRANSPORT, "Disconnected: connecting to a PLAINTEXT broker listener?")],
            ConnectionFailure.PROTOCOL,
        ),
        (
            [ClientError(KafkaError._TRANSPORT, "Disconnected: incorrect security.protocol configuration")],
            ConnectionFailure.PROTOCOL,
        ),
        ([ClientError(KafkaError._TRANSPORT, "Connection setup timed out in state CONNECT")], ConnectionFailure.SILENT),
        ([ClientError(KafkaError._TRANSPORT, "Network is unreachable")], ConnectionFailure.OTHER),
        ([ClientError(KafkaError.UNKNOWN, "?")], ConnectionFailure.OTHER),
    ],
)
def test_the_error_of_the_connection_that_got_furthest_is_reported(
    errors: list[ClientError], connection_failure: ConnectionFailure
) -> None:
    """A broker that refuses a login says more than another one that is down."""
    assert connection_failure_of(errors, 5)[0] is connection_failure


def test_the_clients_internal_states_are_left_out() -> None:
    """They are for the developers of the client."""
    assert connection_failure_of([REFUSED, DOWN], 5)[1] == "h:9/bootstrap: Connect failed: Connection refused"
    assert connection_failure_of([DOWN], 5)[1] == "no answer within 5 s"
