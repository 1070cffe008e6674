"""The simulated Mix server over real HTTP, with a minimal reader and with the published client."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from mix_python_sdk import Mix
from mix_python_sdk.errors import ErrorResponse

from bridge.mix.events import EVENTS, VALIDATORS
from bridge.simulator.__main__ import main
from bridge.simulator.encoding import Dispatched
from bridge.simulator.faults.kinds import Disconnect
from bridge.simulator.server.journal import JournalEntry, read_journal
from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.options import ServerOptions, parse_options
from tests.simulator.streams import SILENT, only, opened, reading, running
from tests.support.waiting import TIMEOUT, wait_until


def as_published(entries: list[JournalEntry]) -> list[Dispatched]:
    return [Dispatched(entry.id, entry.event, entry.data) for entry in entries]


# --- the stream


def test_a_stream_begins_with_connected_and_the_reconnection_time():
    with running(retry=1234) as server, opened(server) as stream:
        head = stream.head()
        assert "Content-Type: text/event-stream\r\n" in head
        assert "Transfer-Encoding: chunked\r\n" in head
        first = f'id: 0\nevent: connected\nretry: 1234\ndata: {{"sessionId":"{only(server)}"}}\n\n'
        assert stream.until(b"\n\n").partition(b"\r\n")[2].decode() == first


def test_ids_start_at_one_and_the_journal_has_the_same_bytes():
    with running() as server:
        session = only(server)
        server.burst(session, 40)
        with reading(server, session, "0") as stream:
            seen = stream.events(41)[1:]
        assert [one.id for one in seen] == [str(number) for number in range(1, 41)]
        assert seen == as_published(server.journal(session))


@pytest.mark.parametrize(
    ("last_event_id", "first"), [("0", 1), ("7", 8), ("29", 30), ("kept-no-number", 1), ("9" * 5000, 1)]
)
def test_replay_begins_after_the_last_event_id(last_event_id, first):
    """0 and unknown ids mean every kept event: repeats are better than a gap."""
    with running() as server:
        session = only(server)
        server.burst(session, 30)
        with reading(server, session, last_event_id) as stream:
            stream.events(1)[0]
            assert stream.events(1)[0] == as_published(server.journal(session))[first - 1]


@pytest.mark.parametrize("last_event_id", [None, "", "30", "31", "1000"])
def test_nothing_is_replayed_without_an_id_or_after_the_newest(last_event_id):
    """Such a reader gets only new events."""
    with running() as server:
        session = only(server)
        server.burst(session, 30)
        with reading(server, session, last_event_id) as stream:
            stream.events(1)[0]
            server.burst(session, 1)
            assert stream.events(1)[0].id == "31"


def test_forgotten_events_are_not_replayed():
    with running(replay=10) as server:
        session = only(server)
        server.burst(session, 25)
        with reading(server, session, "3") as stream:
            assert [one.id for one in stream.events(11)] == ["3", *map(str, range(16, 26))]
        assert len(server.journal(session)) == 25


def test_new_events_follow_the_replay_without_a_gap():
    with running() as server:
        session = only(server)
        server.burst(session, 2000)
        with reading(server, session, "0") as stream:
            stream.events(5)
            server.burst(session, 500)
            assert [one.id for one in stream.events(2496)] == [str(number) for number in range(5, 2501)]


def test_a_cut_stream_resumes_where_it_was():
    """A disconnect ends the body without its last chunk. A new stream continues after the last event id."""
    with running() as server:
        session = only(server)
        server.burst(session, 5)
        with reading(server, session, "0") as stream:
            last = stream.events(6)[-1]
            cut = requests.post(f"{server.url}/control/sessions/{session}/disconnect", timeout=TIMEOUT)
            assert cut.json() == {"streams": 1}
            assert stream.rest() == (b"", "fin")
        server.burst(session, 5)
        with reading(server, session, last.id) as stream:
            assert [one.id for one in stream.events(6)[1:]] == ["6", "7", "8", "9", "10"]


def test_per_write_events_share_a_chunk():
    with running(per_write=10) as server:
        session = only(server)
        server.burst(session, 25)
        with reading(server, last_event_id="0") as stream:
            body = stream.until(b"id: 25\n")
        chunks = [chunk.count(b"\ndata: ") for chunk in body.split(b"\n\n\r\n")]
        assert chunks[:3] == [1, 10, 10]


def test_an_agent_stops_after_its_events():
    with running(rate=200, events=30) as server:
        session = only(server)
        with reading(server, session, "0") as stream:
            seen = stream.events(31)[1:]
        assert seen == as_published(server.journal(session))
        server.burst(session, 1)
        assert server.published() == {session: 31}


def test_the_same_seed_gives_the_same_sessions_and_events():
    journals = []
    for _ in range(2):
        with running(seed=5) as server:
            server.burst(only(server), 10)
            journals.append(server.journal(only(server)))
    assert journals[0] == journals[1]


def test_publishing_does_not_wait_without_a_reader():
    with running(replay=10) as server:
        session = only(server)
        server.burst(session, 5000)
        assert [entry.sequence for entry in server.journal(session)] == list(range(1, 5001))


def test_paused_agents_publish_nothing():
    with running(rate=500) as server:
        session = only(server)
        wait_until(lambda: server.published()[session] > 5)
        server.pause()
        wait_until(lambda: server.published() == server.published())
        before = server.published()[session]
        server.burst(session, 1)
        assert server.published()[session] - before <= 2  # at most one step of the agent was in progress
        server.resume()
        wait_until(lambda: server.published()[session] > before + 10)


# --- ids of the events about the connection


def test_connected_and_heartbeat_have_the_id_of_the_event_before_them():
    with running(heartbeat=0.05) as server:
        session = only(server)
        server.burst(session, 5)
        with reading(server, session, "3") as stream:
            assert [(one.event, one.id) for one in stream.events(1)] == [("connected", "3")]
            assert [one.id for one in stream.events(2)] == ["4", "5"]
            assert [(one.event, one.id) for one in stream.events(2)] == [("heartbeat", "5"), ("heartbeat", "5")]


def test_fresh_ids_are_used_up_and_never_replayed():
    """The ids jump where ``connected`` used one, and no event is missing."""
    with running(connection_ids="fresh") as server:
        session = only(server)
        server.burst(session, 2)
        with reading(server, session, "0") as stream:
            assert [one.id for one in stream.events(3)] == ["3", "1", "2"]
            server.burst(session, 1)
            assert stream.events(1)[0].id == "4"
        with reading(server, session, "3") as stream:
            assert [(one.event, one.id) for one in stream.events(1)] == [("connected", "5")]
            assert stream.events(1)[0] == as_published(server.journal(session))[2]


def test_connection_ids_none_sends_no_id_line():
    with running(connection_ids="none") as server, reading(server) as stream:
        assert stream.events(1)[0].id is None


def test_heartbeats_are_not_in_the_journal():
    with running(heartbeat=0.02) as server:
        with reading(server) as stream:
            assert [one.event for one in stream.events(4)] == ["connected", "heartbeat", "heartbeat", "heartbeat"]
        assert server.journal(only(server)) == []


# --- stalled readers


def test_publishing_waits_for_a_stalled_reader():
    """A full replay buffer delays the agent, and the reader gets every event."""
    with running(replay=50) as server:
        session = only(server)
        with reading(server, session, "0") as stream:
            stream.events(1)[0]
            answer = publish_giants(server)
            wait_until(lambda: server.published()[session] >= 50)
            assert server.published()[session] < 300
            assert [one.id for one in stream.events(300)] == [str(number) for number in range(1, 301)]
            assert answer() == {"published": 300}


def test_publishing_continues_when_a_stalled_reader_is_cut():
    with running(replay=50) as server:
        session = only(server)
        with reading(server, session, "0") as stream:
            stream.events(1)[0]
            answer = publish_giants(server)
            wait_until(lambda: server.published()[session] >= 50)
            server.inject(Disconnect(session=session))
            assert answer() == {"published": 300}


def publish_giants(server: MixServer) -> Callable[[], Any]:
    """Publish 300 events of 100 kB in a thread, more than the kernel and the buffer hold; wait with the function."""
    pool = ThreadPoolExecutor(1)
    event = {"event": "content", "data": json.dumps({"type": "content", "content": "x" * 100_000})}
    url = f"{server.url}/control/sessions/{only(server)}/events"
    future = pool.submit(lambda: requests.post(url, json={"events": [event] * 300}, timeout=TIMEOUT).json())
    pool.shutdown(wait=False)
    return lambda: future.result(TIMEOUT)


# --- sessions


def test_the_list_contains_subagents_only_on_request():
    with running(sessions=2, subagents=1) as server:
        mains = requests.get(f"{server.url}/api/sessions", timeout=TIMEOUT).json()
        everyone = requests.get(f"{server.url}/api/sessions?includeSubagents=true", timeout=TIMEOUT).json()
        assert [one["sessionType"] for one in mains] == ["main", "main"]
        assert [one["sessionType"] for one in everyone] == ["main", "main", "subagent"]
        assert everyone[2]["parentSessionId"] == mains[0]["id"]
        assert [one["id"] for one in everyone] == server.sessions()


def test_all_other_sessions_get_session_created():
    """It is an event with an id, and in the journal."""
    with running(rate=0) as server:
        (first,) = server.sessions()
        with reading(server, first) as stream:
            stream.events(1)[0]
            created = server.create_session(title="Second", rate=100)
            announced = stream.events(1)[0]
        assert (announced.event, announced.id) == ("session_created", "1")
        assert json.loads(announced.data)["sessionId"] == created
        assert VALIDATORS["session_created"](announced.data.decode()) is None
        assert server.journal(first)[0].data == announced.data
        with reading(server, created, "0") as stream:
            assert stream.events(2)[1].event == "user_message_created"


def test_all_sessions_get_session_deleted_and_the_deleted_one_ends():
    with running(sessions=2) as server:
        kept, deleted = server.sessions()
        server.burst(deleted, 3)
        with reading(server, kept) as other, reading(server, deleted, "0") as own:
            other.events(1)[0]
            own.events(2)
            server.delete_session(deleted)
            assert [one.event for one in own.events(3)][-1] == "session_deleted"
            assert own.rest() == (b"0\r\n\r\n", "fin")
            announced = other.events(1)[0]
        assert (announced.event, json.loads(announced.data)["sessionId"]) == ("session_deleted", deleted)
        assert requests.get(f"{server.url}/stream?sessionId={deleted}", timeout=TIMEOUT).status_code == 404
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
def test_errors_have_the_contracts_json(method, path, status):
    """The connection stays usable."""
    with running() as server, requests.Session() as client:
        answer = client.request(method, server.url + path, timeout=TIMEOUT)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["error"]["code"] == status
        assert client.get(f"{server.url}/health", timeout=TIMEOUT).json()["status"] == "ok"


# --- the control API


def test_the_control_api_creates_sessions_and_publishes():
    with running() as server, requests.Session() as client:
        chosen = {"id": "a/b ö", "parent": "p", "createdAt": 86400, "rate": 0}
        created = client.post(f"{server.url}/control/sessions", json=chosen, timeout=TIMEOUT)
        assert (created.status_code, created.json()["id"]) == (201, "a/b ö")
        assert created.json()["createdAt"] == "1970-01-02T00:00:00.000Z"
        path = f"{server.url}/control/sessions/a%2Fb%20%C3%B6"
        assert client.post(f"{path}/burst", json={"count": 5}, timeout=TIMEOUT).json() == {"published": 5}
        exactly = {"events": [{"event": "new_kind", "data": '{ "x" : 1.0 }\nzwei'}]}
        assert client.post(f"{path}/events", json=exactly, timeout=TIMEOUT).json() == {"published": 6}
        lines = client.get(
            f"{server.url}/control/journal", params={"session": "a/b ö", "after": "4"}, timeout=TIMEOUT
        ).content
        entries = [JournalEntry.from_line(line) for line in lines.splitlines(keepends=True)]
        assert entries == server.journal("a/b ö")[4:]
        assert entries[-1] == JournalEntry("a/b ö", 6, "6", "new_kind", b'{ "x" : 1.0 }\nzwei')
        counts = client.get(f"{server.url}/control/sessions", timeout=TIMEOUT).json()
        assert {"id": "a/b ö", "published": 6, "readers": 0, "opened": 0, "most_readers": 0} in counts
        wrong = client.post(f"{server.url}/control/sessions", json={"ratte": 1}, timeout=TIMEOUT)
        assert wrong.status_code == 400
        assert "ratte" in wrong.json()["error"]["message"]


def test_the_journal_comes_in_pages():
    with running() as server:
        session = only(server)
        server.burst(session, 10_500)
        at, sizes = 0, []
        while lines := requests.get(
            f"{server.url}/control/journal", params={"session": session, "after": str(at)}, timeout=TIMEOUT
        ).content.splitlines():
            sizes.append(len(lines))
            at = json.loads(lines[-1])["sequence"]
        assert sizes == [10_000, 500]


# --- load tests


def test_a_load_test_sends_every_event_and_knows_its_journal():
    with running(load=True, rate=None, sessions=2, events=3000, per_write=100, event_bytes=200) as server:
        for session in server.sessions():
            with reading(server, session, "0") as stream:
                assert stream.events(3001)[1:] == as_published(server.journal(session))
            with reading(server, session, "1234") as stream:
                assert stream.events(2)[1].id == "1235"
        assert {len(entry.data) for entry in server.journal(session)} == {200}


def test_a_load_test_can_have_a_rate():
    with running(load=True, rate=1000, events=100) as server, reading(server, only(server), "0") as stream:
        assert stream.events(2)[1].id == "1"
        assert server.published()[only(server)] < 100
        assert stream.events(99)[-1].id == "100"


def test_a_held_load_test_begins_with_resume():
    """Before, streams open and get heartbeats, but no events."""
    options = {"load": True, "rate": None, "events": 50, "held": True, "heartbeat": 0.05}
    with running(**options) as server, reading(server, only(server), "0") as stream:
        assert [seen.event for seen in stream.events(3)] == ["connected", "heartbeat", "heartbeat"]
        assert server.published() == {only(server): 0}
        server.resume()
        events: list[Dispatched] = []
        while len(events) < 50:
            events += [seen for seen in stream.events(1) if seen.event != "heartbeat"]
        assert [event.id for event in events] == [str(number) for number in range(1, 51)]


def test_held_agents_begin_with_resume():
    with running(rate=1000, events=20, held=True) as server, reading(server, only(server), "0") as stream:
        stream.events(1)
        assert server.published() == {only(server): 0}
        server.resume()
        assert stream.events(20)[-1].id == "20"


# --- the published client


@pytest.fixture(scope="module")
def busy_server() -> Iterator[MixServer]:
    """Run a server that has published every kind of event."""
    with running(sessions=2, heartbeat=0.2) as server:
        talker, _ = server.sessions()
        server.burst(talker, 1500)
        server.delete_session(server.create_session())
        wait_until(lambda: server.published()[talker] == 1502)
        yield server


def test_the_published_client_accepts_every_kind_of_event(busy_server):
    talker = busy_server.sessions()[0]
    published = busy_server.journal(talker)
    seen = []
    with (
        Mix(server_url=busy_server.url) as mix,
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
    """Compare the client's model with the journal, except ``params``, whose content the model drops."""
    sent = json.loads(entry.data)
    parsed = event.data.model_dump(by_alias=True, exclude_none=True)
    return {**parsed, "params": None} == {**sent, "params": None}


