"""The REST interface with real servers on loopback: accepted and rejected responses, and stopping."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from bridge.clock import clock_difference, monotonic
from bridge.errors import Stopped
from bridge.http.transport import Transport
from bridge.mix.listing import SessionSummary
from bridge.mix.sessions import ServerUnavailable, SessionsApi
from bridge.settings.tls import client_context
from tests.support.waiting import TIMEOUT, wait_until

JSON = {"Content-Type": "application/json; charset=utf-8"}
Answer = tuple[int, Mapping[str, str], bytes]


class Server:
    """Sends the configured response for each path and keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.date: str | None = None
        """The date of each response; None: the present one."""
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.waiting = threading.Event()
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                answer = outer.answers.get(self.path.partition("?")[0], (404, JSON, b'{"error":{}}'))
                if callable(answer):
                    self.close_connection = True
                    answer(self)
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return outer.date or super().date_time_string(timestamp)

            def log_message(self, *_: object) -> None: ...

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None: ...  # clients that hang up are what some tests are about

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def wait(self, _handler: BaseHTTPRequestHandler) -> None:
        """Let the client wait until the test is over."""
        self.waiting.set()
        self.released.wait(TIMEOUT)

    def lists(self, sessions: object) -> None:
        self.answers["/api/sessions"] = (200, JSON, json.dumps(sessions).encode())


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server()
    if tls is not None:
        server.http.socket = tls.wrap_socket(server.http.socket, server_side=True)
        server.url = f"https://localhost:{server.http.server_port}"
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.http.shutdown()
        thread.join(TIMEOUT)
        server.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def api(
    url: str,
    headers: Callable[[], Mapping[str, str]] = dict,
    report: Callable[[str], None] | None = None,
    **changes: Any,
) -> SessionsApi:
    return SessionsApi(url, headers, Transport(**{"connect_timeout": 2.0, "read_timeout": 5.0} | changes), report)


def refusal(asked: SessionsApi, *, answered: bool = False) -> str:
    with pytest.raises(ServerUnavailable) as caught:
        asked.list(include_subagents=False)
    assert "\n" not in caught.value.detail
    assert caught.value.answered == answered
    return caught.value.detail


def test_sessions_are_listed_with_headers_read_at_each_request(server: Server) -> None:
    """The query holds whether subagents are included. The headers are read for each request."""
    server.lists([{"id": "a", "title": "t", "sessionType": "main", "createdAt": 1_764_000_000}])
    tokens = iter(["one", "two"])
    asked = api(server.url + "/", lambda: {"Authorization": f"Bearer {next(tokens)}"})
    assert asked.list(include_subagents=True) == [SessionSummary("a", "main", 1_764_000_000_000, None, "t")]
    asked.list(include_subagents=False)
    assert [(path, headers["authorization"]) for path, headers in server.requests] == [
        ("/api/sessions?includeSubagents=true", "Bearer one"),
        ("/api/sessions?includeSubagents=false", "Bearer two"),
    ]
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_a_list_that_has_not_changed_is_not_parsed_again(server: Server) -> None:
    """A list of 15 MB takes a third of a second of processor time."""
    server.lists([{"id": "a"}, {"id": "a"}])
    asked = api(server.url)
    first = asked.list(include_subagents=False)
    assert asked.list(include_subagents=False) is first
    assert asked.skipped == 1
    server.lists([{"id": "a"}, {"id": "b"}])
    assert len(asked.list(include_subagents=False)) == 2
    assert asked.skipped == 0


def test_the_clocks_are_compared_at_each_response(server: Server) -> None:
    """By its date: a clock that is far ahead makes Kafka refuse every record."""
    asked = api(server.url)
    server.lists([])
    for date, ahead in (("Mon, 05 Jan 2026 10:00:00 GMT", True), (None, False)):
        server.date = date
        asked.list(include_subagents=False)
        assert (clock_difference(asked.clock_ahead or 0.0, "the server") is not None) == ahead


