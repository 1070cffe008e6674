"""``mix-bridge status``, ``log-level`` and ``support-bundle`` with HTTP endpoints of daemons and of other programs."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import signal
import ssl
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import requests
import trustme
from typer.testing import CliRunner

from bridge.admin.status.replicas import Endpoint, Outcome, ask_all
from bridge.cli.app import app
from bridge.core.snapshot import SessionSnapshot
from bridge.errors import BridgeError
from bridge.observe.api import HttpEndpoint
from bridge.observe.log_levels import LogLevels
from bridge.observe.log_writer import RECENT_LINES, LogWriter
from bridge.settings.tls import ServerTls, server_context
from bridge.workers.queries import Place
from tests.fakes.http_endpoint import WELL, listening, serving
from tests.fakes.parent_endpoint import parent_of
from tests.fakes.raw_server import Peer, RawServer
from tests.support.process import MIX_BRIDGE, environment, variable
from tests.support.waiting import TIMEOUT

TOKEN = "s3cret"
TOKEN_VARIABLE = variable("http.token")
TROUBLED = replace(
    WELL, sessions=(SessionSnapshot("local", "b\x1b[2J", "waiting", last_error="refused"), *WELL.sessions)
)
UNREADY = replace(WELL, kafka_last_answer_age=None)


def status(*ports: int, code: int, settings: Mapping[str, object] | None = None, more: tuple[str, ...] = ()) -> str:
    urls = [part for port in ports for part in ("--url", f"127.0.0.1:{port}")]
    chosen = {
        variable(key): str(value) for key, value in ({"http.token": TOKEN} if settings is None else settings).items()
    }
    return output_of("status", *urls, *more, code=code, env=chosen)


def output_of(*arguments: str, code: int, env: Mapping[str, str] = MappingProxyType({})) -> str:
    """The output of a command, which must end with this exit code, and its last error."""
    result = CliRunner().invoke(app, arguments, env=env)
    error = result.exception if isinstance(result.exception, BridgeError) else None
    output = result.output + ("" if error is None else str(error))
    assert (result.exit_code if error is None else error.exit_code) == code, output
    return output


def read(terminal: int) -> bytes:
    """The next output on a terminal; nothing after it was closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_the_sessions_of_workers_are_shown_with_their_worker() -> None:
    """One that does not answer makes the parent not ready."""
    with serving(token=TOKEN) as one, serving(lambda: TROUBLED, TOKEN) as two:
        places = [Place(1, one), Place(2, two)]
        with parent_of(lambda: places, TOKEN) as parent:
            output = status(parent, code=0)
            assert output.splitlines()[0].startswith("mix: 1 replica, 3 sessions: 2 streaming, 1 waiting")
            assert all(f"host:1 worker-{number}" in output for number in (1, 2))
            places[1] = Place(2, None)
            output = status(parent, code=1)
            assert "worker-2: it does not answer" in output
            assert "worker-1" not in output  # all sessions are in one process


def test_the_sessions_of_two_daemons_are_in_one_table() -> None:
    """With their token, sessions with a problem first, and without control characters."""
    with serving(token=TOKEN) as one, serving(lambda: TROUBLED, TOKEN) as two:
        output = status(one, two, code=0)
    assert output.splitlines()[0] == "mix: 2 replicas, 3 sessions: 2 streaming, 1 waiting, 1 with a problem"
    assert output.index("local/b\\x1b[2J") < output.rindex("local/s\\x1b\\ud800")
    assert "refused" in output
    assert output.replace("\n", "").isprintable()


def test_without_a_url_the_daemon_of_the_settings_is_queried() -> None:
    """Also if it listens on every address. If it chooses its port, a URL is needed."""
    with serving() as port:
        for host in ("0.0.0.0", "::"):
            assert "1 replica" in status(code=0, settings={"http.host": host, "http.port": port})
    assert "http.port: is 0" in status(code=78, settings={"http.port": 0})
    assert "http.port: is none" in status(code=78, settings={"http.port": "none"})


def test_the_document_contains_every_status_and_every_error() -> None:
    """The exit code is that of the worst: no answer, a rejected token, not ready."""
    with ExitStack() as stack:
        well, unready, other = (
            stack.enter_context(serving(snapshot, token))
            for snapshot, token in ((lambda: WELL, TOKEN), (lambda: UNREADY, TOKEN), (lambda: WELL, "x"))
        )
        document = json.loads(status(well, unready, other, 1, code=69, more=("--json",)))
        assert "has not answered yet" in status(well, unready, code=1)
        assert "it rejected this token" in status(unready, other, code=78)
        assert "needs the token" in status(other, code=78, settings={})
    assert document["ok"] is False
    first, second, third, fourth = document["replicas"]
    assert (first["ready"], first["failing"], first["status"]["sessions"][0]["sequence"]) == (True, [], 7)
    assert (second["ready"], len(second["failing"])) == (False, 1)
    assert "token" in third["error"]
    assert fourth == {"url": "http://127.0.0.1:1", "error": "no connection: Connection refused"}


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "something else listens there"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "something else listens there: HTTP 404 for /readyz"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "something else listens there: HTTP 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "something else listens there: no JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "something else listens there: no sessions"),
        (b"", "something else listens there"),
    ],
)
def test_another_program_is_reported_as_one(answer: bytes, complaint: str) -> None:
    """Redirects are not followed: they could send the token to another host."""
    server = RawServer(lambda peer: peer.send(answer))
    try:
        (found,) = ask_all([Endpoint("127.0.0.1", server.port)], "token")
    finally:
        server.close()
    assert found.outcome is Outcome.AWAY
    assert complaint in str(found.error)


