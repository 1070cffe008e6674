"""What a reload and a look at the files change in the running parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from structlog.testing import capture_logs

from bridge.daemon.reload import LOOK, Parts, Reloader, Reloading
from bridge.daemon.source import Source
from bridge.kafka.client_properties import ClientProperties
from bridge.observe.log_levels import LogLevels
from bridge.observe.tokens import Tokens
from bridge.settings import Loaded, load_all
from bridge.settings.tls import ServerTls, server_context
from tests.fakes.raw_server import Peer
from tests.fakes.session_workers import running_worker
from tests.support.mutual_tls import MutualTls, serial_of
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.waiting import wait_until


@dataclass
class Now:
    """A clock that a test moves."""

    at: float = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.at


@dataclass
class Scene:
    """The parts of a daemon without Kafka, and a reloader for them."""

    base: dict[str, Any]
    now: Now = field(default_factory=Now)
    renewals: list[str] = field(default_factory=list)
    masked: list[Loaded] = field(default_factory=list)

    def __post_init__(self) -> None:
        loaded = self.load()
        http = loaded.settings.http
        self.sources = {name: Source(name, loaded.settings) for name in loaded.settings.servers}
        self.clients = ClientProperties(loaded.settings.kafka)
        self.tokens = Tokens(http.token.get_secret_value() if http.token else None)
        self.tls = ServerTls(server_context(http.cert_file, http.key_file)) if http.cert_file else None
        parts = Parts(
            LogLevels("info"), self.sources, self.clients, self.tokens, self.tls, lambda: self.renewals.append("all")
        )
        self.reloader = Reloader(Reloading(loaded, self.load, self.masked.append), parts, self.now)

    def load(self) -> Loaded:
        """The settings now."""
        return load_all(self.base, {})

    def look(self) -> list[Any]:
        """Let the time of a look come; the lines that it logs."""
        self.now.at += LOOK
        with capture_logs() as lines:
            self.reloader.turn()
        return list(lines)


BASE = {"kafka.bootstrap_servers": "127.0.0.1:9", "servers.local.url": "http://127.0.0.1:9"}


def test_wrong_settings_change_nothing_and_each_mistake_is_an_error() -> None:
    """Even those that alone would take effect."""
    scene = Scene(BASE | {"http.token": "one"})
    scene.base |= {"http.token": "two", "log.level": "loud", "http.port": "many"}
    with capture_logs() as lines:
        scene.reloader.reload()
    errors = [line["setting"] for line in lines if line["log_level"] == "error"]
    assert sorted(errors) == ["http.port", "log.level"]
    assert (scene.tokens.valid(), scene.masked) == (("one",), [])


def test_properties_that_the_kafka_client_refuses_change_nothing() -> None:
    """They are tried before anything is applied."""
    scene = Scene(BASE | {"http.token": "one"})
    scene.base |= {"http.token": "two", "kafka.properties.no.such.property": "perhaps"}
    with capture_logs() as lines:
        scene.reloader.reload()
    assert [line["setting"] for line in lines] == ["kafka.properties.no.such.property"]
    assert (scene.tokens.valid(), scene.renewals) == (("one",), [])
    del scene.base["kafka.properties.no.such.property"]
    scene.base["kafka.properties.socket.keepalive.enable"] = "true"
    scene.reloader.reload()
    assert (scene.tokens.valid(), scene.renewals) == (("two", "one"), ["all"])


def test_a_password_is_for_running_clients_and_needs_no_new_ones() -> None:
    """Only the next authentication uses it."""
    sasl = {"kafka.security_protocol": "sasl_plaintext", "kafka.sasl_mechanism": "PLAIN", "kafka.sasl_username": "u"}
    scene = Scene(BASE | sasl | {"kafka.sasl_password": "one"})
    given: list[tuple[str, str]] = []

    class Client:
        def set_credentials(self, username: str, password: str) -> None:
            given.append((username, password))

    client, config = Client(), scene.clients.of("test")
    config.follow(client, config.copy())
    scene.base["kafka.sasl_password"] = "two"
    scene.reloader.reload()
    assert (given, scene.renewals, config["sasl.password"]) == ([("u", "two")], [], "two")
    late = Client()
    config.follow(late, {"sasl.username": "u", "sasl.password": "one"})  # made while the password changed
    assert given == [("u", "two"), ("u", "two")]


def test_files_are_looked_at_and_a_broken_one_is_reported_once(tmp_path: Path) -> None:
    """The token of a server, a certificate of a server, and that of the endpoint; nothing is read in between."""
    authority, token, ca_file, http = trustme.CA(), tmp_path / "token", tmp_path / "ca.pem", tmp_path / "http.pem"

    def write(text: str) -> None:
        token.write_text(text)
        authority.cert_pem.write_to_path(str(ca_file))
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(http))

    write("one")
    files = {"servers.local.url": "https://127.0.0.1:9", "servers.local.ca_file": str(ca_file)}
    scene = Scene(BASE | files | {"servers.local.token_file": str(token), "http.cert_file": str(http)})
    source, tls = scene.sources["local"], scene.tls
    assert tls is not None
    before = source.tls, tls.present
    assert scene.look() == []
    write("two")
    [line] = scene.look()
    assert line["applied"] == ["http.cert_file", "servers.local.token_file"]
    assert source.credentials_changed_at is not None
    assert (source.tls, tls.present == before[1]) == (before[0], False)
    authority = trustme.CA()
    write("two")
    assert scene.look()[0]["applied"] == ["http.cert_file", "servers.local.ca_file"]
    assert source.tls is not before[0]
    assert source.endpoint.transport.tls is source.tls is source.api_transport.tls
    token.write_text("")
    assert [line["setting"] for line in scene.look()] == ["servers.local.token_file"]
    assert source.headers()["Authorization"] == "Bearer two"
    assert scene.look() == []
    write("three")
    assert "servers.local.token_file" in scene.look()[0]["applied"]


def test_streams_reconnect_with_a_new_token_in_their_own_time(tmp_path: Path) -> None:
    """Within twenty seconds, and not all at once; a connection with the new token stays."""
    token = tmp_path / "token"
    token.write_text("one")
    now = Now()
    with scripted_mix() as mix:
        mix.serve({"a": Feed(3)})
        scene = Scene(BASE | {"servers.local.url": mix.url, "servers.local.token_file": str(token)})
        source = scene.sources["local"]
        with running_worker(source, None, now, lambda: 0.5) as (worker, publisher):
            wait_until(lambda: len(publisher.published) == 3, 20, "events")
            token.write_text("two")
            scene.look()
            source.credentials_changed_at = now.at + 1  # by the worker's clock
            now.at += 10
            worker.check_connection(0.0)
            assert worker.stream.counters.reconnects == 0
            now.at += 2
            worker.check_connection(0.0)
            wait_until(lambda: worker.stream.counters.reconnects == 1, 20, "a reconnect")
            wait_until(lambda: worker.last_byte_at is not None or worker.bytes_read > 0, 20, "the new connection")
            now.at += 100
            worker.check_connection(0.0)
            assert worker.stream.counters.reconnects == 1


def test_a_server_gets_new_certificates_at_the_next_connect(tmp_path: Path) -> None:
    """Of another authority, on both sides; the present connection stays, and broken files change nothing."""
    mutual, feed, serials = MutualTls(tmp_path), Feed(3), list[int]()

    def script(peer: Peer) -> None:
        serials.append(serial_of(peer))
        feed(peer)

    with scripted_mix(tls=mutual.context) as mix:
        mix.serve({"a": script})
        scene = Scene(BASE | {"servers.local.url": mix.url} | mutual.settings())
        with running_worker(scene.sources["local"], None) as (worker, publisher):
            wait_until(lambda: len(publisher.published) == 3, 20, "events")
            first = mutual.serial
            mutual.cert_file.write_text("broken")
            assert [line["log_level"] for line in scene.look()] == ["error"]
            feed.cut()
            wait_until(lambda: len(serials) == 2, 20, "a connection after a broken file")
            feed.add(1)
            wait_until(lambda: len(publisher.published) == 4, 20, "its event")
            mutual.replace()
            names = ["ca_file", "client_cert_file", "client_key_file"]
            assert scene.look()[0]["applied"] == [f"servers.local.{name}" for name in names]
            feed.add(1)
            wait_until(lambda: len(publisher.published) == 5, 20, "an event on the present connection")
            assert worker.stream.counters.reconnects == 1
            feed.cut()
            wait_until(lambda: len(serials) == 3, 20, "a connection after the replacement")
            feed.add(1)
            wait_until(lambda: len(publisher.published) == 6, 20, "its event")
    assert serials == [first, first, mutual.serial]


def test_a_certificate_that_expires_is_reported_once_a_day(tmp_path: Path) -> None:
    """Two weeks before."""
    authority, file = trustme.CA(), tmp_path / "http.pem"

    def lines(days: int) -> list[Any]:
        issued = authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=days))
        issued.private_key_and_cert_chain_pem.write_to_path(str(file))
        scene = Scene(BASE | {"http.cert_file": str(file)})
        assert set(scene.reloader.certificates) == {"http.cert_file"}
        look: Callable[[], list[Any]] = scene.look
        return [line for _ in range(3) for line in look() if "expires" in line["event"]]

    assert lines(15) == []
    assert [(line["setting"], round(line["days"])) for line in lines(13)] == [("http.cert_file", 13)]
    assert len(lines(-1)) == 1


def test_credentials_wait_until_a_reload_with_the_former_identity(tmp_path: Path) -> None:
    """Looks and new connections leave out the files of a server and of Kafka that are about to be others."""
    token, password = tmp_path / "token", tmp_path / "password"
    sasl = {"kafka.security_protocol": "sasl_plaintext", "kafka.sasl_mechanism": "PLAIN", "kafka.sasl_username": "u"}
    files = {"kafka.sasl_password_file": str(password), "servers.local.token_file": str(token)}
    token.write_text("one")
    password.write_text("one")
    former = BASE | sasl | files
    scene = Scene(dict(former))
    source, config = scene.sources["local"], scene.clients.of("test")
    token.write_text("two")
    password.write_text("two")
    scene.base |= {"kafka.sasl_username": "other", "servers.local.url": "http://127.0.0.2:9"}
    scene.reloader.reload()
    for _ in range(2):
        assert scene.look() == []
        assert (config["sasl.password"], source.headers()["Authorization"]) == ("one", "Bearer one")
    scene.base = former
    scene.reloader.reload()
    assert (config["sasl.password"], source.headers()["Authorization"]) == ("two", "Bearer two")
    token.write_text("three")
    assert scene.look()[0]["applied"] == ["servers.local.token_file"]
