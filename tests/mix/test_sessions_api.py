"""The REST interface with real servers on loopback: accepted and rejected responses, and stopping."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bridge.clock import clock_difference, monotonic
from bridge.errors import Stopped
from bridge.mix.listing import SessionSummary
from bridge.mix.sessions import ServerUnavailable, SessionsApi
from bridge.settings.tls import client_context
from tests.fakes.raw_server import Peer, RawServer, Script, answer
from tests.fakes.streams import authority, sending, server_tls, transport
from tests.support.waiting import TIMEOUT, wait_until

JSON = b"Content-Type: application/json; charset=utf-8"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Server(RawServer):
    """Gives the answer for each path."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, bytes | Script] = {}
        super().__init__(self._answer, tls)
        self.base = self.url.removesuffix("/stream")

    def _answer(self, peer: Peer) -> None:
        found = self.answers.get(target(peer).partition("?")[0], answer(404, JSON, body=b'{"error":{}}'))
        if callable(found):
            found(peer)
        else:
            peer.send(found)

    def lists(self, sessions: object, *headers: bytes) -> None:
        self.answers["/api/sessions"] = answer(200, JSON, *headers, body=json.dumps(sessions).encode())


def target(peer: Peer) -> str:
    """The path and the query of a request."""
    return peer.request.split(b" ")[1].decode()


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as running:
        yield running


def api(
    url: str,
    headers: Callable[[], Mapping[str, str]] = dict,
    report: Callable[[str], None] | None = None,
    **changes: Any,
) -> SessionsApi:
    return SessionsApi(url, headers, transport(**changes), report)


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
    asked = api(server.base + "/", lambda: {"Authorization": f"Bearer {next(tokens)}"})
    assert asked.list(include_subagents=True) == [SessionSummary("a", "main", 1_764_000_000_000, "t")]
    asked.list(include_subagents=False)
    assert [(target(peer), peer.headers["authorization"]) for peer in server.peers] == [
        ("/api/sessions?includeSubagents=true", b"Bearer one"),
        ("/api/sessions?includeSubagents=false", b"Bearer two"),
    ]
    assert server.peers[0].headers["accept-encoding"] == b"identity"


def test_a_list_that_has_not_changed_is_not_parsed_again(server: Server) -> None:
    """A list of 15 MB takes a third of a second of processor time."""
    server.lists([{"id": "a"}, {"id": "a"}])
    asked = api(server.base)
    first = asked.list(include_subagents=False)
    assert asked.list(include_subagents=False) is first
    assert asked.skipped == 1
    server.lists([{"id": "a"}, {"id": "b"}])
    assert len(asked.list(include_subagents=False)) == 2
    assert asked.skipped == 0


def test_the_clocks_are_compared_at_each_response(server: Server) -> None:
    """By its date: a clock that is far ahead makes Kafka refuse every record."""
    asked = api(server.base)
    for date, ahead in ((b"Date: Mon, 05 Jan 2026 10:00:00 GMT", True), (b"X-Date: none", False)):
        server.lists([], date)
        asked.list(include_subagents=False)
        assert (clock_difference(asked.clock_ahead or 0.0, "the server") is not None) == ahead


def test_skipped_entries_are_reported_and_the_rest_is_listed(server: Server) -> None:
    """One line for the list, without payload."""
    server.lists([{"id": "a"}, {"id": ""}, 5])
    reports: list[str] = []
    assert [s.id for s in api(server.base, report=reports.append).list(include_subagents=False)] == ["a"]
    assert reports == ["2 of 3 listed sessions skipped; entry 1: id is not a non-empty string; entry 2: not an object"]
    assert len(api(server.base).list(include_subagents=False)) == 1  # report is optional