def test_skipped_entries_are_reported_and_the_rest_is_listed(server: Server) -> None:
    """One line for the list, without payload."""
    server.lists([{"id": "a"}, {"id": ""}, 5])
    reports: list[str] = []
    assert [s.id for s in api(server.url, report=reports.append).list(include_subagents=False)] == ["a"]
    assert reports == ["2 of 3 listed sessions skipped; entry 1: id is not a non-empty string; entry 2: not an object"]
    assert len(api(server.url).list(include_subagents=False)) == 1  # report is optional


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ((200, {"Content-Type": "text/plain"}, b"[]"), "GET /api/sessions: the content type is not JSON"),
        ((200, {}, b"[]"), "GET /api/sessions: the content type is not JSON"),
        ((201, JSON, b"[]"), "GET /api/sessions: HTTP status 201"),
        ((401, JSON, b"[]"), "GET /api/sessions: HTTP status 401"),
        ((500, JSON, b'{"error":{}}'), "GET /api/sessions: HTTP status 500"),
        ((200, JSON, b"<html>"), "the list of sessions is not JSON"),
        ((200, JSON, b'{"a":1}'), "the list of sessions is not a JSON array"),
        ((200, JSON, b" " * (16 * 1024 * 1024 + 1)), "GET /api/sessions: the body is larger than 16 MiB"),
        (
            (302, {"Location": "http://localhost:1/x"}, b""),
            "GET /api/sessions: redirect 302 to another server, http://localhost:1: refused",
        ),
        (
            (302, {"Location": "ftp://127.0.0.1/x"}, b""),
            "GET /api/sessions: redirect 302 to another server, ftp://127.0.0.1:None: refused",
        ),
        ((302, {"Location": "/api/sessions"}, b""), "GET /api/sessions: more than 5 redirects"),
    ],
)
def test_only_a_json_list_with_status_200_is_accepted(server: Server, answer: Answer, detail: str) -> None:
    """Every other response says nothing about sessions."""
    server.answers["/api/sessions"] = answer
    assert refusal(api(server.url), answered=True) == detail


def test_redirects_on_the_same_server_are_followed(server: Server) -> None:
    """With the configured headers, because it is the same server."""
    server.answers["/api/sessions"] = (307, {"Location": "/v2/sessions"}, b"")
    server.answers["/v2/sessions"] = (200, {"Content-Type": "application/vnd.mix+json"}, b'[{"id":"a"}]')
    assert len(api(server.url, lambda: {"X-Key": "k"}).list(include_subagents=False)) == 1
    assert server.requests[-1][1]["x-key"] == "k"


def test_health_is_a_json_object_with_status_200(server: Server) -> None:
    """A page or a list is not a health report."""
    server.answers["/health"] = (200, JSON, b'{"status":"ok"}')
    api(server.url).health()
    for body, detail in (
        (b"[]", "GET /health: the response is not a JSON object"),
        (b"ok", "GET /health: the response is not JSON"),
    ):
        server.answers["/health"] = (200, JSON, body)
        with pytest.raises(ServerUnavailable, match=detail) as caught:
            api(server.url).health()
        assert caught.value.answered


