"""Redirects stay on the same server: no text of a location sends the token anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.http.connection import Cutter
from bridge.http.errors import ConnectionLost, EndKind
from bridge.http.redirects import check_same_server, origin_of, redirect_url
from bridge.http.transport import _Adapter, _Client
from bridge.mix.sessions import ServerUnavailable, SessionsApi
from bridge.sse.connection import Connector
from bridge.sse.reconnection import Disconnected
from tests.fakes.raw_server import Peer, answer, serving
from tests.fakes.streams import endpoint, sending, transport

TOKEN = sending(Authorization="Bearer s3cret")

HOSTILE = [
    "http://127.0.0.1:{evil}/x",
    "HTTP://127.0.0.1:{evil}/x",
    "//127.0.0.1:{evil}/x",
    "http://127.0.0.1:{evil}\\@127.0.0.1:{good}/x",
    "//127.0.0.1:{evil}\\@127.0.0.1:{good}/x",
    "http:\\\\127.0.0.1:{evil}/x",
    "/\\127.0.0.1:{evil}/x",
    "\\\\127.0.0.1:{evil}/x",
    "http:/\\127.0.0.1:{evil}/x",
    "http:127.0.0.1:{evil}/x",
    "http:///127.0.0.1:{evil}/x",
    "////127.0.0.1:{evil}/x",
    "http://127.0.0.1:{good}@127.0.0.1:{evil}/x",
    "http://127.0.0.1:{evil}@127.0.0.1:{good}/x",
    "http://127.0.0.1:{evil}?@127.0.0.1:{good}/x",
    "http://127.0.0.1:{evil}#@127.0.0.1:{good}/x",
    "http://127.0.0.1:{evil}%40127.0.0.1:{good}/x",
    "http://127.0.0.1:{evil}%5c@127.0.0.1:{good}/x",
    "http://127.0.0.1%3a{evil}/x",
    "ht\ttp://127.0.0.1:{evil}/x",
    "http:/\t/127.0.0.1:{evil}/x",
    "http://127.0.0.1:{evil}\t@127.0.0.1:{good}/x",
    "\x01http://127.0.0.1:{evil}/x",
    "\xa0http://127.0.0.1:{evil}/x",
    "http://127.0.0.1.:{evil}/x",
    "http://127.1:{evil}/x",
    "http://0x7f000001:{evil}/x",
    "http://localhost:{evil}/x",
    "http://[::ffff:127.0.0.1]:{evil}/x",
    "http://[::1%25lo]:{evil}/x",
    "https://localhost:{evil}/x",
    "ftp://127.0.0.1:{evil}/x",
    "file:///etc/passwd",
]


def read_stream(url: str) -> None:
    """Connect to an event stream with the token."""
    with pytest.raises(Disconnected):
        Connector(endpoint(headers=TOKEN)).connect(url, "7")


def list_sessions(url: str) -> None:
    """Ask for the list of sessions with the token."""
    with pytest.raises(ServerUnavailable):
        SessionsApi(url, TOKEN, transport()).list(include_subagents=False)


@pytest.mark.parametrize("ask", [read_stream, list_sessions])
@pytest.mark.parametrize("location", HOSTILE)
def test_no_token_reaches_another_server(location: str, ask: Callable[[str], None]) -> None:
    """Both servers listen. The good one redirects; the other one gets no connection at all."""

    def redirect(peer: Peer) -> None:
        assert peer.headers["authorization"] == b"Bearer s3cret"
        target = location.format(good=peer.server.port, evil=evil.port)
        peer.send(answer(302 if len(peer.server.peers) == 1 else 404, b"Location: " + target.encode("latin-1")))

    with serving(lambda peer: peer.send(answer(404))) as evil, serving(redirect) as good:
        ask(good.url)
        assert good.peers
        assert evil.peers == []


BASES = [
    "http://good:8088/stream?a=b",
    "https://good.example/x",
    "http://user:pw@good:8088/",
    "http://[fe80::1%25eth0]:8088/",
    "http://b\u00fccher.example/",
    "http://GOOD./",
]
PARTS = [
    "http:", "https:", "HTTP:", "ftp:", "//", "/", "\\", "@", ":", "?", "#", ".", "..", ";", "&", "=", "%",
    "good", "GOOD", "good.example", "good.", "evil", "8088", "443", "80", "0", "81", "user:pw", "%40", "%2f", "%5c",
    "%00", "[", "]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "::1", "\t", "\n", "\x00", " ", "\xa0", "\u3000", "\u3002",
    "\uff20", "\uff0f", "\uff1a", "\uff47ood", "b\u00fccher.example", "xn--bcher-kva.example", "\ud83d\ude00", "\u00df",
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(BASES), st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(max_size=30))
@example("http://good:8088/x", "http://evil:81\\@good:8088/x")
@example("http://good:8088/x", "http://evil:81\t@good:8088/x")
@example("http://good:8088/x", "//\u3000http:@http:")
@example("http://[fe80::1%25eth0]:8088/", "http://[fe80::1%eth0]:8088/")
def test_the_policy_and_the_connection_agree(base: str, location: str) -> None:
    """A redirect that is followed connects to the same server, directly and as a proxy would read the request line."""
    client = _Client(transport(), Cutter())
    adapter = _Adapter(transport(), Cutter())
    request = client.prepared(base, {})
    with suppress(ConnectionLost):
        redirected = client.redirected(request, location, 302, {})
        here, there = (connected(client, each.url or "") for each in (request, redirected))
        changes_to_https = (here[0], there[0], here[1]) == ("http", "https", there[1])
        assert here == there or changes_to_https
        assert there == tuple(origin_of(redirected.url or ""))
        request_line = adapter.request_url(redirected, {"http": "http://proxy", "https": "http://proxy"})
        assert "\\" not in request_line.partition("?")[0]
        if there[0] == "http":
            assert connected(client, request_line) == there
    client.close()


def connected(client: _Client, url: str) -> tuple[str, str, int]:
    """Scheme, host and port that urllib3 connects to for this URL."""
    pool = _Adapter(transport(), Cutter()).get_connection_with_tls_context(client.prepared(url, {}), verify=True)
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    return pool.scheme, host, pool.port


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("http://good:8088/a", "b"),
        ("http://good:8088/a", "HTTP://GOOD:8088/b"),
        ("http://good/a", "http://good:80/b"),
        ("http://good:80/a", "//good/b"),
        ("https://good/a", "https://good:443/b"),
        ("http://good:8088/a", "https://good/b"),
        ("http://user:pw@good/a", "/b"),
        ("http://user:pw@good/a", "http://good/b"),
        ("http://b\u00fccher.example/a", "http://xn--bcher-kva.example/b"),
    ],
)
def test_the_same_server_in_another_notation_is_followed(url: str, location: str) -> None:
    """Case, default ports, relative addresses, international names; and the change to HTTPS."""
    client = _Client(transport(), Cutter())
    redirected = client.redirected(client.prepared(url, {}), location, 302, {})
    assert (redirected.url or "").endswith("/b")
    client.close()


@pytest.mark.parametrize(
    ("location", "why"),
    [
        (None, "without a location"),
        ("", "without a location"),
        ("/a\\b", "a backslash or a control character"),
        ("/a\tb", "a backslash or a control character"),
        ("/a\x7fb", "a backslash or a control character"),
        ("http://user:s3cret@good:8088/", "user information"),
        ("http://other:8088/?token=s3cret", "to another server, http://other:8088: refused"),
        ("http://good/", "to another server, http://good:80: refused"),
        ("http://[", "to an invalid address"),
        ("http://good:99999/", "to an invalid address"),
        ("http://good:b/", "to an invalid address"),
        ("https:good", "to an invalid address"),
    ],
)
def test_a_refused_redirect_names_the_reason_without_secrets(location: str | None, why: str) -> None:
    """One line with the status, and with the other server's address at most."""
    client = _Client(transport(), Cutter())
    with pytest.raises(ConnectionLost) as caught:
        client.redirected(client.prepared("http://good:8088/x", {}), location, 302, {})
    client.close()
    lost = caught.value
    assert (lost.kind, lost.status) == (EndKind.REDIRECT_REFUSED, 302)
    assert lost.detail.startswith("redirect 302 ")
    assert why in lost.detail
    assert "s3cret" not in lost.detail


def test_https_never_changes_back_to_http() -> None:
    """The token would be sent in the clear."""
    with pytest.raises(ConnectionLost, match="another server"):
        check_same_server("https://good/", "http://good/", 302)
    assert redirect_url("https://good/a", "b", 302) == "https://good/b"
