"""The simulated Mix server over real HTTP: raw, for what goes over the wire, and with the published client."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import pytest
import requests
from mix_python_sdk import Mix
from mix_python_sdk.errors import ErrorResponse

from bridge.mix.events import EVENTS, VALIDATORS
from bridge.simulator.__main__ import main
from bridge.simulator.scripts.agent_script import ScriptedEvent
from bridge.simulator.server.journal import JournalEntry, read_journal
from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.options import ConnectionIds, ServerOptions, parse_options
from tests.support.waiting import wait_until

# A silent server of one session: a test publishes what it needs.
SILENT: dict[str, Any] = {"port": 0, "sessions": 1, "rate": 0, "heartbeat": 0}


class Seen(NamedTuple):
    """One block of the stream as it stood on the wire."""

    id: str | None
    event: str
    data: bytes
    retry: str | None


@contextmanager
def running(**options) -> Iterator[MixServer]:
    with MixServer(ServerOptions(**{**SILENT, **options})) as server:
        yield server


class Stream:
    """A reader of one stream that does nothing but split blocks: no cursor, no reconnect."""

    def __init__(self, server: MixServer, session: str, last_event_id: str | None = None) -> None:
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self.response = requests.get(
            f"{server.url}/stream", params={"sessionId": session}, headers=headers, stream=True, timeout=10
        )
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.response.close()

    def next(self) -> Seen:
        """The next block; EOFError at the stream's proper end."""
        while b"\n\n" not in self._buffer:
            piece = self.response.raw.read1(65536)
            if not piece:
                raise EOFError
            self._buffer += piece
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        text = {name: fields[name].decode() for name in (b"id", b"event", b"retry") if name in fields}
        return Seen(text.get(b"id"), text[b"event"], fields[b"data"], text.get(b"retry"))

    def take(self, count: int) -> list[Seen]:
        return [self.next() for _ in range(count)]


def as_published(entries: list[JournalEntry]) -> list[Seen]:
    return [Seen(entry.id, entry.event, entry.data, None) for entry in entries]


def only_session(server: MixServer) -> str:
    (session,) = server.sessions()
    return session


# --- the stream


def test_a_stream_begins_with_connected_and_the_reconnection_time():
    """``connected`` comes at once, also in a silent session, and names it."""
    with running(retry=1234) as server, Stream(server, only_session(server)) as stream:
        first = stream.next()
        assert stream.response.headers["Content-Type"] == "text/event-stream"
        assert stream.response.headers["Transfer-Encoding"] == "chunked"
        assert (first.event, first.retry) == ("connected", "1234")
        assert json.loads(first.data) == {"sessionId": only_session(server)}


def test_ids_count_up_from_one_and_the_journal_has_the_same_bytes():
    """What is read is what the journal says was published."""
    with running() as server:
        session = only_session(server)
        server.burst(session, 40)
        with Stream(server, session, "0") as stream:
            seen = stream.take(41)[1:]
        assert [one.id for one in seen] == [str(number) for number in range(1, 41)]
        assert seen == as_published(server.journal(session))


@pytest.mark.parametrize(
    ("last_event_id", "first"), [("0", 1), ("7", 8), ("29", 30), ("kept-no-number", 1), ("9" * 5000, 1)]
)
def test_replay_begins_after_the_last_event_id(last_event_id, first):
    """0 means everything still kept; an id that is none of ours too: repeats are better than a hole."""
    with running() as server:
        session = only_session(server)
        server.burst(session, 30)
        with Stream(server, session, last_event_id) as stream:
            stream.next()
            assert stream.next() == as_published(server.journal(session))[first - 1]


@pytest.mark.parametrize("last_event_id", [None, "", "30", "31", "1000"])
def test_nothing_is_replayed_without_an_id_or_after_the_newest(last_event_id):
    """Such a reader gets only what comes from now on."""
    with running() as server:
        session = only_session(server)
        server.burst(session, 30)
        with Stream(server, session, last_event_id) as stream:
            stream.next()
            server.burst(session, 1)
            assert stream.next().id == "31"


