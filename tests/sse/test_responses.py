"""The request to a server, and the outcome of each response head: only an event stream is parsed."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from bridge.http.redirects import MAX_REDIRECTS
from bridge.sse.connection import Connector
from bridge.sse.reconnection import Kind, Outcome
from tests.fakes.raw_server import (
    CHUNKED,
    LAST_CHUNK,
    Peer,
    RawServer,
    Script,
    answer,
    chunk,
    full_backlog,
    serving,
)
from tests.fakes.streams import E1, endpoint, read_all, read_on, refused, sending, server_tls
from tests.support.waiting import TIMEOUT

EVENT = b"data: not found\n\n"
SECRET = "s3cret"


def whole(peer: Peer) -> None:
    """A stream of one event."""
    peer.send(CHUNKED, chunk(E1), LAST_CHUNK)


def sending_only(response: bytes) -> Script:
    """A script that sends this and no more."""
    return lambda peer: peer.send(response)


def asked(last_event_id: str = "", **changes: object) -> dict[str, bytes]:
    """The headers of a request."""
    with serving(whole) as server:
        read_all(server.url, last_event_id, **changes)
        return server.peers[0].headers


# The request


def test_the_request_has_the_headers_of_an_event_stream() -> None:
    """The standard's Accept and cache mode, and identity encoding, because compression delays events."""
    with serving(whole) as server:
        read_all(server.url + "?sessionId=7")
        (peer,) = server.peers
    assert peer.request.startswith(b"GET /stream?sessionId=7 HTTP/1.1\r\n")
    assert peer.headers.pop("user-agent").startswith(b"mix-bridge/")
    assert {name: peer.headers[name] for name in peer.headers if name != "user-agent"} == {
        "host": b"127.0.0.1:%d" % server.port,
        "accept": b"text/event-stream",
        "cache-control": b"no-cache",
        "accept-encoding": b"identity",
    }


def test_no_header_is_sent_twice() -> None:
    """For upper and lower case of the configured headers. The headers of an event stream win."""
    own = sending(ACCEPT="text/html", User_Agent="own", Last_Event_ID="1", X_Api_Key="k", aCCEPT_eNCODING="gzip")
    with serving(whole) as server:
        read_all(server.url, "7", headers=own)
        names = re.findall(rb"\r\n([^:\r\n]+):", server.peers[0].request.lower())
        headers = server.peers[0].headers
    assert len(names) == len(set(names))
    assert (headers["accept"], headers["accept-encoding"]) == (b"text/event-stream", b"identity")
    assert (headers["user-agent"], headers["x-api-key"], headers["last-event-id"]) == (b"own", b"k", b"7")


@pytest.mark.parametrize("id_", ["7", "é", "中😀", "a b", "0"])
def test_the_last_event_id_is_sent_as_utf8(id_: str) -> None:
    """Not as latin-1. Also when its text is false as a number."""
    assert asked(id_)["last-event-id"] == id_.encode()


def test_without_a_last_event_id_there_is_no_header() -> None:
    """An empty header would be another request."""
    assert "last-event-id" not in asked("")


@pytest.mark.parametrize("id_", ["a\rb", "a\nb", "\0", " 7", "7 "])
def test_an_id_that_http_cannot_carry_is_an_outcome_before_any_request(id_: str) -> None:
    """The server never sees the request."""
    with serving(whole) as server:
        assert refused(server.url, id_) == Outcome(Kind.BAD_REQUEST_ID, "HTTP cannot carry the last event id")
        assert server.peers == []


def test_headers_are_read_at_every_connect() -> None:
    """A token file that has changed is read again."""
    tokens = iter(["one", "two"])
    with serving(whole) as server:
        connector = Connector(endpoint(headers=lambda: {"Authorization": f"Bearer {next(tokens)}"}))
        for _ in range(2):
            connector.connect(server.url, "").close()
        assert [peer.headers["authorization"] for peer in server.peers] == [b"Bearer one", b"Bearer two"]


def test_a_token_file_that_cannot_be_read_is_an_outcome() -> None:
    """With the system's text, so that an operator finds the file."""

    def missing() -> dict[str, str]:
        return {"authorization": Path("/nonexistent/token").read_text(encoding="utf-8")}

    outcome = refused("http://127.0.0.1:9/", headers=missing)
    assert outcome.kind is Kind.UNREACHABLE
    assert outcome.detail == "no request headers: [Errno 2] No such file or directory: '/nonexistent/token'"


def test_any_other_error_of_the_headers_is_an_outcome_without_its_text() -> None:
    """The text could hold a secret."""

    def wrong() -> dict[str, str]:
        raise ValueError(SECRET)

    outcome = refused("http://127.0.0.1:9/", headers=wrong)
    assert outcome == Outcome(Kind.UNREACHABLE, "no request headers: ValueError")