@pytest.mark.parametrize(
    ("response", "detail"),
    [
        (answer(200, b"Content-Type: text/plain", body=b"[]"), "GET /api/sessions: the content type is not JSON"),
        (answer(200, body=b"[]"), "GET /api/sessions: the content type is not JSON"),
        (answer(201, JSON, body=b"[]"), "GET /api/sessions: HTTP status 201"),
        (answer(401, JSON, body=b"[]"), "GET /api/sessions: HTTP status 401"),
        (answer(500, JSON, body=b'{"error":{}}'), "GET /api/sessions: HTTP status 500"),
        (answer(200, JSON, body=b"<html>"), "the list of sessions is not JSON"),
        (answer(200, JSON, body=b'{"a":1}'), "the list of sessions is not a JSON array"),
        (answer(200, JSON, body=b" " * (16 << 20) + b" "), "GET /api/sessions: the body is larger than 16 MiB"),
        (
            answer(302, b"Location: http://localhost:1/x"),
            "GET /api/sessions: redirect 302 to another server, http://localhost:1: refused",
        ),
        (
            answer(302, b"Location: ftp://127.0.0.1/x"),
            "GET /api/sessions: redirect 302 to another server, ftp://127.0.0.1:None: refused",
        ),
        (answer(302, b"Location: /api/sessions"), "GET /api/sessions: more than 5 redirects"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_a_json_list_with_status_200_is_accepted(server: Server, response: bytes, detail: str) -> None:
    """Every other response says nothing about sessions."""
    server.answers["/api/sessions"] = response
    assert refusal(api(server.base), answered=True) == detail


def test_redirects_on_the_same_server_are_followed(server: Server) -> None:
    """With the configured headers, because it is the same server."""
    server.answers["/api/sessions"] = answer(307, b"Location: /v2/sessions")
    server.answers["/v2/sessions"] = answer(200, b"Content-Type: application/vnd.mix+json", body=b'[{"id":"a"}]')
    assert len(api(server.base, lambda: {"X-Key": "k"}).list(include_subagents=False)) == 1
    assert server.peers[-1].headers["x-key"] == b"k"


def test_health_is_a_json_object_with_status_200(server: Server) -> None:
    """A page or a list is not a health report."""
    server.answers["/health"] = answer(200, JSON, body=b'{"status":"ok"}')
    api(server.base).health()
    for body, detail in (
        (b"[]", "GET /health: the response is not a JSON object"),
        (b"ok", "GET /health: the response is not JSON"),
    ):
        server.answers["/health"] = answer(200, JSON, body=body)
        with pytest.raises(ServerUnavailable, match=detail) as caught:
            api(server.base).health()
        assert caught.value.answered


def missing() -> Mapping[str, str]:
    raise FileNotFoundError(2, "No such file or directory", "/run/token")


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        (dict, "no connection: Connection refused"),
        (sending(X_Key="secret\nvalue"), "HTTP cannot carry the header 'x-key'"),
        (missing, "no request headers: [Errno 2] No such file or directory: '/run/token'"),
    ],
)
def test_a_request_that_cannot_be_sent_makes_the_server_unavailable(
    headers: Callable[[], Mapping[str, str]], detail: str
) -> None:
    """With the system's text, without a header's value. It may succeed at the next poll."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert refusal(api(f"http://127.0.0.1:{closed.getsockname()[1]}", headers)) == f"GET /api/sessions: {detail}"


def test_an_incomplete_response_is_not_accepted(server: Server) -> None:
    """It may look like a shorter list."""
    server.answers["/api/sessions"] = HEAD + b"Content-Length: 99\r\n\r\n[]"
    assert refusal(api(server.base)).startswith("GET /api/sessions: ")


def test_silence_and_a_slow_body_end_in_time(server: Server) -> None:
    """The read timeout limits the silence before the head and the whole of a body that never ends."""
    server.answers["/api/sessions"] = Peer.hold
    assert refusal(api(server.base, read_timeout=0.1)) == "GET /api/sessions: no response head: no byte for 0.1 s"

    def slow_body(peer: Peer) -> None:
        peer.send(HEAD + b"\r\n")
        while not peer.server.ending.wait(0.02):
            peer.send(b" ")

    server.answers["/api/sessions"] = slow_body
    started = monotonic()
    asked = api(server.base, connect_timeout=0.1, read_timeout=0.2)
    assert refusal(asked, answered=True) == "GET /api/sessions: the body was not complete in time"
    assert monotonic() - started < TIMEOUT


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
def test_stop_ends_a_waiting_request_immediately(head: bytes, secure: bool) -> None:  # noqa: FBT001
    """In every part of the response. The request ends as stopped, and so does each later one."""
    waiting = threading.Event()

    def hang(peer: Peer) -> None:
        peer.send(head)
        waiting.set()
        peer.hold()

    with closing(Server(server_tls() if secure else None)) as server:
        server.answers["/api/sessions"] = hang
        asked = api(server.base, read_timeout=30.0)
        ended: list[tuple[float, BaseException]] = []

        def ask() -> None:
            try:
                asked.list(include_subagents=False)
            except (Stopped, ServerUnavailable) as error:
                ended.append((monotonic(), error))

        thread = threading.Thread(target=ask)
        thread.start()
        assert waiting.wait(TIMEOUT)
        stopped = monotonic()
        asked.stop()
        asked.stop()
        wait_until(lambda: ended, 10, "the request to end")
        thread.join(TIMEOUT)
        assert isinstance(ended[0][1], Stopped)
        assert ended[0][0] - stopped < 1
        with pytest.raises(Stopped):
            asked.health()


def test_tls_sends_the_client_certificate(tmp_path: Path) -> None:
    """Both sides are authenticated."""
    trusted, own = tmp_path / "ca.pem", tmp_path / "client.pem"
    authority().cert_pem.write_to_path(str(trusted))
    authority().issue_cert("bridge@example.org").private_key_and_cert_chain_pem.write_to_path(str(own))
    demanding = server_tls()
    authority().configure_trust(demanding)
    demanding.verify_mode = ssl.CERT_REQUIRED
    with closing(Server(demanding)) as server:
        server.lists([])
        context = client_context(str(trusted), str(own), None)
        assert api(server.base, tls=context).list(include_subagents=False) == []
        assert refusal(api(server.base)).startswith("GET /api/sessions: ")