def test_what_the_buffer_forgot_is_not_replayed():
    """A reader that was away for longer than the buffer reaches sees the ids jump."""
    with running(replay=10) as server:
        session = only_session(server)
        server.burst(session, 25)
        with Stream(server, session, "3") as stream:
            assert [one.id for one in stream.take(11)] == ["3", *map(str, range(16, 26))]
        assert len(server.journal(session)) == 25


def test_replay_goes_over_into_live_without_a_seam():
    """Events published while the replay is read come once, after it."""
    with running() as server:
        session = only_session(server)
        server.burst(session, 2000)
        with Stream(server, session, "0") as stream:
            stream.take(5)
            server.burst(session, 500)
            assert [one.id for one in stream.take(2496)] == [str(number) for number in range(5, 2501)]


def test_a_cut_stream_resumes_where_it_was():
    """A disconnect ends the body without its last chunk; the id of the last event brings the rest."""
    with running() as server:
        session = only_session(server)
        server.burst(session, 5)
        with Stream(server, session, "0") as stream:
            last = stream.take(6)[-1]
            assert server.disconnect(session) == 1
            with pytest.raises(Exception, match=r"IncompleteRead|InvalidChunkLength|broken"):
                stream.next()
        server.burst(session, 5)
        with Stream(server, session, last.id) as stream:
            assert [one.id for one in stream.take(6)[1:]] == ["6", "7", "8", "9", "10"]


def test_events_per_write_shape_the_chunks_only():
    """With ``per_write`` several events share a chunk, and the stream is the same."""
    with running(per_write=10) as server:
        session = only_session(server)
        server.burst(session, 25)
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
        connection.connect()
        request = f"GET /stream?sessionId={session} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n\r\n"
        connection.sock.sendall(request.encode())
        body = b""
        while b"id: 25\n" not in body:
            body += connection.sock.recv(65536)
        connection.close()
        chunks = [chunk.count(b"\ndata: ") for chunk in body.split(b"\n\n\r\n")]
        assert chunks[:3] == [1, 10, 10]


def test_agents_talk_at_their_rate_and_stop_after_their_events():
    """``rate`` events a second, ``events`` in all, and nothing after."""
    with running(rate=200, events=30) as server:
        session = only_session(server)
        with Stream(server, session, "0") as stream:
            seen = stream.take(31)[1:]
        assert seen == as_published(server.journal(session))
        server.burst(session, 1)
        assert server.published() == {session: 31}


def test_the_same_seed_gives_the_same_sessions_and_events():
    """Two servers differ in nothing but times."""
    journals = []
    for _ in range(2):
        with running(seed=5) as server:
            server.burst(only_session(server), 10)
            journals.append(server.journal(only_session(server)))
    assert journals[0] == journals[1]


def test_the_journal_is_right_without_any_reader():
    """Publishing does not wait for somebody to listen, even far beyond the replay buffer."""
    with running(replay=10) as server:
        session = only_session(server)
        server.burst(session, 5000)
        assert [entry.sequence for entry in server.journal(session)] == list(range(1, 5001))


def test_a_pause_silences_the_agents():
    """Between pause and resume nothing is published but what is asked for."""
    with running(rate=500) as server:
        session = only_session(server)
        wait_until(lambda: server.published()[session] > 5)
        server.pause()
        wait_until(lambda: server.published() == server.published())
        before = server.published()[session]
        server.burst(session, 1)
        assert server.published()[session] - before <= 2  # at most one step of the agent was under way
        server.resume()
        wait_until(lambda: server.published()[session] > before + 10)


# --- ids of the events about the connection


def test_connected_and_heartbeat_carry_the_id_before_them():
    """A reader's cursor stays where it is: nothing is jumped over and nothing comes twice."""
    with running(heartbeat=0.05) as server:
        session = only_session(server)
        server.burst(session, 5)
        with Stream(server, session, "3") as stream:
            assert [(one.event, one.id) for one in stream.take(1)] == [("connected", "3")]
            assert [one.id for one in stream.take(2)] == ["4", "5"]
            assert [(one.event, one.id) for one in stream.take(2)] == [("heartbeat", "5"), ("heartbeat", "5")]


