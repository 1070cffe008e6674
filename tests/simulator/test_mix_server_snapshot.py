"""The simulated server of kind snapshot behaves as observed on the public server of August 2025, seen by a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from bridge.clock import monotonic
from bridge.simulator.encoding import dispatched
from bridge.simulator.faults.kinds import Cut, Evict, Frame, MalformedEvent, Restart, Silence, Status
from bridge.simulator.scripts.agent_script import ScriptedEvent, encode
from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.snapshot_session import snapshot_script
from tests.fakes.raw_client import Body, RawStream, call
from tests.simulator.streams import lost, opened, reading, running
from tests.support.waiting import let_pass, wait_until

TOOL = encode("tool", {"type": "tool", "name": "Bash", "input": "{}", "id": "t", "status": "pending"})
COMPLETE = encode("complete", {"type": "complete", "done": True})


def snapshot(**options: Any) -> AbstractContextManager[MixServer]:
    return running(kind="snapshot", **options)


@pytest.fixture
def server() -> Iterator[MixServer]:
    with snapshot() as one:
        yield one


def attached(server: MixServer) -> RawStream:
    """Open a stream and read ``connected``."""
    stream = reading(server)
    assert stream.events(1)[0].event == "connected"
    return stream


def counters(server: MixServer) -> dict[str, int]:
    """Return the control API's counters of the only session."""
    (counts,) = call(server.url, "GET", "/control/sessions").body
    return dict(counts)


def publish(server: MixServer, events: list[ScriptedEvent]) -> None:
    """Publish exactly these events in the only session."""
    listed = [{"event": event.name, "data": event.data.decode()} for event in events]
    (session,) = server.sessions()
    assert call(server.url, "POST", f"/control/sessions/{session}/events", {"events": listed}).status == 200


def wait_readers(server: MixServer, count: int) -> None:
    wait_until(lambda: counters(server)["readers"] == count)


# --- the stream


def test_no_ids_no_retry_no_comments_and_nothing_is_replayed(server):
    session = server.sessions()[0]
    server.burst(session, 3)
    with opened(server) as stream:
        assert "text/event-stream" in stream.head()
        size = int(stream.until(b"\r\n"), 16)
        first = stream.until(b"\n\n\r\n")
        assert len(first) == size + 2
        assert first.startswith(b"event: connected\ndata: {")
        publish(server, [TOOL])
        second = stream.until(b"\n\n\r\n").partition(b"\r\n")[2]
    assert second == b"event: tool\ndata: " + TOOL.data + b"\n\n\r\n"
    assert lost(server) == [[1, 3]]


def test_its_agents_publish_its_own_events():
    script = snapshot_script(1, "s")
    events = [next(script) for _ in range(2000)]
    assert {event.name for event in events} == {"tool", "permission", "summarize", "rate_limit_error", "complete"}
    assert any("\u0085".encode() in event.data for event in events)
    assert isinstance(json.loads(json.loads(events[0].data)["input"]), dict)


def test_an_http_1_0_client_gets_a_body_without_chunks(server):
    with opened(server, version="1.0") as stream:
        head = stream.head()
        assert "chunked" not in head
        assert stream.until(b"\n\n").startswith(b"event: connected")


def test_heartbeats_are_sent_only_while_no_message_runs():
    with snapshot(heartbeat=0.03) as server, attached(server) as stream:
        assert stream.events(1)[0].event == "heartbeat"
        publish(server, [TOOL])
        while stream.events(1)[0].event == "heartbeat":
            pass
        assert stream.is_silent_for(0.2)
        publish(server, [COMPLETE])
        assert [one.event for one in stream.events(2)] == ["complete", "heartbeat"]


def test_no_heartbeat_is_sent_between_the_queued_events_of_a_message():
    """The message has ended at the server, and its events wait for a client that does not read."""
    big = ScriptedEvent("tool", json.dumps({"type": "tool", "name": "x" * 400_000}).encode())
    with snapshot(heartbeat=0.03) as server, attached(server) as stream:
        publish(server, [big] * 40 + [COMPLETE])
        let_pass(0.1)  # several heartbeats are due
        names = [""]
        while names[-1] != "complete":
            names += [one.event for one in stream.events(1)]
    assert "heartbeat" not in names[names.index("tool") :]


def test_a_connection_ends_at_the_first_heartbeat_after_its_age():
    with snapshot(heartbeat=0.05, connection_age=0.12) as server, opened(server) as stream:
        started = monotonic()
        stream.head()
        body = stream.rest()
        assert monotonic() - started >= 0.12
    assert body.ended == "fin"
    assert not body.raw.endswith(b"0\r\n\r\n")
    connected, *heartbeats = [one.event for one in dispatched(b"".join(body.chunks()))]
    assert connected == "connected"
    assert heartbeats in (["heartbeat"], ["heartbeat", "heartbeat"], [])  # fewer if the machine delays one