@pytest.mark.parametrize("name", ["Authorization", "a b", "é", ""])
@pytest.mark.parametrize("value", [f"{SECRET}\r\nX: y", f" {SECRET}", f"{SECRET}\0"])
def test_a_header_that_http_cannot_carry_is_named_without_its_value(name: str, value: str) -> None:
    """No request is sent, and no secret is shown."""
    outcome = refused("http://127.0.0.1:9/", headers=lambda: {name: value})
    assert outcome == Outcome(Kind.UNREACHABLE, f"HTTP cannot carry the header {name.lower()!r}")


def test_the_environment_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A netrc entry would replace the token, a proxy variable would send it elsewhere."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    headers = asked(headers=sending(Authorization="Bearer t"))
    assert headers["authorization"] == b"Bearer t"


def test_no_connection_is_reused() -> None:
    """One that was kept alive may be dead, and the first try after an end would be wasted."""

    def script(peer: Peer) -> None:
        whole(peer)
        peer.hold()

    with serving(script) as server:
        connector = Connector(endpoint())
        for _ in range(3):
            stream = connector.connect(server.url, "")
            read_on(stream)
        assert len(server.peers) == 3
        assert all(peer.closed_by_client.wait(TIMEOUT) for peer in server.peers)


# The response head


@pytest.mark.parametrize("content_type", ["Text/Event-Stream ; charset=iso-8859-1", "text/event-stream"])
def test_a_charset_parameter_is_ignored(content_type: str) -> None:
    """An event stream is always UTF-8."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode()
    with serving(lambda peer: peer.send(head, "data: é中\n\n".encode())) as server:
        assert read_all(server.url)[0] == ["é中"]


def test_retry_after_is_read_in_both_forms() -> None:
    """Seconds, and a date by this machine's clock."""
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    for value, least, most in (("7", 7, 7), (moment, 90, 100), ("86400", 600, 600)):
        response = answer(503, b"Retry-After: " + value.encode())
        with serving(sending_only(response)) as server:
            seconds = refused(server.url).retry_after
        assert seconds is not None
        assert least <= seconds <= most


def test_a_retry_after_date_is_relative_to_the_servers_clock() -> None:
    """The local clock may be an hour off, and a wait is a duration."""
    moment = datetime.now(UTC) - timedelta(hours=1)
    dates = [format_datetime(moment + timedelta(seconds=seconds), usegmt=True).encode() for seconds in (0, 100)]
    response = answer(503, b"Date: " + dates[0], b"Retry-After: " + dates[1])
    with serving(sending_only(response)) as server:
        assert refused(server.url).retry_after == 100
    with serving(sending_only(response.replace(dates[0], b"today"))) as server:
        assert refused(server.url).retry_after == 0


@pytest.mark.parametrize("status", [404, 503, 302, 200])
def test_an_endless_body_of_another_response_is_not_read(status: int) -> None:
    """It would block the worker and fill the memory."""

    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 %d Told\r\nLocation: /stream\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
        while not peer.server.ending.is_set():
            peer.send(chunk(b"x" * 65536))

    with serving(script) as server:
        assert refused(server.url).status == status


# Redirects


def redirecting(status: int, *, to: str, then: int = 1) -> Script:
    """A script: the first requests are redirected, the next gets the stream."""

    def script(peer: Peer) -> None:
        if len(peer.server.peers) <= then:
            location = to.format(port=peer.server.port)
            peer.send(answer(status, b"Location: " + location.encode(), body=EVENT))
        else:
            whole(peer)

    return script


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to", ["/moved?a=b", "http://127.0.0.1:{port}/moved?a=b", "//127.0.0.1:{port}/moved?a=b", "moved?a=b"]
)
def test_a_redirect_on_the_same_server_is_followed_with_id_and_token(status: int, to: str) -> None:
    """The method stays GET."""
    with serving(redirecting(status, to=to)) as server:
        data, _, _ = read_all(server.url, "7", headers=sending(Authorization="Bearer t"))
        second = server.peers[1]
    assert data == ["one"]
    assert second.request.startswith(b"GET /moved?a=b HTTP/1.1\r\n")
    assert (second.headers["last-event-id"], second.headers["authorization"]) == (b"7", b"Bearer t")


def test_a_redirect_may_change_to_https_on_the_same_host_but_not_back() -> None:
    """The certificate is verified. The way back would send the token in clear text."""
    with serving(whole, server_tls()) as secure:
        with serving(redirecting(301, to=secure.url)) as server:
            assert read_all(server.url)[0] == ["one"]
        with serving(whole) as plain, serving(redirecting(301, to=plain.url), server_tls()) as server:
            assert refused(server.url).kind is Kind.UNAVAILABLE
            assert plain.peers == []


def test_the_number_of_redirects_is_limited() -> None:
    """A loop ends after a few requests."""
    with serving(redirecting(307, to="/stream", then=99)) as server:
        assert refused(server.url) == Outcome(Kind.UNAVAILABLE, "more than 5 redirects", 307)
        assert len(server.peers) == MAX_REDIRECTS + 1


# No connection


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_refused_connection_is_unreachable() -> None:
    """In a few words, without the address's query."""
    outcome = refused(f"http://127.0.0.1:{unused_port()}/stream?token={SECRET}")
    assert outcome == Outcome(Kind.UNREACHABLE, "no connection: Connection refused")