def test_fresh_ids_are_used_up_and_never_replayed():
    """With ``fresh`` the ids jump where ``connected`` took one, though no event is missing."""
    with running(connection_ids=ConnectionIds.FRESH) as server:
        session = only_session(server)
        server.burst(session, 2)
        with Stream(server, session, "0") as stream:
            assert [one.id for one in stream.take(3)] == ["3", "1", "2"]
            server.burst(session, 1)
            assert stream.next().id == "4"
        with Stream(server, session, "3") as stream:
            assert [(one.event, one.id) for one in stream.take(1)] == [("connected", "5")]
            assert stream.next() == as_published(server.journal(session))[2]


def test_without_ids_of_their_own_they_have_no_id_line():
    """With ``none`` only real events carry an id."""
    with running(connection_ids=ConnectionIds.NONE) as server, Stream(server, only_session(server)) as stream:
        assert stream.next().id is None


def test_heartbeats_come_on_every_connection_and_are_not_in_the_journal():
    """A heartbeat is about the connection, not an event of the session."""
    with running(heartbeat=0.02) as server:
        with Stream(server, only_session(server)) as stream:
            assert [one.event for one in stream.take(4)] == ["connected", "heartbeat", "heartbeat", "heartbeat"]
        assert server.journal(only_session(server)) == []


# --- a reader that stands still


def test_publishing_waits_for_a_reader_that_stands_still_and_nothing_is_lost():
    """A full replay buffer holds the agent back; when the reader goes on, every event comes."""
    with running(replay=50) as server:
        session = only_session(server)
        big = ScriptedEvent("content", json.dumps({"type": "content", "content": "x" * 100_000}).encode())
        with Stream(server, session, "0") as stream:
            stream.next()
            burst = requests.Request(
                "POST",
                f"{server.url}/control/sessions/{session}/events",
                json={"events": [{"event": big.name, "data": big.data.decode()}] * 300},
            ).prepare()
            answer = _in_background(burst)
            # 300 x 100 kB are more than the kernel and the buffer take together.
            wait_until(lambda: server.published()[session] >= 50)
            assert server.published()[session] < 300
            assert [one.id for one in stream.take(300)] == [str(number) for number in range(1, 301)]
            assert answer() == {"published": 300}


def test_a_reader_that_stands_still_can_be_cut_and_publishing_goes_on():
    """Cutting the stream frees the agent; the reader resumes from its id."""
    with running(replay=50) as server:
        session = only_session(server)
        data = json.dumps({"type": "content", "content": "x" * 100_000})
        with Stream(server, session, "0") as stream:
            stream.next()
            burst = requests.Request(
                "POST",
                f"{server.url}/control/sessions/{session}/events",
                json={"events": [{"event": "content", "data": data}] * 300},
            ).prepare()
            answer = _in_background(burst)
            wait_until(lambda: server.published()[session] >= 50)
            server.disconnect(session)
            assert answer() == {"published": 300}


def _in_background(prepared: requests.PreparedRequest) -> Callable[[], Any]:
    """Send a request in a thread; the function waits for its JSON answer."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(lambda: requests.Session().send(prepared, timeout=30).json())
    pool.shutdown(wait=False)
    return lambda: future.result(30)


# --- sessions


def test_the_list_hides_subagents_unless_asked():
    """As the contract says; a subagent's session names its parent."""
    with running(sessions=2, subagents=1) as server:
        mains = requests.get(f"{server.url}/api/sessions", timeout=5).json()
        everyone = requests.get(f"{server.url}/api/sessions?includeSubagents=true", timeout=5).json()
        assert [one["sessionType"] for one in mains] == ["main", "main"]
        assert [one["sessionType"] for one in everyone] == ["main", "main", "subagent"]
        assert everyone[2]["parentSessionId"] == mains[0]["id"]
        assert [one["id"] for one in everyone] == server.sessions()


