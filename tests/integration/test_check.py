"""``mix-bridge check`` as a process: its lines and exit codes, with a real Kafka, and with unreachable servers."""

from __future__ import annotations

import json
import os
import pty
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from bridge.clock import monotonic
from tests.support.broker import Broker, quiet_admin
from tests.support.mix import MixServer
from tests.support.process import MIX_BRIDGE, command, environment
from tests.support.processes import start
from tests.support.topics import create_topic, partitions_of
from tests.support.waiting import TIMEOUT

UNUSED = "127.0.0.1:9"
"""The discard port: no program listens."""
SECRETS = {
    "servers.local.token": "hunter2-server",
    "servers.local.headers.x-key": "hunter2-header",
    "servers.local.proxy": f"http://me:hunter2-proxy@{UNUSED}",
    "http.token": "hunter2-http",
    "kafka.properties.client.rack": "hunter2-rack",
}
LOGIN = {
    "kafka.security_protocol": "sasl_plaintext",
    "kafka.sasl_mechanism": "PLAIN",
    "kafka.sasl_username": "bridge",
    "kafka.sasl_password": "hunter2-kafka",
}


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a simulated Mix server with three sessions; yield its URL."""
    with MixServer(tmp_path_factory.mktemp("mix"), "--sessions", 3) as server:
        yield server.url


@pytest.fixture
def settings(kafka: str, namespace: str, mix: str) -> dict[str, object]:
    """Return settings without a problem."""
    return {
        "namespace": namespace,
        "kafka.bootstrap_servers": kafka,
        "servers.local.url": mix,
        "http.port": 0,
    }


class Checked:
    """One run with ``--json``."""

    def __init__(self, settings: dict[str, object], *options: str) -> None:
        began = monotonic()
        self.done = command(["check", "--json", *options], settings)
        self.seconds = monotonic() - began
        self.code = self.done.returncode
        self.document: dict[str, Any] = json.loads(self.done.stdout)
        self.lines: dict[str, dict[str, str]] = {line["subject"]: line for line in self.document["checks"]}

    def states(self) -> dict[str, str]:
        """Return the state of each check."""
        return {subject: line["state"] for subject, line in self.lines.items()}


def test_without_a_problem_nothing_is_created(kafka: str, namespace: str, settings: dict[str, object]) -> None:
    """Exit code 0, one line each on stdout, nothing on stderr; missing topics are not created."""
    done = command(["check"], settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(": ")[0].split(maxsplit=1) for line in done.stdout.splitlines()] == [
        ["ok", "settings"],
        ["ok", "kafka"],
        ["ok", f"topic {namespace}.checkpoints"],
        ["ok", f"topic {namespace}.events"],
        ["ok", f"topic {namespace}.dead-letters"],
        ["ok", f"topic {namespace}.lifecycle"],
        ["ok", f"group {namespace}.bridge"],
        ["ok", "server local"],
        ["ok", "http"],
    ]
    assert "does not exist: `run` creates it, with 8 partitions" in done.stdout
    assert "3 sessions listed, 3 to bridge" in done.stdout
    assert "\x1b" not in done.stdout  # colours are for terminals
    assert not partitions_of(kafka, f"{namespace}.checkpoints")


def test_existing_topics_are_judged(kafka: str, namespace: str, settings: dict[str, object]) -> None:
    """Compaction and size limits: what prevents a start fails, everything else is a warning."""
    create_topic(kafka, f"{namespace}.checkpoints", 2, {"cleanup.policy": "delete"})
    create_topic(kafka, f"{namespace}.events", 1, {"cleanup.policy": "compact"})
    create_topic(kafka, f"{namespace}.dead-letters", 1, {"max.message.bytes": "1000"})
    create_topic(kafka, f"{namespace}.lifecycle", 1, {"max.message.bytes": "1000"})
    found = Checked(settings)
    assert (found.code, found.document["ok"]) == (1, False)
    checkpoints, events, letters, lifecycle = lines = [
        found.lines[f"topic {namespace}.{name}"] for name in ("checkpoints", "events", "dead-letters", "lifecycle")
    ]
    assert [line["state"] for line in lines] == ["failed", "failed", "warning", "failed"]
    assert checkpoints["hint"].startswith("set cleanup.policy=compact on it")
    assert events["hint"].startswith("set cleanup.policy=delete on it")
    assert "max.message.bytes=1000" in letters["detail"]
    assert lifecycle["hint"] == "raise it, or name another topic (topics.lifecycle)"


def test_another_number_of_shards_is_a_warning(kafka: str, namespace: str, settings: dict[str, object]) -> None:
    """A warning does not change the exit code."""
    create_topic(kafka, f"{namespace}.checkpoints", 2, {"cleanup.policy": "compact"})
    found = Checked(settings)
    line = found.lines[f"topic {namespace}.checkpoints"]
    assert (found.code, line["state"]) == (0, "warning")
    assert "set topics.shards = 2" in line["hint"]


def test_topics_that_could_not_be_created_fail(namespace: str, settings: dict[str, object]) -> None:
    """Kafka refuses more replicas than it has brokers; without ``topics.create`` the topics must exist."""
    found = Checked(settings | {"topics.replication_factor": 3})
    assert found.code == 1
    assert "INVALID_REPLICATION_FACTOR" in found.lines[f"topic {namespace}.events"]["detail"]
    found = Checked(settings | {"topics.create": False})
    assert (found.code, found.lines[f"topic {namespace}.events"]["state"]) == (1, "failed")
    assert "topics.create" in found.lines[f"topic {namespace}.events"]["hint"]


def test_all_unreachable_systems_are_reported_quickly(settings: dict[str, object]) -> None:
    """One failed check hides no other; nothing waits for ``start_timeout``."""
    away = {"kafka.bootstrap_servers": UNUSED, "servers.local.url": f"http://{UNUSED}"}
    named = {"servers.named.url": "http://nowhere.invalid"}
    found = Checked(settings | away | named)
    assert found.code == 1
    assert found.states() == {
        "settings": "ok",
        "kafka": "failed",
        "server local": "failed",
        "server named": "failed",
        "http": "ok",
    }
    assert "no program listens there" in found.lines["kafka"]["hint"]
    assert "no program listens there" in found.lines["server local"]["hint"]
    assert "host name" in found.lines["server named"]["hint"]
    assert found.seconds < 45  # with 5 s for each question; Kafka's client would wait for a minute
    assert found.done.stderr == ""


def test_a_kafka_that_does_not_answer_fails(settings: dict[str, object]) -> None:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = Checked(settings | {"kafka.bootstrap_servers": f"127.0.0.1:{silent.getsockname()[1]}"})
    assert (found.code, found.lines["kafka"]["state"]) == (1, "failed")
    assert "no answer within 5 s" in found.lines["kafka"]["detail"]
    assert found.seconds < 45  # with 5 s for each question; Kafka's client would wait for a minute


def test_a_listener_of_another_protocol_is_reported(settings: dict[str, object]) -> None:
    """TLS to a plaintext listener; the hint names the setting."""
    found = Checked(settings | {"kafka.security_protocol": "ssl"})
    assert (found.code, found.lines["kafka"]["state"]) == (1, "failed")
    assert "kafka.security_protocol" in found.lines["kafka"]["hint"]


def test_a_failed_login_is_reported(settings: dict[str, object]) -> None:
    """SASL to a listener without SASL fails like a wrong password."""
    found = Checked(settings | LOGIN)
    assert (found.code, found.lines["kafka"]["state"]) == (1, "failed")
    assert "kafka.sasl_password" in found.lines["kafka"]["hint"]


def test_missing_topic_permissions_fail(tmp_path: Path, mix: str) -> None:
    """For describing a topic, for reading its settings, and for writing."""
    authorizer = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    with Broker(tmp_path / "kafka", properties=authorizer) as broker:
        create_topic(broker.bootstrap, "mix.checkpoints", 8, {"cleanup.policy": "compact"})
        for topic in ("mix.events", "mix.dead-letters", "mix.lifecycle"):
            create_topic(broker.bootstrap, topic, 8)
        _deny(broker.bootstrap, "mix.checkpoints", AclOperation.DESCRIBE_CONFIGS)
        _deny(broker.bootstrap, "mix.events", AclOperation.WRITE)
        _deny(broker.bootstrap, "mix.dead-letters", AclOperation.DESCRIBE)
        _deny(broker.bootstrap, "mix.lifecycle", AclOperation.WRITE)
        given = {"kafka.bootstrap_servers": broker.bootstrap, "servers.local.url": mix, "http.port": 0}
        found = Checked(given)
    lines = [found.lines[f"topic mix.{name}"] for name in ("checkpoints", "events", "dead-letters", "lifecycle")]
    assert (found.code, [line["state"] for line in lines]) == (1, ["failed"] * 4)
    assert [line["hint"].split(" on it")[0] for line in lines] == [
        "grant DescribeConfigs",
        "grant WRITE",
        "grant Describe",
        "grant WRITE",
    ]


def _deny(bootstrap: str, topic: str, operation: AclOperation) -> None:
    """Deny one operation: once a topic has an ACL, everything else must be allowed explicitly."""
    admin = quiet_admin(bootstrap)
    for allowed, verdict in ((AclOperation.ALL, AclPermissionType.ALLOW), (operation, AclPermissionType.DENY)):
        rule = ("User:ANONYMOUS", "*", allowed, verdict)
        binding = AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, *rule)
        admin.create_acls([binding])[binding].result(TIMEOUT)


def test_a_used_http_port_fails(settings: dict[str, object]) -> None:
    """A start would fail there first."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = Checked(settings | {"http.port": other.getsockname()[1]})
    assert (found.code, found.lines["http"]["state"]) == (1, "failed")
    assert "another program uses port" in found.lines["http"]["detail"]
    assert Checked(settings | {"http.port": "none"}).lines["http"]["detail"] == "disabled"


