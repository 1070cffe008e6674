"""A Kafka with TLS and logins: the settings reach the clients, and errors name the setting."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography.hazmat.primitives import serialization

from tests.support.broker import Broker
from tests.support.process import Bridge
from tests.support.scene import bridged, session, settings, started, texts, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, ScriptedMix, scripted_mix
from tests.support.waiting import let_pass, wait_until

pytestmark = pytest.mark.kafka

KEY_PASSWORD, PASSWORD = "hunter2-of-the-key", "hunter2-of-the-user"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""The lowest three bits of a batch's attributes (Kafka's record batch format, version 2)."""


class Secured:
    """A broker with TLS for clients with a certificate and for users with a password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = self.authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        client = authority.issue_cert("client")
        _write_chain(folder / "client.pem", client, key=False)
        (folder / "client.key").write_bytes(_key_of(client, KEY_PASSWORD))
        _write_chain(folder / "broker.pem", authority.issue_cert("127.0.0.1"), key=True)
        (folder / "key-password").write_text(f"{KEY_PASSWORD}\n")
        (folder / "password").write_text(f"{PASSWORD}\n")
        login = "org.apache.kafka.common.security.plain.PlainLoginModule"
        properties = {
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{SCRAM_LOGIN} required;",
            "listener.name.sasl_ssl.scram-sha-512.connections.max.reauth.ms": "3000",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{login} required user_bridge="{PASSWORD}";',
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
        }
        self.broker = Broker(folder / "kafka", properties=properties, listeners=("SSL", "SASL_SSL"), heap="384m")

    def with_password(self) -> dict[str, object]:
        """Return the settings of a user with a password."""
        return {
            "kafka.bootstrap_servers": self.broker.bootstrap_of("SASL_SSL"),
            "kafka.security_protocol": "sasl_ssl",
            "kafka.sasl_mechanism": "PLAIN",
            "kafka.sasl_username": "bridge",
            "kafka.sasl_password_file": self.folder / "password",
            "kafka.ssl_ca_file": self.folder / "ca.pem",
        }

    def set_password(self, user: str, password: str) -> None:
        """Set the SCRAM password of a user; the former one is refused from now on."""
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        for future in admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(user, info, password.encode())]
        ).values():
            future.result(30)

    def with_certificate(self) -> dict[str, object]:
        """Return the settings of a client with a certificate."""
        return {
            "kafka.bootstrap_servers": self.broker.bootstrap_of("SSL"),
            "kafka.security_protocol": "ssl",
            "kafka.ssl_ca_file": self.folder / "ca.pem",
            "kafka.ssl_cert_file": self.folder / "client.pem",
            "kafka.ssl_key_file": self.folder / "client.key",
            "kafka.ssl_key_password_file": self.folder / "key-password",
        }


def _write_chain(path: Path, certificate: trustme.LeafCert, *, key: bool) -> None:
    private = [_key_of(certificate, None)] if key else []
    path.write_bytes(b"".join([*private, *(blob.bytes() for blob in certificate.cert_chain_pems)]))


def _key_of(certificate: trustme.LeafCert, password: str | None) -> bytes:
    """Return the key in PKCS #8, the only form that Kafka reads; encrypted if there is a password."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Start one broker for all tests of this file."""
    secured = Secured(tmp_path_factory.mktemp("secured"))
    with secured.broker:
        yield secured


@pytest.fixture
def mix() -> Iterator[ScriptedMix]:
    """Start a server with one session."""
    with scripted_mix() as server:
        server.list("a")
        server.streams = {"a": Feed(200)}
        yield server


@pytest.mark.parametrize("by", ["password", "certificate"])
def test_records_arrive_over_tls(secured: Secured, namespace: str, tmp_path: Path, mix: ScriptedMix, by: str) -> None:
    """With a password or the password of a certificate's key from a file; no secret is logged."""
    chosen = secured.with_password() if by == "password" else secured.with_certificate()
    more = {**chosen, "log.level": "debug"}
    with started(tmp_path, settings("", namespace, mix.url, more)) as bridge:
        wait_acknowledged(bridge, "a", 200)
        assert bridge.terminate() == 0
        assert "hunter2" not in bridge.log_text()
    assert len(texts(secured.broker.bootstrap, namespace, "a")) == 200


def test_a_new_password_is_used_by_the_running_clients(secured: Secured, namespace: str, tmp_path: Path) -> None:
    """Brokers close a connection that does not authenticate again; the stream is not touched, and nothing is lost."""
    password, feed = tmp_path / "password", Feed(100)
    secured.set_password("rotated", "hunter2-first")
    password.write_text("hunter2-first")
    chosen = secured.with_password() | {"kafka.sasl_mechanism": "SCRAM-SHA-512", "kafka.sasl_username": "rotated"}
    chosen |= {"kafka.sasl_password_file": password, "log.level": "debug"}
    with scripted_mix({"a": feed}) as mix, started(tmp_path, settings("", namespace, mix.url, chosen)) as bridge:
        wait_acknowledged(bridge, "a", 100)
        password.write_text("hunter2-second")
        bridge.send(signal.SIGHUP)
        wait_logged(bridge, "settings reloaded", "kafka.sasl_password_file")
        secured.set_password("rotated", "hunter2-second")
        let_pass(3.5)  # every connection of before is closed by now
        feed.add(100)
        wait_acknowledged(bridge, "a", 200)
        assert session(bridge, "a")["reconnects"] == 0
        assert bridge.terminate() == 0
        assert "hunter2" not in bridge.log_text()
    assert len(texts(secured.broker.bootstrap, namespace, "a")) == 200