def test_a_new_session_is_told_to_the_other_streams_and_talks():
    """``session_created`` is an event of every other session, with an id and in the journal."""
    with running(rate=0) as server:
        (first,) = server.sessions()
        with Stream(server, first) as stream:
            stream.next()
            created = server.create_session(title="Second", rate=100)
            told = stream.next()
        assert (told.event, told.id) == ("session_created", "1")
        assert json.loads(told.data)["sessionId"] == created
        assert VALIDATORS["session_created"](told.data.decode()) is None
        assert server.journal(first)[0].data == told.data
        with Stream(server, created, "0") as stream:
            assert stream.take(2)[1].event == "user_message_created"


def test_a_deleted_session_says_so_ends_its_streams_and_is_not_found_again():
    """Its own stream gets what is left and ``session_deleted``, then its proper end; the others are told."""
    with running(sessions=2) as server:
        kept, deleted = server.sessions()
        server.burst(deleted, 3)
        with Stream(server, kept) as other, Stream(server, deleted, "0") as own:
            other.next()
            own.take(2)
            server.delete_session(deleted)
            assert [one.event for one in own.take(3)][-1] == "session_deleted"
            with pytest.raises(EOFError):
                own.next()
            told = other.next()
        assert (told.event, json.loads(told.data)["sessionId"]) == ("session_deleted", deleted)
        assert requests.get(f"{server.url}/stream?sessionId={deleted}", timeout=5).status_code == 404
        assert server.sessions() == [kept]
        assert len(server.journal(deleted)) == 4


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/stream?sessionId=nobody", 404),
        ("GET", "/stream", 400),
        ("POST", "/stream", 405),
        ("DELETE", "/api/sessions/nobody", 404),
        ("POST", "/api/sessions", 400),
        ("PUT", "/api/sessions", 405),
        ("GET", "/nowhere", 404),
        ("POST", "/control/sessions/nobody/burst", 400),
    ],
)
def test_refusals_have_the_contracts_json_error(method, path, status):
    """Status and body agree, and the connection stays usable."""
    with running() as server, requests.Session() as client:
        answer = client.request(method, server.url + path, timeout=5)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["error"]["code"] == status
        assert client.get(f"{server.url}/health", timeout=5).json()["status"] == "ok"


# --- control over HTTP


def test_everything_a_test_needs_goes_over_http_too():
    """A server in another process is controlled and measured without its help."""
    with running() as server, requests.Session() as client:
        chosen = {"id": "a/b ö", "parent": "p", "createdAt": 86400, "rate": 0}
        created = client.post(f"{server.url}/control/sessions", json=chosen, timeout=5)
        assert (created.status_code, created.json()["id"]) == (201, "a/b ö")
        assert created.json()["createdAt"] == "1970-01-02T00:00:00.000Z"
        path = f"{server.url}/control/sessions/a%2Fb%20%C3%B6"
        assert client.post(f"{path}/burst", json={"count": 5}, timeout=5).json() == {"published": 5}
        exactly = {"events": [{"event": "new_kind", "data": '{ "x" : 1.0 }\nzwei'}]}
        assert client.post(f"{path}/events", json=exactly, timeout=5).json() == {"published": 6}
        lines = client.get(
            f"{server.url}/control/journal", params={"session": "a/b ö", "after": "4"}, timeout=5
        ).content
        entries = [JournalEntry.from_line(line) for line in lines.splitlines(keepends=True)]
        assert entries == server.journal("a/b ö")[4:]
        assert entries[-1] == JournalEntry("a/b ö", 6, "6", "new_kind", b'{ "x" : 1.0 }\nzwei')
        counts = client.get(f"{server.url}/control/sessions", timeout=5).json()
        assert {"id": "a/b ö", "published": 6, "readers": 0, "opened": 0, "most_readers": 0} in counts
        wrong = client.post(f"{server.url}/control/sessions", json={"ratte": 1}, timeout=5)
        assert wrong.status_code == 400
        assert "ratte" in wrong.json()["error"]["message"]