def test_the_published_client_resumes(busy_server):
    talker = busy_server.sessions()[0]
    with (
        Mix(server_url=busy_server.url) as mix,
        mix.streaming.stream_events(session_id=talker, last_event_id="1000").result as got,
    ):
        ids = [next(got).id for _ in range(3)]
    assert ids == ["1000", "1001", "1002"]


def test_the_published_client_lists_creates_and_deletes_sessions(busy_server):
    with Mix(server_url=busy_server.url) as mix:
        created = mix.sessions.create(title="By the client", browser_mode="local-browser-service")
        listed = {one.id: one for one in mix.sessions.list(include_subagents=True)}
        assert listed[created.id].title == "By the client"
        assert listed[created.id].session_type == "main"
        assert listed[busy_server.sessions()[0]].user_message_count > 1
        mix.sessions.delete(id=created.id)
        assert created.id not in {one.id for one in mix.sessions.list()}
        assert mix.system.get_health().status == "ok"


def test_the_published_client_understands_the_404(busy_server):
    with Mix(server_url=busy_server.url) as mix, pytest.raises(ErrorResponse) as refused:
        mix.streaming.stream_events(session_id="nobody")
    assert (refused.value.data.error.code, refused.value.data.error.type) == (404, "not_found")


# --- lifecycle


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_url_and_ends_on_a_signal(tmp_path, number):
    journal = tmp_path / "journal"
    arguments = ["--port", "0", "--sessions", "2", "--rate", "200", "--seed", "3", "--journal", str(journal)]
    command = [sys.executable, "-m", "bridge.simulator", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        session = requests.get(f"{url}/api/sessions", timeout=TIMEOUT).json()[0]["id"]
        with requests.get(f"{url}/stream?sessionId={session}", stream=True, timeout=TIMEOUT) as stream:
            stream.raw.read1(10)
            process.send_signal(number)
            assert process.wait(TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert len(read_journal(journal)[session]) > 0


def test_the_journal_is_complete_after_kill_9(tmp_path):
    journal = tmp_path / "journal"
    arguments = ["--port", "0", "--rate", "500", "--journal", str(journal)]
    command = [sys.executable, "-m", "bridge.simulator", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        session = requests.get(f"{url}/api/sessions", timeout=TIMEOUT).json()[0]["id"]
        with requests.get(
            f"{url}/stream?sessionId={session}", headers={"Last-Event-ID": "0"}, stream=True, timeout=TIMEOUT
        ) as stream:
            read = b""
            while b"id: 100\n" not in read:
                read += stream.raw.read1(65536)
            process.kill()
    published = read_journal(journal)[session]
    assert [entry.sequence for entry in published] == list(range(1, len(published) + 1))
    assert len(published) >= 100


def test_a_wrong_option_ends_with_code_2_and_a_message(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_options(["--replay", "0"])
    assert ended.value.code == 2
    assert "replay must be at least 1" in capsys.readouterr().err


def test_a_port_in_use_is_an_error_with_a_message(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "in use" in capsys.readouterr().err


def test_stop_ends_open_streams_and_can_be_called_twice():
    """A reader gets the published events, then the end."""
    server = MixServer(ServerOptions(**SILENT))
    server.start()
    session = only(server)
    with reading(server, session) as stream:
        stream.events(1)[0]
        server.burst(session, 3)
        server.stop()
        assert [one.id for one in stream.events(3)] == ["1", "2", "3"]
        assert stream.rest() == (b"0\r\n\r\n", "fin")
    server.stop()