class _Answers(BaseHTTPRequestHandler):
    """Answers every GET with the same response and records the paths."""

    status, body, content_type = 200, b"<html>", "text/html"
    asked: list[str] = []  # noqa: RUF012 - each server has a subclass of its own

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Type", self.content_type)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def _serving(**answer: object) -> Iterator[tuple[ThreadingHTTPServer, list[str]]]:
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {**answer, "asked": asked})) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield server, asked
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({}, "this server does not list sessions: name them (`--session ID`, `servers.local.sessions`)"),
        ({"status": 404}, "this server does not list sessions"),
        ({"status": 401}, "servers.local.token"),
    ],
)
def test_a_server_without_json_fails(settings: dict[str, object], answer: dict[str, object], hint: str) -> None:
    """Many servers answer every path with a page."""
    with _serving(**answer) as (server, _):
        url = f"http://127.0.0.1:{server.server_port}"
        found = Checked(settings | {"servers.local.url": url})
        tolerant = Checked(settings | {"servers.local.url": url, "servers.local.sessions": "s1"})
    assert (found.code, found.lines["server local"]["state"]) == (1, "failed")
    assert hint in found.lines["server local"]["hint"]
    # Configured sessions are bridged without discovery.
    assert (tolerant.code, tolerant.lines["server local"]["state"]) == (0, "warning")