def test_the_journal_comes_in_pages():
    """A long journal is asked for from the last sequence on."""
    with running() as server:
        session = only_session(server)
        server.burst(session, 10_500)
        at, sizes = 0, []
        while lines := requests.get(
            f"{server.url}/control/journal", params={"session": session, "after": str(at)}, timeout=10
        ).content.splitlines():
            sizes.append(len(lines))
            at = json.loads(lines[-1])["sequence"]
        assert sizes == [10_000, 500]


# --- load tests


def test_a_load_test_sends_every_event_and_knows_its_journal():
    """As many events as asked for, on each session, the same as the derived journal."""
    with running(load=True, rate=None, sessions=2, events=3000, per_write=100, event_bytes=200) as server:
        for session in server.sessions():
            with Stream(server, session, "0") as stream:
                assert stream.take(3001)[1:] == as_published(server.journal(session))
            with Stream(server, session, "1234") as stream:
                assert stream.take(2)[1].id == "1235"
        assert {len(entry.data) for entry in server.journal(session)} == {200}


def test_a_load_test_can_have_a_rate():
    """With a rate the events become available over time."""
    with running(load=True, rate=1000, events=100) as server, Stream(server, only_session(server), "0") as stream:
        assert stream.take(2)[1].id == "1"
        assert server.published()[only_session(server)] < 100
        assert stream.take(99)[-1].id == "100"


def test_what_is_held_begins_when_it_is_let_go():
    """Streams open, heartbeats come, and nobody says a word before."""
    options = {"load": True, "rate": None, "events": 50, "held": True, "heartbeat": 0.05}
    with running(**options) as server, Stream(server, only_session(server), "0") as stream:
        assert [seen.event for seen in stream.take(3)] == ["connected", "heartbeat", "heartbeat"]
        assert server.published() == {only_session(server): 0}
        server.resume()
        events: list[Seen] = []
        while len(events) < 50:
            events += [seen for seen in stream.take(1) if seen.event != "heartbeat"]
        assert [event.id for event in events] == [str(number) for number in range(1, 51)]


def test_held_agents_talk_when_they_are_let_go():
    """The same for agents, at their own rate."""
    with running(rate=1000, events=20, held=True) as server, Stream(server, only_session(server), "0") as stream:
        stream.take(1)
        assert server.published() == {only_session(server): 0}
        server.resume()
        assert stream.take(20)[-1].id == "20"


# --- the published client


@pytest.fixture(scope="module")
def lively() -> Iterator[MixServer]:
    """A server in which every kind of event has been published."""
    with running(sessions=2, heartbeat=0.2) as server:
        talker, _ = server.sessions()
        server.burst(talker, 1500)
        server.delete_session(server.create_session())
        wait_until(lambda: server.published()[talker] == 1502)
        yield server


def test_the_published_client_accepts_every_kind_of_event(lively):
    """All 16 kinds of the contract pass the models of mix-python-sdk, in order, with their ids."""
    talker = lively.sessions()[0]
    published = lively.journal(talker)
    seen = []
    with (
        Mix(server_url=lively.url) as mix,
        mix.streaming.stream_events(session_id=talker, last_event_id="0").result as got,
    ):
        for event in got:
            seen.append(event)
            if event.event == "heartbeat" and len(seen) > len(published):
                break
    assert {event.event for event in seen} == set(EVENTS)
    assert seen[0].event == "connected"
    assert seen[0].retry == 3000
    real = [event for event in seen if event.event not in {"connected", "heartbeat"}]
    assert [(event.id, event.event) for event in real] == [(entry.id, entry.event) for entry in published]
    assert all(_same(event, entry) for event, entry in zip(real, published, strict=True))


