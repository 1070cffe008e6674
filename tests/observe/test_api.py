"""The HTTP endpoint, over loopback."""

from __future__ import annotations

import base64
import json
import logging
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.client import HTTPSConnection
from itertools import pairwise

import pytest
import requests
import trustme
from structlog.testing import capture_logs

from bridge import clock
from bridge.core.snapshot import BridgeSnapshot, SessionSnapshot
from bridge.errors import EXIT_SETTINGS, SettingsError
from bridge.observe import api as http
from bridge.observe import connections
from bridge.observe.api import HttpEndpoint
from bridge.observe.health import Heartbeats, moving
from bridge.settings.tls import ServerTls
from tests.fakes.http_endpoint import WELL, listening, serving
from tests.support.waiting import SCALE, TIMEOUT, wait_until

# Larger than the socket buffers of both sides, so that a client that does not read leaves the rest with the endpoint.
LARGE = replace(WELL, sessions=tuple(SessionSnapshot("local", f"{each:0>1000}", "streaming") for each in range(20_000)))
TOKEN = "tökén-123"
PATHS = ("/livez", "/readyz", "/metrics", "/api/status")


def ask(port: int, path: str, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(method, f"http://127.0.0.1:{port}{path}", headers=headers, timeout=TIMEOUT)


def raw(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes; a reset is an end too."""
    read = b""
    try:
        while chunk := connection.recv(65536):
            read += chunk
    except ConnectionResetError:
        pass
    return read


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """An endpoint without a token."""
    with serving() as chosen:
        yield chosen


@pytest.mark.parametrize(("least", "level"), [(logging.INFO, "info"), (logging.WARNING, "warning")])
def test_a_port_that_the_system_chose_is_logged_at_warning_level_too(
    least: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing else contains it; a configured port is not a warning."""
    caplog.set_level(least, "bridge.http")
    with capture_logs() as lines:
        with serving() as picked:
            pass
        with serving(asked=picked):
            pass
    assert [(line["log_level"], line["port"]) for line in lines] == [(level, picked), ("info", picked)]


@pytest.fixture(scope="module")
def guarded() -> Iterator[int]:
    with serving(token=TOKEN) as chosen:
        yield chosen


def test_every_path_answers(port: int) -> None:
    """With 200 and its content type."""
    answers = {path: ask(port, path) for path in PATHS}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(PATHS, 200)
    assert answers["/livez"].json()["ok"] is True
    assert answers["/readyz"].json()["ok"] is True
    assert answers["/metrics"].headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "mix_bridge_events_received_total" in answers["/metrics"].text


def test_open_metrics_for_those_who_ask(port: int) -> None:
    """By the request's Accept header."""
    answer = ask(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


def test_status_lists_sessions_with_any_id(port: int) -> None:
    """A session id that has no UTF-8 comes through as JSON's escapes."""
    answer = ask(port, "/api/status")
    [session] = answer.json()["sessions"]
    assert (session["session"], session["sequence"]) == ("s\x1b\ud800", 7)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PATHS)
def test_head_is_the_answer_without_its_body(port: int, path: str) -> None:
    """Some probes only ask for the head."""
    answer = ask(port, path, "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/index.html", "/nothing", "/livez/", "/api", "//livez", "/%2e%2e/livez"])
def test_an_unknown_path_is_404_in_json(port: int, path: str) -> None:
    """Neither a page nor a redirect."""
    answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT, allow_redirects=False)
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


def test_another_method_is_405_in_json(port: int) -> None:
    """Nothing here can be changed."""
    answer = ask(port, "/api/status", "POST")
    assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})
    assert "GET" in answer.headers["Allow"]


def test_no_server_header(port: int) -> None:
    """Clients need not know the software."""
    assert "Server" not in ask(port, "/livez").headers


def test_a_stalled_loop_is_503_on_livez_alone() -> None:
    """A loop without heartbeats makes the daemon not alive, and nothing else."""
    now = 100.0
    heartbeats = Heartbeats(lambda: now)
    heartbeats.record("poll")
    with serving(lambda: replace(WELL, loops=heartbeats.ages())) as port:
        now = 106.0
        answer = ask(port, "/livez")
        assert answer.status_code == 503
        assert [check["name"] for check in answer.json()["checks"] if not check["ok"]] == ["loop:poll"]
        assert ask(port, "/readyz").status_code == 200


def test_a_silent_kafka_is_503_on_readyz_alone() -> None:
    with serving(lambda: replace(WELL, kafka_last_answer_age=60.0)) as port:
        assert ask(port, "/readyz").status_code == 503
        assert ask(port, "/livez").status_code == 200


