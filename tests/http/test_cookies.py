"""Cookies: per client and exact origin, limited, and sent on reconnect."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from bridge.http.cookies import MOST_BYTES, MOST_COOKIES
from bridge.sse.connection import Connector
from bridge.sse.reconnection import Disconnected
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, Peer, answer, chunk, serving
from tests.fakes.sources import source
from tests.fakes.streams import E1, endpoint, sending


def stream(*cookies: bytes) -> bytes:
    """A whole stream that sets these cookies."""
    head = b"".join(b"Set-Cookie: %b\r\n" % cookie for cookie in cookies)
    return CHUNKED[:-2] + head + b"\r\n" + chunk(E1) + LAST_CHUNK


def requested(*answers: bytes, times: int = 1, **changes: object) -> list[bytes | None]:
    """The ``Cookie`` header of each request of one client that gets these answers, and then the last one again."""

    def script(peer: Peer) -> None:
        peer.send(answers[min(len(server.peers), len(answers)) - 1])

    with serving(script) as server:
        connector = Connector(endpoint(**changes))
        for _ in range(len(answers) + times):
            try:
                connector.connect(server.url, "").close()
            except Disconnected:
                continue
        return [peer.headers.get("cookie") for peer in server.peers]


def test_a_cookie_is_sent_on_reconnect() -> None:
    """The newest value; attributes are not part of it. Expired ones end."""
    first, second = stream(b"lb=one; Path=/; HttpOnly; SameSite=Lax", b"a=b; Path=/other"), stream(b"lb=two; Path=/")
    third = stream(b"lb=; Path=/; Max-Age=0")
    assert requested(first, second, third) == [None, b"lb=one", b"lb=two", None]


def test_an_answer_without_a_stream_sets_cookies_too() -> None:
    """A load balancer chooses a server with the first answer, even with an error."""
    assert requested(answer(503, b"Set-Cookie: lb=one"), stream()) == [None, b"lb=one", b"lb=one"]


def test_a_configured_cookie_comes_first() -> None:
    """Both are sent."""
    found = requested(stream(b"lb=one"), headers=sending(cookie="login=me"))
    assert found == [b"login=me", b"login=me; lb=one"]


def test_cookies_can_be_switched_off() -> None:
    """No request has one."""
    with serving(lambda peer: peer.send(stream(b"lb=one"))) as server:
        off = source(server.url, cookies="false").endpoint.keeps_cookies
        connector = Connector(replace(endpoint(), keeps_cookies=off))
        for _ in range(2):
            connector.connect(server.url, "").close()
        assert [peer.headers.get("cookie") for peer in server.peers] == [None, None]
        assert source(server.url).endpoint.keeps_cookies


@pytest.mark.parametrize(
    "cookies",
    [
        [b"c%d=x" % number for number in range(MOST_COOKIES + 1)],
        [b"big=" + b"x" * MOST_BYTES],
        [b"secure=1; Secure"],
        [b"foreign=1; Domain=example.org"],
        [b"bad=\x01"],
    ],
)
def test_cookies_that_cannot_be_kept_are_not_sent(cookies: list[bytes]) -> None:
    """Too many, too long, for TLS only, of another domain, not to be put into a header."""
    assert requested(stream(*cookies)) == [None, None]


@pytest.mark.parametrize("other", [b"big=" + b"x" * MOST_BYTES, b"bad=\x01", b"a\x7f=1"])
def test_a_cookie_that_cannot_be_sent_does_not_cost_the_others(other: bytes) -> None:
    """The one of the load balancer comes in the same answer, or came before."""
    assert requested(stream(b"lb=one", other)) == [None, b"lb=one"]
    assert requested(stream(b"lb=one"), stream(other)) == [None, b"lb=one", b"lb=one"]


def test_older_cookies_make_room() -> None:
    """A server that sets another one with each answer."""
    answers = [stream(b"c%d=x" % number) for number in range(MOST_COOKIES + 3)]
    last = requested(*answers)[-1] or b""
    assert b"c%d=x" % (MOST_COOKIES + 2) in last
    assert last.count(b"=") <= MOST_COOKIES


@pytest.mark.parametrize("status", [400, 431, 494])
def test_a_request_that_was_too_large_ends_the_cookies(status: int) -> None:
    """They may be the reason."""
    assert requested(stream(b"lb=one"), answer(status)) == [None, b"lb=one", None]


def test_a_configured_cookie_counts() -> None:
    """Many servers refuse a request head of 8 KiB: all cookies of a request together are half of that at most."""
    configured, set_by_server = "c=" + "x" * 2000, b"lb=" + b"x" * 2089
    head = configured.encode()
    found = requested(stream(set_by_server), headers=sending(cookie=configured))
    assert found == [head, head + b"; " + set_by_server]
    assert len(found[1] or b"") == MOST_BYTES == 4096
    assert requested(stream(set_by_server + b"x"), headers=sending(cookie=configured)) == [head, head]


def test_another_port_is_another_origin() -> None:
    """A cookie goes to the server that set it."""
    with ExitStack() as stack:
        one, other = (stack.enter_context(serving(lambda peer: peer.send(stream(b"lb=one")))) for _ in range(2))
        connector = Connector(endpoint())
        for server in (one, other, one):
            connector.connect(server.url, "").close()
        assert [peer.headers.get("cookie") for peer in (*one.peers, *other.peers)] == [None, b"lb=one", None]


def test_a_redirect_carries_the_cookie_that_it_sets() -> None:
    """Some load balancers set it and send the client to the same address again."""

    def script(peer: Peer) -> None:
        has_cookie = peer.headers.get("cookie") == b"lb=one"
        peer.send(stream() if has_cookie else answer(307, b"Location: /stream", b"Set-Cookie: lb=one"))

    with serving(script) as server:
        Connector(endpoint()).connect(server.url, "").close()
        assert len(server.peers) == 2


def test_each_client_has_its_own_cookies() -> None:
    """A sticky cookie of one session must not move another one."""
    with serving(lambda peer: peer.send(stream(b"lb=one"))) as server:
        for _ in range(2):
            Connector(endpoint()).connect(server.url, "").close()
        assert [peer.headers.get("cookie") for peer in server.peers] == [None, None]