def test_an_unknown_name_is_unreachable() -> None:
    """``.invalid`` is reserved for that."""
    outcome = refused(f"http://user:{SECRET}@unknown.invalid/?{SECRET}")
    assert outcome.kind is Kind.UNREACHABLE
    assert outcome.detail.startswith("name not resolved: ")
    assert SECRET not in outcome.detail


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://a/", "http://", "http://[::1/", "http://a:b/", f"x:{SECRET}"])
def test_an_invalid_address_is_unreachable(url: str) -> None:
    """The settings check addresses, but an invalid one must not raise another exception."""
    assert refused(url) == Outcome(Kind.UNREACHABLE, "the address is not valid")


def test_a_connect_without_a_response_ends_after_its_timeout() -> None:
    """A full backlog drops new connections."""
    with full_backlog() as port:
        outcome = refused(f"http://127.0.0.1:{port}/", connect_timeout=0.3)
    assert outcome == Outcome(Kind.UNREACHABLE, "no connection within 0.3 s")


# TLS


def test_a_certificate_of_another_authority_is_refused() -> None:
    """With the default context too."""
    with serving(whole, server_tls()) as server:
        outcome = refused(server.url, tls=None)
    assert outcome.kind is Kind.UNREACHABLE
    assert outcome.detail == "TLS failed: certificate refused: unable to get local issuer certificate"


def test_a_certificate_of_another_host_is_refused() -> None:
    """The name is checked, not only the authority."""
    with serving(whole, server_tls("example.org")) as server:
        outcome = refused(server.url)
    assert outcome.kind is Kind.UNREACHABLE
    assert outcome.detail.startswith("TLS failed: certificate refused: IP address mismatch")


def test_https_on_a_plain_http_port_is_an_outcome() -> None:
    """The settings have the wrong scheme."""
    with serving(lambda peer: peer.send(answer(200)), read_request=False) as server:
        outcome = refused(server.url.replace("http:", "https:"))
    assert outcome.kind is Kind.UNREACHABLE
    assert outcome.detail.startswith("TLS failed: ")


def test_one_context_serves_all_connections() -> None:
    """It is neither loaded again nor changed: a context per connection costs 700 KiB."""
    context = endpoint().transport.tls
    assert context is not None
    before = (context.verify_mode, context.check_hostname, context.cert_store_stats())
    with serving(whole, server_tls()) as server:
        for _ in range(3):
            assert read_all(server.url)[0] == ["one"]
    assert (context.verify_mode, context.check_hostname, context.cert_store_stats()) == before


# Proxies


def proxying(server: RawServer | None, seen: list[bytes]) -> Script:
    """A script of an HTTP proxy that tunnels to a server; without one it refuses."""

    def script(peer: Peer) -> None:
        seen.append(peer.request)
        if server is None:
            peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            back = threading.Thread(target=forward, args=(onward, peer.socket), daemon=True)
            back.start()
            forward(peer.socket, onward)
            back.join(TIMEOUT)

    return script


def forward(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def test_plain_http_goes_through_the_configured_proxy() -> None:
    """With the proxy's own credentials, which the server does not get."""
    with serving(whole) as proxy:
        address = f"http://user:{SECRET}@127.0.0.1:{proxy.port}"
        data, _, _ = read_all("http://mix.example/stream", proxy=address)
        (peer,) = proxy.peers
    assert data == ["one"]
    assert peer.request.startswith(b"GET http://mix.example/stream HTTP/1.1\r\n")
    assert peer.headers["proxy-authorization"].startswith(b"Basic ")


def test_https_goes_through_a_tunnel_and_is_verified_at_its_end() -> None:
    """The proxy sees only the host name and ciphertext."""
    seen: list[bytes] = []
    with serving(whole, server_tls("mix.example")) as server, serving(proxying(server, seen)) as proxy:
        data, _, _ = read_all(
            "https://mix.example/stream", proxy=f"http://127.0.0.1:{proxy.port}", headers=sending(A=SECRET)
        )
        assert server.peers[0].headers["host"] == b"mix.example"
    assert data == ["one"]
    assert seen[0].startswith(b"CONNECT mix.example:443 HTTP/1.")
    assert SECRET.encode() not in seen[0]


def test_a_proxy_that_refuses_is_unreachable() -> None:
    """Its response is not the server's."""
    with serving(proxying(None, [])) as proxy:
        outcome = refused("https://mix.example/", proxy=f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
    assert outcome.kind is Kind.UNREACHABLE
    assert SECRET not in outcome.detail
    assert outcome.detail == "proxy failed: it answered 407"


def test_a_proxy_that_refuses_connections_is_unreachable() -> None:
    """The detail names the proxy as the cause."""
    outcome = refused("http://mix.example/", proxy=f"http://user:{SECRET}@127.0.0.1:{unused_port()}")
    assert outcome == Outcome(Kind.UNREACHABLE, "proxy failed: Connection refused")