def basic(password: str, user: str = "anyone") -> str:
    """An Authorization header of RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


BEARER = "Bearer " + TOKEN.encode().decode("latin-1")


@pytest.mark.parametrize("given", [BEARER, BEARER.replace("Bearer", "bearer"), basic(TOKEN), basic(TOKEN, user="")])
@pytest.mark.parametrize("path", ["/metrics", "/api/status"])
def test_the_token_opens_as_bearer_and_as_basic_password(guarded: int, path: str, given: str) -> None:
    """The user name does not matter, nor the case of the scheme."""
    assert ask(guarded, path, Authorization=given).status_code == 200


WRONG = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    BEARER + "4",
    BEARER[7:],
    "Digest " + BEARER[7:],
    basic(""),
    basic("wrong"),
    basic("wrong", user=TOKEN),
    "Basic ???",
    "Basic ",
]


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("path", ["/metrics", "/api/status", "/", "/nothing", "/livez/", "/LIVEZ"])
def test_without_the_token_everything_is_401(guarded: int, path: str, given: str | None) -> None:
    """Also for paths that do not exist, so that nobody can explore them."""
    answer = ask(guarded, path, **({} if given is None else {"Authorization": given}))
    assert answer.status_code == 401
    assert "Basic" in answer.headers["WWW-Authenticate"]
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert TOKEN not in answer.text


def test_probes_need_no_token(guarded: int) -> None:
    assert ask(guarded, "/livez").status_code == 200
    assert ask(guarded, "/readyz").status_code == 200


def test_a_probe_of_livez_does_not_look_at_the_sessions() -> None:
    """A process with thousands of them in a part of a core would answer it too late."""
    taken: list[BridgeSnapshot] = []

    def snapshot() -> BridgeSnapshot:
        taken.append(LARGE)
        return LARGE

    endpoint = HttpEndpoint("127.0.0.1", 0, None, snapshot, live=lambda: moving({"main": 0.1}, 20_000))
    with listening(endpoint) as port:
        assert ask(port, "/livez").json()["checks"][0]["name"] == "loop:main"
        assert not taken
        assert ask(port, "/readyz").status_code == 200
        assert taken


def test_an_empty_token_is_refused_at_the_start() -> None:
    """An empty password would be accepted."""
    with pytest.raises(SettingsError, match=r"http\.token"):
        HttpEndpoint("127.0.0.1", 0, "", lambda: WELL).start()


def test_the_error_for_a_port_in_use_names_the_setting_and_the_fix(port: int) -> None:
    """Whoever starts a second bridge on this machine learns what to set."""
    with pytest.raises(SettingsError, match=rf"http\.port: another program uses port {port} .* 0 .* none") as caught:
        HttpEndpoint("127.0.0.1", port, None, lambda: WELL).start()
    assert caught.value.exit_code == EXIT_SETTINGS


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_the_error_for_a_host_of_another_machine_names_the_setting(host: str) -> None:
    """An address of another machine, or a name that does not resolve."""
    with pytest.raises(SettingsError, match=r"http\.host"):
        HttpEndpoint(host, 0, None, lambda: WELL).start()


def test_it_can_be_stopped_and_joined_at_any_time_and_twice() -> None:
    """Before the start, after it, again."""
    endpoint = HttpEndpoint("127.0.0.1", 0, None, lambda: WELL)
    endpoint.stop()
    assert endpoint.join(clock.monotonic())
    port = endpoint.start()
    assert not endpoint.join(clock.monotonic())
    for _ in range(2):
        endpoint.stop()
        assert endpoint.join(clock.monotonic() + TIMEOUT)
    with pytest.raises(ConnectionRefusedError):
        raw(port)


def test_a_stop_does_not_wait_for_a_client_that_does_nothing() -> None:
    """An open connection without a request, and one that does not read its answer, do not hold it."""
    endpoint = HttpEndpoint("127.0.0.1", 0, None, lambda: LARGE)
    port = endpoint.start()
    with raw(port), raw(port) as slow:
        slow.sendall(b"GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.recv(1)
        endpoint.stop()
        assert endpoint.join(clock.monotonic() + TIMEOUT)


def test_no_signal_handler_is_installed() -> None:
    """Signals belong to the daemon's main thread."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with serving() as port:
        assert ask(port, "/livez").ok
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_log_contains_no_requests(caplog: pytest.LogCaptureFixture) -> None:
    """There is no access log and no handler of uvicorn's own."""
    with caplog.at_level(logging.INFO), serving() as port:
        ask(port, "/livez")
        ask(port, "/nothing")
    assert "/livez" not in caplog.text
    assert not logging.getLogger("uvicorn").handlers
    assert not logging.getLogger("uvicorn.error").handlers


def test_a_snapshot_that_fails_is_500_and_the_endpoint_continues(caplog: pytest.LogCaptureFixture) -> None:
    """The error is in the log, not in the answer."""
    failing = threading.Event()
    failing.set()

    def snapshot() -> BridgeSnapshot:
        if failing.is_set():
            raise RuntimeError("a bug")
        return WELL

    with serving(snapshot) as port:
        answer = ask(port, "/api/status")
        assert answer.status_code == 500
        assert "a bug" not in answer.text
        failing.clear()
        assert ask(port, "/api/status").status_code == 200
    assert "a bug" in caplog.text