def test_an_unknown_session_is_200_with_one_error(server):
    with opened(server, "nobody") as stream:
        head = stream.head()
        body = stream.rest()
    assert " 200 " in head
    assert "text/event-stream" in head
    assert [one.event for one in dispatched(b"".join(body.chunks()))] == ["error"]
    assert body.raw.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("GET", "/api/sessions"), ("POST", "/x"), ("GET", "/")]
)
def test_any_other_path_is_200_text(server, method, path):
    with RawStream(server.url, path, method=method) as stream:
        head = stream.head()
    assert " 200 " in head
    assert "content-type: text/plain" in head.lower()


# --- readers take part


def test_of_two_readers_one_runs_and_the_other_gets_the_busy_error(server):
    with attached(server) as first, attached(server) as second:
        publish(server, [TOOL, COMPLETE])
        assert [one.event for one in first.events(2)] == ["tool", "complete"]
        (busy,) = second.events(1)
        assert busy.event == "error"
        assert b"currently processing another request" in busy.data
        assert second.is_silent_for(0.05)
    counts = counters(server)
    assert (counts["refused_runs"], counts["opened"], counts["most_readers"]) == (1, 2, 2)
    assert [entry.event for entry in server.journal(server.sessions()[0])] == ["tool", "complete"]


@pytest.mark.parametrize("who", [0, 1])
def test_a_reader_that_leaves_cancels_the_run(server, who):
    """A reader that does not run it cancels it too. The rest of the run is left out; the next message runs."""
    session = server.sessions()[0]
    streams = [attached(server), attached(server)]
    server.burst(session, 2)
    with streams.pop(who):
        pass
    wait_readers(server, 1)
    assert counters(server)["cancelled_runs"] == 1
    server.burst(session, 1)
    with streams[0] as stream:
        assert stream.events(1)
    assert server.journal(session)[2].event == "tool"


def test_a_reader_that_leaves_while_nothing_runs_cancels_nothing(server):
    with attached(server):
        publish(server, [TOOL, COMPLETE])
    wait_readers(server, 0)
    assert counters(server)["cancelled_runs"] == 0


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_other_methods_on_the_stream_open_a_stream_too(server, method):
    with opened(server, method=method) as stream:
        assert " 200 " in stream.head()
        wait_readers(server, 1)
        publish(server, [TOOL])
    wait_readers(server, 0)
    assert counters(server)["cancelled_runs"] == 1


def test_a_slow_reader_loses_events_beyond_its_queue(server):
    session = server.sessions()[0]
    big = ScriptedEvent("tool", json.dumps({"type": "tool", "name": "x" * 100_000}).encode())
    with attached(server) as stream:
        publish(server, [big] * 100)
        wait_until(lambda: counters(server)["published"] == 100)
        publish(server, [big] * 200)
        dropped = counters(server)["dropped"]
        assert dropped >= 100
        listed = sum(last - first + 1 for first, last in lost(server))
        assert listed == dropped
        assert len(stream.events(300 - dropped)) == 300 - dropped
        publish(server, [COMPLETE])
        assert stream.events(1)[0].event == "complete"
    assert len(server.journal(session)) == 301


# --- faults and the control API


def test_faults_work_on_it_too(server):
    """Faults of connections, heads and bodies work; faults of the replay buffer are refused."""
    server.inject(Status(status=503, times=1))
    with opened(server) as stream:
        assert " 503 " in stream.head()
    server.inject(Frame(framing="close", times=1))
    server.inject(Cut(into_event=9, how="rst", times=1))
    with opened(server) as stream:
        stream.head()
        stream.until(b"\n\n")
        publish(server, [TOOL])
        assert stream.rest() == Body(b"event: to", "rst")
    with pytest.raises(ValueError, match="not possible"):
        server.inject(Evict())
    quiet = server.inject(Silence())
    with opened(server) as stream:
        stream.head()
        assert stream.is_silent_for(0.05)
        call(server.url, "DELETE", f"/control/faults/{quiet.number}")
        assert stream.events(1)[0].event == "connected"
        server.inject(Restart())
        assert stream.rest().ended == "fin"


def test_malformed_events_have_no_ids_either(server):
    session = server.sessions()[0]
    with attached(server) as stream:
        server.inject(MalformedEvent(malformation="bad_utf8", session=session))
        (seen,) = stream.events(1)
    (entry,) = server.journal(session)
    assert (seen.id, entry.id, entry.data) == (None, "", seen.data)


def test_a_deleted_session_ends_its_streams_and_is_unknown(server):
    session = server.sessions()[0]
    with attached(server) as stream:
        call(server.url, "DELETE", f"/control/sessions/{session}")
        assert stream.rest().raw.endswith(b"0\r\n\r\n")
    with opened(server, session) as stream:
        stream.head()
        assert b"event: error" in stream.rest().raw
    assert call(server.url, "POST", "/control/sessions", {"id": "new"}).status == 201
    assert server.sessions() == ["new"]