def test_the_environments_proxy_and_netrc_are_not_read(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A netrc entry would replace the token, a proxy variable would send it elsewhere."""
    (tmp_path / "netrc").write_text("default login me password wrong\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.lists([])
    assert api(server.url, lambda: {"Authorization": "Bearer mine"}).list(include_subagents=False) == []
    assert server.requests[0][1]["authorization"] == "Bearer mine"


def test_the_configured_proxy_is_used_and_its_password_is_not_shown(server: Server) -> None:
    """The request line has the whole address. If the proxy refuses connections, the error names no address."""
    asked = api("http://mix.invalid:8088", proxy=server.url.replace("//", "//me:secret@"))
    server.answers["http://mix.invalid:8088/api/sessions"] = (200, JSON, b"[]")
    assert asked.list(include_subagents=False) == []
    detail = refusal(api("http://mix.invalid", proxy=f"http://me:secret@127.0.0.1:{free_port()}"))
    assert detail == "GET /api/sessions: proxy failed: Connection refused"


def test_a_server_that_refuses_connections_is_unavailable() -> None:
    """The detail is the system's text, not the library's list of wrappers."""
    assert refusal(api(f"http://127.0.0.1:{free_port()}")) == "GET /api/sessions: no connection: Connection refused"


@pytest.mark.parametrize("value", ["secret\nvalue", "secret ", "secret\0"])
def test_a_header_that_cannot_be_sent_is_not_shown(server: Server, value: str) -> None:
    """Libraries quote the value in their errors."""
    assert "secret" not in refusal(api(server.url, lambda: {"X-Key": value}))


def test_a_token_file_that_cannot_be_read_makes_the_server_unavailable(server: Server) -> None:
    """It may be readable at the next poll."""

    def headers() -> Mapping[str, str]:
        raise FileNotFoundError(2, "No such file or directory", "/run/token")

    assert (
        refusal(api(server.url, headers))
        == "GET /api/sessions: no request headers: [Errno 2] No such file or directory: '/run/token'"
    )


def test_an_incomplete_response_is_not_accepted(server: Server) -> None:
    """It may look like a shorter list."""

    def incomplete(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n[]")

    server.answers["/api/sessions"] = incomplete
    assert refusal(api(server.url)).startswith("GET /api/sessions: ")


def test_silence_and_a_slow_body_end_in_time(server: Server) -> None:
    """The read timeout limits the silence before the head and the whole of a body that never ends."""
    server.answers["/api/sessions"] = server.wait
    assert refusal(api(server.url, read_timeout=0.1)) == "GET /api/sessions: no response head: no byte for 0.1 s"

    def slow_body(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not server.released.wait(0.02):
            handler.wfile.write(b" ")

    server.answers["/api/sessions"] = slow_body
    started = monotonic()
    asked = api(server.url, connect_timeout=0.1, read_timeout=0.2)
    assert refusal(asked, answered=True) == "GET /api/sessions: the body was not complete in time"
    assert monotonic() - started < TIMEOUT


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        b"",
        HEAD + b"\r\n[",
        HEAD + b"Content-Length: 9\r\n\r\n[",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n",
    ],
)
def test_stop_ends_a_waiting_request_immediately(head: bytes, secure: bool, authority: Authority) -> None:  # noqa: FBT001
    """In every part of the response. The request ends as stopped, and so does each later one."""
    with serving(authority.server if secure else None) as server:

        def hang(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(head)
            server.wait(handler)

        server.answers["/api/sessions"] = hang
        asked = api(server.url, read_timeout=30.0, tls=authority.client)
        ended: list[tuple[float, BaseException]] = []

        def ask() -> None:
            try:
                asked.list(include_subagents=False)
            except (Stopped, ServerUnavailable) as error:
                ended.append((monotonic(), error))

        thread = threading.Thread(target=ask)
        thread.start()
        assert server.waiting.wait(TIMEOUT)
        stopped = monotonic()
        asked.stop()
        asked.stop()
        wait_until(lambda: ended, 10, "the request to end")
        thread.join(TIMEOUT)
        assert isinstance(ended[0][1], Stopped)
        assert ended[0][0] - stopped < 1
        with pytest.raises(Stopped):
            asked.health()


class Authority:
    """A certificate authority with a server certificate for localhost, and what a client needs."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.server)
        self.client_file = folder / "client.pem"
        authority.issue_cert("bridge@example.org").private_key_and_cert_chain_pem.write_to_path(str(self.client_file))
        self.client = client_context(str(self.ca_file), None, None)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def test_tls_trusts_the_configured_authority_and_sends_the_client_certificate(authority: Authority) -> None:
    """Both sides are authenticated."""
    demanding = authority.server
    with serving(demanding) as server:
        server.lists([])
        context = client_context(str(authority.ca_file), str(authority.client_file), None)
        assert api(server.url, tls=context).list(include_subagents=False) == []


def test_tls_refuses_other_authorities_and_host_names(authority: Authority, tmp_path: Path) -> None:
    """The detail names the reason. A request adds no authority to the context."""
    other = Authority(tmp_path)
    before = len(other.client.get_ca_certs())
    with serving(authority.server) as server:
        server.lists([])
        assert "certificate" in refusal(api(server.url, tls=other.client))
        assert "127.0.0.1" in refusal(api(server.url.replace("localhost", "127.0.0.1"), tls=authority.client))
        assert "certificate" in refusal(api(server.url))
    assert len(other.client.get_ca_certs()) == before == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