def test_a_server_with_a_failed_health_check_is_a_warning(settings: dict[str, object]) -> None:
    """It lists sessions, and its health is no JSON object."""
    with _serving(body=b"[]", content_type="application/json") as (server, asked):
        found = Checked(settings | {"servers.local.url": f"http://127.0.0.1:{server.server_port}"})
    assert (found.code, found.lines["server local"]["state"]) == (0, "warning")
    assert asked == ["/api/sessions?includeSubagents=false", "/health"]


def test_a_server_without_discovery_gets_a_connection_and_no_request(settings: dict[str, object]) -> None:
    """Its only path may be the stream, where another reader may disturb a run."""
    fixed = {"servers.local.discover": False, "servers.local.sessions": "s1", "servers.local.event_schema": "none"}
    with _serving() as (server, asked):
        url = f"http://127.0.0.1:{server.server_port}"
        found = Checked(settings | fixed | {"servers.local.url": url})
    assert (found.code, found.lines["server local"]["state"], asked) == (0, "ok", [])
    assert Checked(settings | fixed | {"servers.local.url": f"http://{UNUSED}"}).code == 1


def test_tls_of_a_server_is_checked(settings: dict[str, object], tmp_path: Path) -> None:
    """A certificate of an unknown authority fails; with ``ca_file`` it passes."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    fixed = {"servers.local.discover": False, "servers.local.sessions": "s1"}
    with _serving() as (server, _):
        server.socket = context.wrap_socket(server.socket, server_side=True)
        fixed["servers.local.url"] = f"https://localhost:{server.server_port}"
        unknown = Checked(settings | fixed)
        known = Checked(settings | fixed | {"servers.local.ca_file": tmp_path / "ca.pem"})
    assert (unknown.code, unknown.lines["server local"]["state"]) == (1, "failed")
    assert "servers.local.ca_file" in unknown.lines["server local"]["hint"]
    assert (known.code, known.lines["server local"]["state"]) == (0, "ok")


def test_invalid_settings_end_with_78_before_any_check(settings: dict[str, object]) -> None:
    """As everywhere: one line per mistake on stderr, nothing on stdout."""
    done = command(["check", "--json"], settings | {"events.format": "xml"})
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("events.format: ")
    done = command(["check"], settings | {"kafka.properties.no.such.property": "hunter2"})
    assert (done.returncode, done.stdout) == (78, "")
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals(
    settings: dict[str, object], tmp_path: Path, more: dict[str, str], *, coloured: bool
) -> None:
    """``NO_COLOR`` disables them there too."""
    ours, theirs = pty.openpty()
    given = environment(settings | {"kafka.bootstrap_servers": UNUSED}) | {"TERM": "xterm"} | more
    with os.fdopen(theirs, "wb") as screen, (tmp_path / "errors").open("wb") as errors:
        code = start([*MIX_BRIDGE, "check"], screen, errors, given, None).wait(TIMEOUT)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        printed = terminal.read(64 * 1024)
    assert (code, (tmp_path / "errors").read_text()) == (1, "")
    assert (b"\x1b[31mfailed" in printed, b"\x1b[32mok" in printed) == (coloured, coloured)
    assert b"kafka: " in printed


def test_no_secret_is_in_the_output(settings: dict[str, object]) -> None:
    """With and without failures, the credentials of a URL included."""
    urls = {"servers.local.url": f"http://{UNUSED}", "servers.other.url": f"http://me:hunter2-url@{UNUSED}"}
    for given in (settings | SECRETS, settings | SECRETS | LOGIN | urls):
        for options in ([], ["--json"], ["--log-level", "debug"]):
            done = command(["check", *options], given)
            assert done.returncode in {0, 1}, done.stderr
            assert "hunter2" not in done.stdout + done.stderr
