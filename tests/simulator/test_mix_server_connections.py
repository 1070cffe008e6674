"""Faults of connections and response heads in the simulated server, seen by a socket."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from bridge.clock import monotonic, unix_ms
from bridge.simulator.encoding import dispatched
from bridge.simulator.faults.kinds import (
    Comments,
    Cut,
    Disconnect,
    Drip,
    Frame,
    Login,
    Mute,
    Redirect,
    Refuse,
    Silence,
    Status,
)
from bridge.simulator.server.mix_server import MixServer
from tests.fakes.raw_client import RawStream, call
from tests.simulator.streams import faults, is_open, opened, running
from tests.support.waiting import SCALE, wait_until


@pytest.fixture
def server() -> Iterator[MixServer]:
    with running(sessions=2) as one:
        yield one


def published(server: MixServer, count: int) -> str:
    """Publish this many events in the first session, and return its id."""
    session = server.sessions()[0]
    server.burst(session, count)
    return session


def body_of(server: MixServer, count: int) -> bytes:
    """Return the body of an undisturbed stream up to this many events, without its framing."""
    with opened(server) as stream:
        stream.head()
        body = b""
        while len(dispatched(body)) < count + 1:
            size = int(stream.until(b"\r\n"), 16)
            body += stream.until(b"\n\n\r\n")[:size]
    # The server may not have noticed the end yet: a fault that follows must not apply to this stream.
    wait_until(lambda: not any(each["readers"] for each in call(server.url, "GET", "/control/sessions").body))
    return body


# --- cuts


@pytest.mark.parametrize(("how", "ended"), [("fin", "fin"), ("rst", "rst"), ("end", "fin")])
@pytest.mark.parametrize("after", [0, 1, 100, 333])
def test_a_stream_is_cut_after_exactly_this_many_bytes(server, how, ended, after):
    """By FIN, by RST, or with the regular end of the body. The next stream is complete."""
    published(server, 10)
    whole = body_of(server, 10)
    server.inject(Cut(after=after, how=how, times=1))
    with opened(server) as stream:
        stream.head()
        body = stream.rest()
    assert body.ended == ended
    assert b"".join(body.chunks()) == whole[:after]
    assert body.raw.endswith(b"0\r\n\r\n") == (how == "end")
    assert body_of(server, 10) == whole


@pytest.mark.parametrize(("into", "left"), [(0, ""), (5, "id: 1"), (-1, "all but one")])
def test_an_open_stream_is_cut_inside_its_next_event(server, into, left):
    """The fault waits for an event. A negative place counts from its end."""
    session = published(server, 0)
    with opened(server) as stream:
        stream.head()
        stream.events(1)
        server.inject(Cut(into_event=into, session=session, times=1))
        assert stream.is_silent_for(0.05)
        server.burst(session, 1)
        body = stream.rest()
    whole = body_of(server, 1).split(b"\n\n", 1)[1]
    torn = b"".join(body.chunks())
    assert torn == (whole[:-1] if into < 0 else whole[:into]), left
    assert dispatched(torn) == []


def test_a_cut_after_0_bytes_cuts_an_open_stream_at_once(server):
    with opened(server) as stream:
        stream.head()
        stream.events(1)
        server.inject(Cut(after=0, how="rst", times=1))
        assert stream.rest().ended == "rst"


def test_a_fault_for_new_streams_does_not_affect_open_ones(server):
    session = published(server, 1)
    with opened(server) as first:
        first.head()
        first.events(2)
        server.inject(Cut(after=10, times=1, streams="new"))
        with opened(server) as second:
            second.head()
            assert len(b"".join(second.rest().chunks())) == 10
        server.burst(session, 1)
        assert first.events(1)[0].id == "2"


def test_a_cleared_cut_does_not_cut(server):
    session = published(server, 0)
    with opened(server) as stream:
        stream.head()
        stream.events(1)
        cut = server.inject(Cut(into_event=3))
        wait_until(lambda: faults(server)[0]["hits"] == 1)
        assert call(server.url, "DELETE", f"/control/faults/{cut.number}").body == {"cleared": 1}
        server.burst(session, 1)
        assert stream.events(1)[0].id == "1"


@pytest.mark.parametrize("how", ["fin", "rst", "end"])
def test_disconnect_cuts_all_streams_of_all_sessions(server, how):
    streams = [opened(server, session) for session in server.sessions()]
    for stream in streams:
        stream.head()
        stream.events(1)
    server.inject(Disconnect(how=how))
    for stream in streams:
        with stream:
            assert stream.rest().ended == ("rst" if how == "rst" else "fin")


# --- bodies


def test_a_body_can_end_with_the_connection(server):
    published(server, 3)
    server.inject(Frame(framing="close", times=1))
    with opened(server) as stream:
        head = stream.head().lower()
        body = stream.until(b"id: 3\n")
    assert "transfer-encoding" not in head
    assert "content-length" not in head
    assert body.startswith(b"id: 0\nevent: connected\n")


def test_a_body_with_a_length_ends_there(server):
    """An earlier cut makes the body shorter than its length."""
    published(server, 10)
    whole = body_of(server, 10)
    server.inject(Frame(framing="length", length=300, times=2))
    with opened(server) as stream:
        assert "content-length: 300" in stream.head().lower()
        assert stream.rest() == (whole[:300], "fin")
    server.inject(Cut(after=120, times=1))
    with opened(server) as stream:
        stream.head()
        assert stream.rest() == (whole[:120], "fin")


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_a_body_is_compressed_without_a_request(server, framing):
    """Each write can be decompressed at once. A cut leaves the compressed data incomplete."""
    published(server, 5)
    whole = body_of(server, 5)
    server.inject(Frame(framing=framing, gzip=True, times=1))
    server.inject(Cut(after=200, times=1))
    with opened(server, Accept_Encoding="identity") as stream:
        assert "content-encoding: gzip" in stream.head().lower()
        body = stream.rest()
    content = b"".join(body.chunks()) if framing == "chunked" else body.raw
    assert zlib.decompressobj(31).decompress(content) == whole[:200]


def test_an_http_1_0_client_gets_a_body_without_chunks(server):
    published(server, 1)
    with opened(server, version="1.0") as stream:
        assert "transfer-encoding" not in stream.head().lower()
        assert stream.until(b"id: 1\n").startswith(b"id: 0\n")


# --- held streams


def test_a_silent_stream_sends_no_heartbeats_and_then_continues():
    with running(heartbeat=0.02) as server:
        session = server.sessions()[0]
        with opened(server) as stream:
            stream.head()
            stream.events(2)
            quiet = server.inject(Silence())
            wait_until(lambda: faults(server)[0]["hits"] == 1)
            server.burst(session, 1)
            wait_until(lambda: stream.is_silent_for(0.1), 2, "the bytes in flight to be read")
            call(server.url, "DELETE", f"/control/faults/{quiet.number}")
            assert "1" in [one.id for one in stream.events(20)]


@pytest.mark.parametrize("closed", [True, False])
def test_a_stream_sends_only_comments_and_then_continues(server, closed):
    session = published(server, 0)
    server.inject(Comments(interval=0.01, closed=closed, seconds=0.3))
    with opened(server) as stream:
        stream.head()
        server.burst(session, 1)
        body = stream.until(b"id: 1\n")
    lines = [line for line in body.split(b"\n") if line.startswith(b":")]
    assert len(lines) >= 5
    assert set(lines) == {b": nothing new"}
    assert (b": nothing new\n\n" in body) == closed


def test_a_drip_never_completes_an_event(server):
    """The stream is cut at the end, because the incomplete event must not run into the next one."""
    published(server, 3)
    server.inject(Drip(interval=0.005, seconds=0.4))
    with opened(server) as stream:
        stream.head()
        body = stream.rest()
    chunks = body.chunks()
    assert {len(chunk) for chunk in chunks} == {1}
    assert len(chunks) > 20
    assert dispatched(b"".join(chunks)) == []


# --- no connection, no response


def test_a_closed_listener_opens_again_on_the_same_port(server):
    """Open streams continue."""
    session = published(server, 0)
    with opened(server) as stream:
        stream.head()
        server.inject(Refuse(seconds=0.3))
        with pytest.raises(ConnectionRefusedError):
            opened(server)
        server.burst(session, 1)
        assert [one.event for one in stream.events(2)] == ["connected", server.journal(session)[0].event]
    wait_until(lambda: is_open(server))


def test_connections_are_accepted_and_reset(server):
    server.inject(Refuse(how="reset", times=2, seconds=30))
    for _ in range(2):
        with pytest.raises(ConnectionResetError), opened(server) as stream:
            stream.head()
    assert is_open(server)


def test_an_unanswered_request_is_closed_when_the_fault_ends(server):
    mute = server.inject(Mute(times=1))
    with opened(server) as stream:
        assert stream.is_silent_for(0.1)
        call(server.url, "DELETE", f"/control/faults/{mute.number}")
        assert stream.rest() == (b"", "fin")
    with opened(server) as stream:
        assert "200 OK" in stream.head()


def test_a_client_that_leaves_before_an_answer_leaves_no_task_behind(server):
    server.inject(Mute(times=1))
    with opened(server) as stream:
        assert stream.is_silent_for(0.05)
    started = monotonic()
    server.stop()
    assert monotonic() - started < 1.5 * SCALE


# --- other responses


@pytest.mark.parametrize("status", [204, 301, 400, 401, 403, 404, 410, 429, 500, 503])
def test_any_status_for_the_next_requests(server, status):
    server.inject(Status(status=status, times=2))
    for _ in range(2):
        with opened(server) as stream:
            assert f" {status} " in stream.head().partition("\r\n")[0]
    with opened(server) as stream:
        assert " 200 " in stream.head()


def test_retry_after_as_seconds_and_as_a_date(server):
    server.inject(Status(status=503, retry_after=7, times=1))
    with opened(server) as stream:
        assert "retry-after: 7\r\n" in stream.head().lower()
    server.inject(Status(status=429, retry_after=60, retry_after_form="date", times=1))
    with opened(server) as stream:
        header = next(line for line in stream.head().splitlines() if line.lower().startswith("retry-after"))
    assert 55 < parsedate_to_datetime(header.partition(": ")[2]).timestamp() - unix_ms() / 1000 <= 61


def test_a_status_with_its_own_headers_and_body_for_all_requests(server):
    """The control API is not affected."""
    server.inject(
        Status(status=502, headers={"X-Proxy": "down"}, body="<h1>no</h1>", content_type="text/html", on="all")
    )
    with RawStream(server.url, "/api/sessions") as stream:
        head = stream.head().lower()
        assert "502" in head
        assert "x-proxy: down" in head
        assert stream.until(b"</h1>") == b"<h1>no</h1>"
    assert call(server.url, "GET", "/control/faults").body[0]["hits"] == 1
    with opened(server) as stream:
        assert " 502 " in stream.head()


def test_a_fault_for_one_session_does_not_affect_others(server):
    first, second = server.sessions()
    server.inject(Status(status=404, session=second))
    with opened(server, first) as stream:
        assert " 200 " in stream.head()
    with opened(server, second) as stream:
        assert " 404 " in stream.head()


def test_a_login_page_with_200(server):
    server.inject(Login(times=1))
    with opened(server) as stream:
        head = stream.head()
        assert " 200 " in head
        assert "text/html" in head


def test_a_stream_with_another_content_type(server):
    server.inject(Frame(content_type="text/plain", times=1))
    with opened(server) as stream:
        assert "content-type: text/plain\r\n" in stream.head().lower()
        assert stream.events(1)[0].event == "connected"


def test_a_redirect_leads_to_another_host_that_logs_its_requests(server):
    server.inject(Redirect(status=307, times=1))
    with opened(server) as stream:
        head = stream.head()
    location = next(line for line in head.splitlines() if line.lower().startswith("location")).partition(": ")[2]
    assert " 307 " in head
    assert location.startswith("http://localhost:")
    assert location.endswith(f"/stream?sessionId={server.sessions()[0]}")
    assert [each for each in call(server.url, "GET", "/control/requests").body if each["place"] == "elsewhere"] == []
    with RawStream(
        location.partition("/stream")[0].replace("localhost", "127.0.0.1"), "/stream", Authorization="Bearer x"
    ) as s:
        assert "event-stream" in s.head()
    (there,) = [each for each in call(server.url, "GET", "/control/requests").body if each["place"] == "elsewhere"]
    assert there["headers"]["authorization"] == "Bearer x"


def test_a_too_large_header_is_answered_with_431(server):
    with opened(server, last_event_id="9" * 100_000) as stream:
        assert " 431 " in stream.head()


# --- the request log


def test_requests_are_logged_with_their_headers(server):
    """They can be filtered by number, path and session. Those to the control API are not logged."""
    first, second = server.sessions()
    with opened(server, first, "17", Authorization="Bearer secret") as stream:
        stream.head()
    with opened(server, second, "3") as stream:
        stream.head()
    call(server.url, "GET", "/health")
    everything = call(server.url, "GET", "/control/requests").body
    assert [each["path"] for each in everything] == ["/stream", "/stream", "/health"]
    (mine,) = call(server.url, "GET", f"/control/requests?session={first}").body
    assert (mine["headers"]["last-event-id"], mine["headers"]["authorization"]) == ("17", "Bearer secret")
    assert [each["path"] for each in call(server.url, "GET", "/control/requests?after=2").body] == ["/health"]
    assert len(call(server.url, "GET", "/control/requests?path=/stream").body) == 2


def test_streams_are_logged_with_their_times(server):
    session = published(server, 1)
    began = monotonic()
    with opened(server, session, X_Reader="first") as first:
        first.head()
        (still_open,) = call(server.url, "GET", "/control/streams").body
    wait_until(lambda: call(server.url, "GET", "/control/streams").body[0]["closed"])
    with opened(server, session) as second:
        second.head()
        over, present = call(server.url, "GET", "/control/streams").body
        assert call(server.url, "GET", "/control/streams?after=1").body == [present]
    assert (still_open["closed"], still_open["session"], still_open["headers"]["x-reader"]) == (None, session, "first")
    assert began < over["opened"] < over["closed"] < present["opened"] < monotonic()
