"""``mix-bridge status`` with HTTP endpoints of daemons and of other programs."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from bridge.admin.status.replicas import Endpoint, Outcome, ask_all
from bridge.cli.app import app
from bridge.core.snapshot import SessionSnapshot
from bridge.errors import BridgeError
from bridge.workers.queries import Place
from tests.fakes.http_endpoint import WELL, serving
from tests.fakes.parent_endpoint import parent_of
from tests.fakes.raw_server import Peer, RawServer
from tests.support.process import MIX_BRIDGE, environment, variable
from tests.support.waiting import TIMEOUT

TOKEN = "s3cret"
TROUBLED = replace(
    WELL, sessions=(SessionSnapshot("local", "b\x1b[2J", "waiting", last_error="refused"), *WELL.sessions)
)
UNREADY = replace(WELL, kafka_last_answer_age=None)


def status(*ports: int, code: int, settings: Mapping[str, object] | None = None, more: tuple[str, ...] = ()) -> str:
    """The output of the command, which must end with this exit code."""
    urls = [part for port in ports for part in ("--url", f"127.0.0.1:{port}")]
    chosen = {
        variable(key): str(value) for key, value in ({"http.token": TOKEN} if settings is None else settings).items()
    }
    result = CliRunner().invoke(app, ["status", *urls, *more], env=chosen)
    ended = result.exception.exit_code if isinstance(result.exception, BridgeError) else result.exit_code
    output = result.output + (str(result.exception) if isinstance(result.exception, BridgeError) else "")
    assert ended == code, output
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
    """The other daemons are reported too."""

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