def test_a_flood_of_requests_takes_few_snapshots() -> None:
    """A few per second, however many requests there are."""
    taken: list[float] = []

    def snapshot() -> BridgeSnapshot:
        taken.append(clock.monotonic())
        return WELL

    with serving(snapshot) as port:
        for _ in range(50):
            assert ask(port, "/livez").ok
    gaps = [later - earlier for earlier, later in pairwise(taken)]
    assert all(gap > http.SNAPSHOT_LIFETIME for gap in gaps)


def test_a_connection_ends_after_its_one_answer(port: int) -> None:
    """There are no idle connections."""
    with raw(port) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["ok"] is True


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_client_that_does_not_finish_its_request_is_cut_off(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would hold a descriptor for ever."""
    monkeypatch.setattr(connections, "CONNECTION_LIFETIME", 0.2)
    with serving() as port, raw(port) as connection:
        connection.sendall(sent)
        assert read_all(connection) == b""


def test_a_client_that_does_not_read_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the rest of the answer would stay in memory for ever. Other clients are served meanwhile."""
    monkeypatch.setattr(connections, "CONNECTION_LIFETIME", 0.5)
    endpoint = HttpEndpoint("127.0.0.1", 0, None, lambda: LARGE)
    with listening(endpoint) as port, raw(port) as slow:
        slow.sendall(b"GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n")
        head = slow.recv(200)
        assert ask(port, "/livez").ok
        assert endpoint._server is not None
        held = endpoint._server.server_state.connections
        wait_until(lambda: not held, what="the cut")
        length = int(head.partition(b"content-length: ")[2].split()[0])
        assert len(head + read_all(slow)) < length


def test_idle_connections_cannot_keep_a_probe_out(port: int) -> None:
    """The oldest connection is closed, the newest is answered."""
    with ExitStack() as stack:
        idle = [stack.enter_context(raw(port)) for _ in range(3 * connections.MAX_CONNECTIONS)]
        assert ask(port, "/livez").status_code == 200
        assert read_all(idle[0]) == b""


@contextmanager
def serving_tls(context: ssl.SSLContext | None = None) -> Iterator[int]:
    context = with_certificate_of(trustme.CA()) if context is None else context
    with listening(HttpEndpoint("127.0.0.1", 0, None, lambda: WELL, None, context)) as port:
        yield port


def with_certificate_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def connected_tls(port: int, authority: trustme.CA) -> HTTPSConnection:
    """A connection of a client that trusts only this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    connection = HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=context)
    connection.connect()
    return connection


def test_a_new_certificate_is_used_by_later_connections() -> None:
    """Those that are open stay open and are answered."""
    former, present = trustme.CA(), trustme.CA()
    tls = ServerTls(with_certificate_of(former))
    with serving_tls(tls.context) as port:
        before = connected_tls(port, former)
        tls.present = with_certificate_of(present)
        after = connected_tls(port, present)
        with pytest.raises(ssl.SSLCertVerificationError):
            connected_tls(port, former)
        for each in (before, after):
            each.request("GET", "/livez")
            assert each.getresponse().status == 200
            each.close()


def ask_tls(port: int) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=context)
    connection.request("GET", "/livez")
    return connection.getresponse().status


def test_clients_without_a_handshake_cannot_use_up_the_descriptors() -> None:
    """The oldest is closed, the newest is answered: asyncio announces a TLS connection only after its handshake."""
    most = connections.MAX_HANDSHAKES
    with serving_tls() as port, ExitStack() as stack:
        idle = [stack.enter_context(raw(port)) for _ in range(3 * most)]
        assert ask_tls(port) == 200
        assert [read_all(each) for each in idle[: 2 * most]] == [b""] * (2 * most)
        assert ask_tls(port) == 200
        idle[-1].setblocking(False)  # noqa: FBT003 - socket's own signature
        with pytest.raises(BlockingIOError):
            idle[-1].recv(1)


def test_a_handshake_must_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that has ended it lives for as long as others."""
    monkeypatch.setattr(connections, "HANDSHAKE_TIMEOUT", 0.5 * SCALE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with serving_tls() as port, raw(port) as plain, context.wrap_socket(plain) as slow, raw(port) as silent:
        assert read_all(silent) == b""
        slow.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000,
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_an_invalid_request_does_not_disturb_the_endpoint(port: int, sent: bytes) -> None:
    """TLS, garbage, a giant head, smuggling and a web socket: an answer or a close, and the next request is served."""
    with raw(port) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection)[:9] in {b"", b"HTTP/1.1 "}
    assert ask(port, "/livez").status_code == 200