def test_new_certificates_are_used_by_new_clients(secured: Secured, namespace: str, tmp_path: Path) -> None:
    """One that the brokers do not trust delivers nothing, so it is used; a valid one delivers what waited meanwhile."""
    files, feed = {name: tmp_path / name for name in ("ca.pem", "client.pem", "client.key")}, Feed(100)

    def write(authority: trustme.CA, *more: trustme.CA) -> None:
        client = authority.issue_cert("client")
        files["ca.pem"].write_bytes(b"".join(each.cert_pem.bytes() for each in (secured.authority, *more)))
        _write_chain(files["client.pem"], client, key=False)
        files["client.key"].write_bytes(_key_of(client, KEY_PASSWORD))

    write(secured.authority)
    chosen = secured.with_certificate() | {
        "kafka.ssl_ca_file": files["ca.pem"],
        "kafka.ssl_cert_file": files["client.pem"],
        "kafka.ssl_key_file": files["client.key"],
    }
    with scripted_mix({"a": feed}) as mix, bridged(tmp_path, settings("", namespace, mix.url, chosen)) as bridge:
        wait_acknowledged(bridge, "a", 100)
        files["client.pem"].write_text("broken")
        bridge.send(signal.SIGHUP)
        wait_logged(bridge, "settings not reloaded", "kafka.ssl_")
        write(trustme.CA())  # of an authority that the broker does not know
        bridge.send(signal.SIGHUP)
        for line in ("settings reloaded", "using new producers", "joining the group again"):
            wait_logged(bridge, line)
        feed.add(100)
        wait_until(lambda: session(bridge, "a")["in_flight"] == 100, 20, "records that wait")
        write(secured.authority, trustme.CA())
        bridge.send(signal.SIGHUP)
        wait_acknowledged(bridge, "a", 200)
        bridge.wait_ready(60)
        feed.add(100)
        wait_acknowledged(bridge, "a", 300)
        assert session(bridge, "a")["reconnects"] == 0
    assert len(texts(secured.broker.bootstrap, namespace, "a")) == 300


@pytest.mark.parametrize("codec", [None, *CODECS])
def test_batches_have_the_compression_of_the_settings(
    secured: Secured, namespace: str, tmp_path: Path, mix: ScriptedMix, codec: str | None
) -> None:
    """On the broker's disk; ``lz4`` by default."""
    more = {} if codec is None else {"kafka.compression": codec}
    with bridged(tmp_path, settings(secured.broker.bootstrap, namespace, mix.url, more)) as bridge:
        wait_acknowledged(bridge, "a", 200)
    segments = secured.broker.data.glob(f"{namespace}.events-*/*.log")
    # The client does not compress a batch that would not become smaller: single records at the start of a stream.
    found = {found for segment in segments for found in _codecs(segment.read_bytes())}
    assert CODECS[codec or "lz4"] in found
    assert found <= {0, CODECS[codec or "lz4"]}


def _codecs(segment: bytes) -> Iterator[int]:
    at = 0
    while at + 61 <= len(segment) and (length := struct.unpack_from(">i", segment, at + 8)[0]) > 0:
        yield struct.unpack_from(">h", segment, at + 21)[0] & 7
        at += 12 + length


def wrong_password(secured: Secured, folder: Path) -> dict[str, object]:
    (folder / "wrong").write_text("hunter2-of-somebody-else")
    return {**secured.with_password(), "kafka.sasl_password_file": folder / "wrong"}


def unknown_authority(secured: Secured, folder: Path) -> dict[str, object]:
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    return {**secured.with_password(), "kafka.ssl_ca_file": folder / "ca.pem"}


def no_tls(secured: Secured, _: Path) -> dict[str, object]:
    return {"kafka.bootstrap_servers": secured.broker.bootstrap_of("SSL")}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (wrong_password, ("Authentication failed", "kafka.sasl_password")),
        (unknown_authority, ("certificate verify failed", "kafka.ssl_ca_file")),
        (no_tls, ("kafka.security_protocol",)),
    ],
)
def test_a_start_that_cannot_reach_kafka_names_the_setting(  # noqa: PLR0913, PLR0917 - fixtures
    secured: Secured, namespace: str, tmp_path: Path, mix: ScriptedMix, wrong: object, words: tuple[str, ...]
) -> None:
    """In each line about another attempt and in the last line; the exit code is 69."""
    assert callable(wrong)
    more = {**wrong(secured, tmp_path), "start_timeout": "8s"}  # longer than the first attempt
    bridge = Bridge(tmp_path / "bridge", settings(secured.broker.bootstrap, namespace, mix.url, more)).start(wait=False)
    assert bridge.wait() == os.EX_UNAVAILABLE
    logged = [line["detail"] for line in bridge.log_lines() if "retry_in" in line]
    for line in (*logged, bridge.log_text().splitlines()[-1]):
        assert all(word in line for word in words), line
    assert logged
    assert "hunter2" not in bridge.log_text()