def test_an_endpoint_that_says_nothing_costs_seconds_and_one_that_drips_no_more() -> None:

    def drip(peer: Peer) -> None:
        while True:  # until nobody listens any more
            peer.send(b"H")
            if peer.closed_by_client.wait(0.02):
                return

    silent, dripping = RawServer(lambda peer: peer.hold()), RawServer(drip)
    try:
        found = ask_all([Endpoint("127.0.0.1", each.port) for each in (silent, dripping)], None, timeout=0.3)
    finally:
        silent.close()
        dripping.close()
    assert [each.error for each in found] == [
        "no response head: no byte for 0.3 s",
        "no response head: it was not complete after 0.3 s",
    ]


@pytest.mark.parametrize("arguments", [["--url", "http://me:hunter2@a"], ["--url", "ftp://a"], ["--watch", "--json"]])
def test_a_wrong_use_ends_with_2(arguments: list[str]) -> None:
    """The message does not repeat a possible secret."""
    assert "hunter2" not in status(code=2, more=tuple(arguments))


@pytest.mark.parametrize(("number", "most"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_watch_leaves_the_last_tables_on_the_terminal(number: signal.Signals, most: int) -> None:
    """It uses the alternate screen. Ctrl-C restores the terminal, and the exit code is 0."""
    with serving() as port:
        leader, follower = pty.openpty()
        watch = [*MIX_BRIDGE, "status", "--watch", "--url", f"127.0.0.1:{port}"]
        process = subprocess.Popen(
            watch, stdin=follower, stdout=follower, stderr=follower, env=environment({}) | {"TERM": "xterm"}
        )
        os.close(follower)
        screen = b""
        try:
            while screen.count(b"mix: 1 replica") < most and (piece := read(leader)):
                screen += piece
            process.send_signal(number)
            assert process.wait(TIMEOUT) == 0
            screen += b"".join(iter(lambda: read(leader), b""))
        finally:
            process.kill()
            os.close(leader)
    own, _, after = screen.decode().rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in own
    assert "mix: 1 replica, 1 session: 1 streaming" in after


LOGGER = "bridge.sse"


@contextmanager
def daemon(token: str | None = None, tls: ServerTls | None = None) -> Iterator[int]:
    """The port of an endpoint whose level can be changed."""
    logging.getLogger(LOGGER).setLevel(logging.NOTSET)
    context = None if tls is None else tls.context
    try:
        with listening(HttpEndpoint("127.0.0.1", 0, token, lambda: WELL, LogLevels("info"), context)) as port:
            yield port
    finally:
        logging.getLogger(LOGGER).setLevel(logging.NOTSET)


def log_level(*arguments: str, code: int, token: str | None = None) -> str:
    """The output without the lines of the log."""
    output = output_of("log-level", *arguments, code=code, env={} if token is None else {TOKEN_VARIABLE: token})
    return "".join(line for line in output.splitlines(keepends=True) if "[warning" not in line)


def test_a_running_daemon_gets_the_level() -> None:
    """Of one logger, for the time; with the token."""
    with daemon("t") as port:
        more = ("debug", "--logger", LOGGER, "--for", "1m", "--url", f"127.0.0.1:{port}")
        assert log_level(*more, code=0, token="t") == f"http://127.0.0.1:{port}: level of {LOGGER} is debug for 1m\n"
        assert logging.getLogger(LOGGER).level == logging.DEBUG
        document = json.loads(log_level(*more, "--json", code=0, token="t"))
        assert (document["ok"], document["daemons"][0]["ok"]) == (True, True)
        assert "token" in log_level(*more, code=78)
        assert "token" in log_level(*more, code=78, token="other")


def test_a_daemon_that_is_away_or_older_is_one_line() -> None:
    """69 and 1; the others are asked nevertheless."""
    with daemon() as port:
        away = log_level("debug", "--logger", LOGGER, "--url", "127.0.0.1:1", "--url", f"127.0.0.1:{port}", code=69)
        assert len(away.splitlines()) == 2
        assert logging.getLogger(LOGGER).level == logging.DEBUG
    with serving() as port:
        said = log_level("debug", "--url", f"127.0.0.1:{port}", code=1)
        assert said == f"http://127.0.0.1:{port}: it refused this: Not Found\n"


@pytest.mark.parametrize(
    "wrong", [("loud",), ("debug", "--for", "soon"), ("debug", "--for", "2d"), ("debug", "--logger", "urllib3"), ()]
)
def test_a_wrong_use_asks_no_daemon(wrong: tuple[str, ...]) -> None:
    log_level(*wrong, "--url", "127.0.0.1:1", code=2)


def test_a_daemon_with_tls_is_asked_with_its_own_certificate(tmp_path: Path) -> None:
    """The command has the daemon's settings. A new certificate is used at the next handshake, the port stays."""
    authority, file = trustme.CA(), tmp_path / "http.pem"

    def issue() -> ssl.SSLContext:
        authority.issue_cert("bridge.example.org").private_key_and_cert_chain_pem.write_to_path(str(file))
        return server_context(file, None)

    tls = ServerTls(issue())
    with daemon(tls=tls) as port:
        own = ("--set", f"http.cert_file={file}", "--set", f"http.port={port}")
        assert f"https://127.0.0.1:{port}" in log_level("debug", "--logger", LOGGER, *own, code=0)
        old = file.read_bytes()
        tls.present = issue()
        log_level("debug", "--logger", LOGGER, *own, code=0)
        file.write_bytes(old)
        assert "certificate" in log_level("debug", "--logger", LOGGER, *own, code=69)
        with pytest.raises(requests.RequestException):
            requests.get(f"http://127.0.0.1:{port}/livez", timeout=TIMEOUT)


def bundle(folder: Path, *arguments: str, code: int, token: str) -> dict[str, str]:
    """The files of the archive that the command writes, by name."""
    file = folder / "bundle.tar.gz"
    output_of("support-bundle", "--output", str(file), *arguments, code=code, env={TOKEN_VARIABLE: token})
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        members = {each.name.partition("/")[2]: archive.extractfile(each) for each in archive.getmembers()}
        return {name: found.read().decode() for name, found in members.items() if found is not None}


@pytest.fixture
def writer() -> LogWriter:
    return LogWriter(io.StringIO())


def test_everything_of_a_daemon_is_in_the_archive_and_no_secret(tmp_path: Path, writer: LogWriter) -> None:
    """Not even a secret that a line of the log contains."""
    root = logging.getLogger()
    root.addHandler(writer)
    try:
        with daemon("hunter2-http") as port:
            root.warning("a line with hunter2-http in it")
            url = f"http://127.0.0.1:{port}"
            files = bundle(tmp_path, "--url", url, "--url", "http://127.0.0.1:1", code=69, token="hunter2-http")
            other = tmp_path / "other"
            other.mkdir()
            wrong = bundle(other, "--url", url, code=78, token="other")
    finally:
        root.removeHandler(writer)
        writer.close()
    folder = f"127.0.0.1-{port}"
    of_daemon = {name.removeprefix(f"{folder}/") for name in files if name.startswith(f"{folder}/")}
    expected = {"livez.json", "readyz.json", "status.json", "metrics.txt", "log.txt", "stacks.txt", "versions.json"}
    assert of_daemon == expected
    assert {"version.txt", "settings.json", "settings.txt", "missing.txt"} <= files.keys()
    assert json.loads(files[f"{folder}/status.json"])["sessions"]
    assert "a line with ********** in it" in files[f"{folder}/log.txt"]
    assert "Thread MainThread" in files[f"{folder}/stacks.txt"]
    assert files["missing.txt"].count("http://127.0.0.1:1: no ") == 5
    assert not any("hunter2" in text for text in files.values())
    assert "HTTP status 401" in wrong["missing.txt"]


def test_an_existing_file_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    """One line, and nothing is overwritten."""
    file = tmp_path / "there"
    file.write_text("mine")
    for output in (file, tmp_path / "no" / "folder"):
        done = CliRunner().invoke(app, ["support-bundle", "--output", str(output), "--url", "127.0.0.1:1"])
        assert (done.exit_code, "cannot write" in done.output) == (2, True)
    assert file.read_text() == "mine"


def test_json_names_the_archive_and_what_is_missing(tmp_path: Path) -> None:
    """One document, and the archive is written all the same."""
    file = tmp_path / "bundle.tar.gz"
    done = CliRunner().invoke(app, ["support-bundle", "--output", str(file), "--url", "127.0.0.1:1", "--json"])
    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["ok"], shown["file"], len(shown["missing"])) == (69, False, str(file), 5)
    assert file.exists()


def test_only_the_last_lines_are_kept(writer: LogWriter) -> None:
    record = logging.LogRecord("bridge.test", logging.WARNING, "", 0, "x" * 5000, None, None)
    for _ in range(RECENT_LINES + 10):
        writer._put("a line\n")
    writer.emit(record)
    writer.close()
    recent = writer.recent()
    assert (len(recent), recent[0]) == (RECENT_LINES, "a line\n")
    assert len(recent[-1]) < 2100