def _same(event, entry: JournalEntry) -> bool:
    """The client's model holds what the journal says; it drops the content of ``params``."""
    sent = json.loads(entry.data)
    parsed = event.data.model_dump(by_alias=True, exclude_none=True)
    return {**parsed, "params": None} == {**sent, "params": None}


def test_the_published_client_resumes(lively):
    """Its ``last_event_id`` brings what came after."""
    talker = lively.sessions()[0]
    with (
        Mix(server_url=lively.url) as mix,
        mix.streaming.stream_events(session_id=talker, last_event_id="1000").result as got,
    ):
        ids = [next(got).id for _ in range(3)]
    assert ids == ["1000", "1001", "1002"]


def test_the_published_client_lists_creates_and_deletes_sessions(lively):
    """The REST side passes its models too."""
    with Mix(server_url=lively.url) as mix:
        created = mix.sessions.create(title="By the client", browser_mode="local-browser-service")
        listed = {one.id: one for one in mix.sessions.list(include_subagents=True)}
        assert listed[created.id].title == "By the client"
        assert listed[created.id].session_type == "main"
        assert listed[lively.sessions()[0]].user_message_count > 1
        mix.sessions.delete(id=created.id)
        assert created.id not in {one.id for one in mix.sessions.list()}
        assert mix.system.get_health().status == "ok"


def test_the_published_client_understands_the_404(lively):
    """An unknown session is the contract's error, as the client models it."""
    with Mix(server_url=lively.url) as mix, pytest.raises(ErrorResponse) as refused:
        mix.streaming.stream_events(session_id="nobody")
    assert (refused.value.data.error.code, refused.value.data.error.type) == (404, "not_found")


# --- life


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_by_itself_it_prints_its_address_and_ends_on_a_signal(tmp_path, number):
    """The first line is the URL; exit code 0; the journal is there afterwards."""
    journal = tmp_path / "journal"
    arguments = ["--port", "0", "--sessions", "2", "--rate", "200", "--seed", "3", "--journal", str(journal)]
    command = [sys.executable, "-m", "bridge.simulator", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        session = requests.get(f"{url}/api/sessions", timeout=5).json()[0]["id"]
        with requests.get(f"{url}/stream?sessionId={session}", stream=True, timeout=5) as stream:
            stream.raw.read1(10)
            process.send_signal(number)
            assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert len(read_journal(journal)[session]) > 0


def test_kill_minus_9_leaves_a_whole_journal(tmp_path):
    """Whatever a reader has seen is in the file."""
    journal = tmp_path / "journal"
    command = [
        sys.executable,
        "-m",
        "bridge.simulator",
        "--port",
        "0",
        "--rate",
        "500",
        "--journal",
        str(journal),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        session = requests.get(f"{url}/api/sessions", timeout=5).json()[0]["id"]
        with requests.get(
            f"{url}/stream?sessionId={session}", headers={"Last-Event-ID": "0"}, stream=True, timeout=5
        ) as stream:
            read = b""
            while b"id: 100\n" not in read:
                read += stream.raw.read1(65536)
            process.kill()
    published = read_journal(journal)[session]
    assert [entry.sequence for entry in published] == list(range(1, len(published) + 1))
    assert len(published) >= 100


def test_wrong_options_end_with_a_message(capsys):
    """Exit code 2 and the option at fault."""
    with pytest.raises(SystemExit) as ended:
        parse_options(["--replay", "0"])
    assert ended.value.code == 2
    assert "replay must be at least 1" in capsys.readouterr().err


def test_a_taken_port_is_an_error_that_says_so(capsys):
    """No traceback and no server that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "in use" in capsys.readouterr().err


def test_stop_ends_open_streams_and_can_be_called_twice():
    """A reader of a stopped server gets what was published, then the end."""
    server = MixServer(ServerOptions(**SILENT))
    server.start()
    session = only_session(server)
    with Stream(server, session) as stream:
        stream.next()
        server.burst(session, 3)
        server.stop()
        assert [one.id for one in stream.take(3)] == ["1", "2", "3"]
        with pytest.raises(EOFError):
            stream.next()
    server.stop()
