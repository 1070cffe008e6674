"""Kafka that answers at the bootstrap address and cannot be used: the message names the cause, and nothing hangs."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.process import Bridge, command
from tests.support.scene import settings
from tests.support.waiting import wait_until

NOWHERE = "http://127.0.0.1:9"


@contextmanager
def silent_address() -> Iterator[str]:
    """An address that answers no connection attempt: the queue of its listener is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host, port = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.settimeout(0)
            each.connect_ex((host, port))
        yield f"{host}:{port}"
        for each in waiting:
            each.close()


@pytest.mark.kafka
def test_an_advertised_address_that_cannot_be_reached_is_named(tmp_path: Path, namespace: str) -> None:
    """By ``check`` and ``run``, which ends with 69 at the end of ``start_timeout``."""
    with silent_address() as silent:
        broker = Broker(tmp_path / "kafka", properties={"advertised.listeners": f"PLAINTEXT://{silent}"})
        broker.start(wait=False)
        try:
            wait_until(broker._alive_and_listening, 60, "the broker's listener", 0.05)
            chosen = settings(broker.bootstrap, namespace, NOWHERE, {"start_timeout": "1s"})
            named = f"broker 1 advertises {silent}, which cannot be reached: advertised.listeners"
            # The broker listens some moments before it answers.
            wait_until(lambda: named in command(["check"], chosen).stdout, 30, "the address, by check")
            bridge = Bridge(tmp_path / "bridge", chosen).start(wait=False)
            assert bridge.wait() == 69, bridge.log_text()
            assert named in bridge.log_text().splitlines()[-1]
            assert "TimeoutError" not in bridge.log_text()
        finally:
            broker.remove()


OAUTH: Mapping[str, object] = {
    "kafka.security_protocol": "sasl_plaintext",
    "kafka.sasl_mechanism": "OAUTHBEARER",
    "kafka.properties.sasl.oauthbearer.method": "oidc",
    "kafka.properties.sasl.oauthbearer.client.id": "bridge",
    "kafka.properties.sasl.oauthbearer.client.secret": "hunter2",
    "kafka.properties.sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:9/token",
}


def test_a_token_endpoint_that_cannot_be_reached_is_named(tmp_path: Path, namespace: str) -> None:
    """In ``/readyz`` while the start waits, at the end of ``start_timeout``, and by ``check``."""
    named = "token endpoint http://127.0.0.1:9/token refused the connection"
    chosen = settings("127.0.0.1:9", namespace, NOWHERE, {**OAUTH, "start_timeout": "500ms"})
    with Bridge(tmp_path / "waits", {**chosen, "start_timeout": 0}).start() as bridge:
        wait_until(lambda: named in bridge.get("/readyz").text, 10, "the cause in /readyz")
    with Bridge(tmp_path / "ends", chosen).start(wait=False) as bridge:
        assert bridge.wait() == 69
        assert named in bridge.log_text().splitlines()[-1]
        assert "hunter2" not in bridge.log_text()
    done = command(["check"], chosen)
    assert named in done.stdout
    assert "firewall" not in done.stdout


def test_a_mechanism_that_the_client_lacks_is_named(tmp_path: Path, namespace: str) -> None:
    """78, with the mechanisms that this build of the client has."""
    more = {"kafka.security_protocol": "sasl_plaintext", "kafka.sasl_mechanism": "GSSAPI"}
    bridge = Bridge(tmp_path / "bridge", settings("127.0.0.1:9", namespace, NOWHERE, more)).start(wait=False)
    assert bridge.wait() == 78
    line = bridge.log_text().splitlines()[-1]
    assert line.startswith("kafka.sasl_mechanism: this build of the Kafka client has no GSSAPI; allowed: ")
    assert "SCRAM-SHA-512" in line
