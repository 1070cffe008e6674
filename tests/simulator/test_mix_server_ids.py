"""Faults of ids, replay and events in the simulated server; its journal stays correct."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.simulator.encoding import Dispatched
from bridge.simulator.faults.kinds import (
    Cut,
    Drop,
    Evict,
    Fault,
    Ids,
    Jump,
    MalformedEvent,
    OwnIds,
    Replay,
    Restart,
    Skip,
)
from bridge.simulator.faults.malformed_events import MALFORMED_EVENTS
from bridge.simulator.faults.registry import FaultRecord
from bridge.simulator.server.journal import read_journal
from bridge.simulator.server.mix_server import MixServer
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.session_table import UnknownSession
from tests.fakes.raw_client import call
from tests.simulator.streams import SILENT, faults, is_open, lost, only, reading, running
from tests.support.waiting import wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MixServer]:
    with running(journal=tmp_path / "journal") as one:
        yield one


def ids(events: list[Dispatched]) -> list[str | None]:
    return [event.id for event in events]


def replayed(server: MixServer, last_event_id: str | None, count: int) -> list[str | None]:
    """Return the ids of the first events after ``connected``."""
    with reading(server, last_event_id=last_event_id) as stream:
        return ids(stream.events(count + 1)[1:])


# --- replay


def test_evicted_events_are_not_replayed_and_listed_as_lost(server):
    """No reader had received events 4 to 7; events that a reader received are not lost."""
    server.burst(only(server), 3)
    assert replayed(server, "0", 3) == ["1", "2", "3"]
    wait_until(lambda: call(server.url, "GET", "/control/sessions").body[0]["readers"] == 0)
    server.burst(only(server), 6)
    assert lost(server) == []
    server.inject(Evict(keep=2))
    assert lost(server) == [[4, 7]]
    assert call(server.url, "GET", f"/control/lost?session={only(server)}").body == {"count": 4, "spans": [[4, 7]]}
    assert replayed(server, "3", 2) == ["8", "9"]
    assert len(server.journal(only(server))) == 9


def test_an_empty_buffer_continues_with_new_events(server):
    server.burst(only(server), 3)
    server.inject(Evict())
    with reading(server, last_event_id="2") as stream:
        assert stream.events(1)[0].event == "connected"
        server.burst(only(server), 1)
        assert ids(stream.events(1)) == ["4"]


@pytest.mark.parametrize("ids_after", ["keep", "fresh"])
@pytest.mark.parametrize("history", ["keep", "forget"])
def test_a_restart_cuts_the_streams_and_keeps_or_forgets(server, ids_after, history):
    """Ids continue or restart at 1, including those of kept events; the journal continues."""
    session = only(server)
    server.burst(session, 3)
    server.inject(Evict(keep=2))
    with reading(server, last_event_id="0") as stream:
        stream.events(3)
        server.inject(Restart(ids=ids_after, history=history))
        assert stream.rest().ended == "fin"
    server.burst(session, 1)
    expected = {
        ("keep", "keep"): ["2", "3", "4"],
        ("keep", "forget"): ["4"],
        ("fresh", "keep"): ["1", "2", "3"],
        ("fresh", "forget"): ["1"],
    }[ids_after, history]
    assert replayed(server, "0", len(expected)) == expected
    assert [entry.sequence for entry in server.journal(session)] == [1, 2, 3, 4]


def test_a_restart_refuses_connections_while_it_is_down(server):
    server.inject(Restart(down=0.2))
    with pytest.raises(ConnectionRefusedError):
        reading(server, last_event_id="0")
    wait_until(lambda: is_open(server))
    with reading(server, last_event_id="0") as stream:
        assert stream.events(1)[0].event == "connected"


@pytest.mark.parametrize(("start", "first"), [("live", "6"), ("oldest", "1")])
def test_last_event_id_is_ignored(server, start, first):
    server.burst(only(server), 5)
    server.inject(Replay(start=start, times=1))
    with reading(server, last_event_id="3") as stream:
        stream.events(1)
        server.burst(only(server), 1)
        assert stream.events(1)[0].id == first
    assert replayed(server, "3", 1) == ["4"]


def test_skipped_events_are_in_the_replay(server):
    with reading(server, last_event_id="0") as stream:
        stream.events(1)
        server.burst(only(server), 2)
        assert ids(stream.events(2)) == ["1", "2"]
        server.inject(Skip(events=3, times=1))
        server.burst(only(server), 5)
        assert ids(stream.events(2)) == ["6", "7"]
    assert replayed(server, "2", 5) == ["3", "4", "5", "6", "7"]
    assert lost(server) == []


def test_dropped_events_are_only_in_the_journal(server):
    with reading(server, last_event_id="0") as stream:
        stream.events(1)
        server.burst(only(server), 2)
        server.inject(Drop(times=3))
        server.burst(only(server), 5)
        assert ids(stream.events(4)) == ["1", "2", "6", "7"]
    assert replayed(server, "0", 4) == ["1", "2", "6", "7"]
    assert lost(server) == [[3, 5]]
    assert len(server.journal(only(server))) == 7


def test_ids_jump_and_nothing_is_missing(server):
    server.burst(only(server), 1)
    server.inject(Jump(by=10))
    server.burst(only(server), 1)
    assert replayed(server, "0", 2) == ["1", "12"]
    assert replayed(server, "5", 1) == ["12"]


# --- other ids


def test_one_id_for_several_events(server):
    server.inject(Ids(scheme="group", size=3, times=6))
    server.burst(only(server), 7)
    assert replayed(server, "0", 7) == ["1", "1", "1", "2", "2", "2", "3"]
    assert replayed(server, "1", 1) == ["2"]
    assert [entry.id for entry in server.journal(only(server))][:4] == ["1", "1", "1", "2"]


def test_events_without_ids_between_others(server):
    """A reader resumes after its last id, before the events without one."""
    server.inject(Ids(scheme="some", size=3))
    server.burst(only(server), 6)
    assert replayed(server, "0", 6) == ["1", None, None, "2", None, None]
    assert replayed(server, "1", 2) == [None, None]


def test_no_ids_at_all(server):
    server.inject(Ids(scheme="none"))
    server.burst(only(server), 3)
    assert replayed(server, "0", 3) == [None, None, None]
    assert [entry.id for entry in server.journal(only(server))] == ["", "", ""]


def test_opaque_ids(server):
    """A reader resumes after a known id, and gets all events for an unknown one."""
    server.inject(Ids(scheme="uuid"))
    server.burst(only(server), 4)
    known = replayed(server, "0", 4)
    assert len({len(one or "") for one in known}) == 1
    assert len(set(known)) == 4
    assert replayed(server, known[1], 2) == known[2:]
    assert replayed(server, "nobody", 4) == known


@pytest.mark.parametrize(("kind", "expected"), [("fresh", "3"), ("none", None), ("position", "0")])
def test_the_ids_of_connected_change(server, kind, expected):
    server.burst(only(server), 2)
    server.inject(OwnIds(ids=kind, times=1))
    with reading(server, last_event_id="0") as stream:
        assert stream.events(1)[0].id == expected


# --- malformed events


@pytest.mark.parametrize("kind", MALFORMED_EVENTS)
def test_the_journal_has_what_a_correct_client_dispatches(server, kind, tmp_path):
    """Malformed bytes are replaced and lines are joined. A reader can resume after the event."""
    session = only(server)
    size = 2000 if kind in {"huge", "many_lines"} else None
    server.burst(session, 1)
    server.inject(MalformedEvent(malformation=kind, size=size, session=session))
    server.burst(session, 1)
    with reading(server, last_event_id="0") as stream:
        seen = stream.events(4)[2]
    entry = server.journal(session)[1]
    assert (entry.id, entry.event, entry.data) == (seen.id or "", seen.event, seen.data)
    assert read_journal(tmp_path / "journal")[session][1] == entry
    if kind not in {"control_id", "long_id"}:  # no request header can contain them
        assert replayed(server, entry.id.strip() or "2", 1) == ["3"]


def test_an_event_of_20_megabytes_arrives_complete(server):
    server.inject(MalformedEvent(malformation="huge", session=only(server)))
    (entry,) = server.journal(only(server))
    assert len(entry.data) == 20_000_000
    with reading(server, last_event_id="0") as stream:
        assert stream.events(2)[1].data == entry.data


def test_an_event_of_a_million_lines_is_in_the_journal(server):
    server.inject(MalformedEvent(malformation="many_lines", session=only(server)))
    (entry,) = server.journal(only(server))
    assert entry.data.count(b"\n") == 1_000_000 - 1
    assert json.loads(entry.data) == {"type": "content", "content": "many lines"}


def test_malformed_events_over_http(server):
    path = f"/control/sessions/{only(server)}/poison"
    assert call(server.url, "POST", path, {"kind": "deep_json", "size": 50}).body == {"published": 1}
    assert server.journal(only(server))[0].data.count(b"[") == 50
    refused = call(server.url, "POST", path, {"kind": "arsenic"})
    assert refused.status == 400
    assert "bad_utf8" in refused.body["error"]["message"]
    assert call(server.url, "POST", "/control/sessions/nobody/poison", {"kind": "bad_json"}).status == 404


# --- the control of faults


def test_faults_over_http(server):
    first = call(server.url, "POST", "/control/faults", {"kind": "cut", "after": 10, "times": 1})
    assert first.status == 201
    assert first.body["state"] == "active"
    call(server.url, "POST", "/control/faults", {"kind": "silence", "session": only(server), "seconds": 60})
    call(server.url, "POST", "/control/faults", {"kind": "evict"})
    assert call(server.url, "DELETE", f"/control/faults/{first.body['number']}").body == {"cleared": 1}
    assert call(server.url, "DELETE", "/control/faults").body == {"cleared": 1}
    listed = call(server.url, "GET", "/control/faults").body
    assert [(each["fault"]["kind"], each["state"]) for each in listed] == [
        ("cut", "over"),
        ("silence", "over"),
        ("evict", "over"),
    ]
    wrong = call(server.url, "POST", "/control/faults", {"kind": "cut", "aftr": 1})
    assert (wrong.status, "aftr" in wrong.body["error"]["message"]) == (400, True)
    assert call(server.url, "POST", "/control/faults", {"kind": "evict", "session": "nobody"}).status == 404


def test_faults_are_reported_as_they_begin_and_end():
    reports: list[FaultRecord[Fault]] = []
    with MixServer(ServerOptions(**SILENT), on_fault=reports.append) as server:
        server.inject(Cut(after=5, times=1))
        with reading(server, last_event_id="0") as stream:
            stream.rest()
        call(server.url, "DELETE", "/control/faults")
        server.inject(Evict())
    assert [(each.fault.kind, each.state) for each in reports] == [
        ("cut", "active"),
        ("cut", "spent"),
        ("cut", "over"),
        ("evict", "over"),
    ]
    assert reports[0].description == "streams are cut after 5 bytes (FIN)"


def test_a_fault_for_an_unknown_session_is_refused(server):
    with pytest.raises(UnknownSession):
        server.inject(MalformedEvent(session="nobody"))


def test_a_load_test_refuses_faults_of_events():
    """Its events are fixed, but its connections can be cut."""
    with running(rate=None, load=True, events=100) as server:
        for fault in (Evict(), Jump(), MalformedEvent()):
            with pytest.raises(ValueError, match=r"load test|not possible"):
                server.inject(fault)
        server.inject(Cut(after=1000, how="rst", times=1))
        with reading(server, last_event_id="0") as stream:
            assert len(b"".join(stream.rest().chunks())) == 1000


def test_a_schedule_in_a_file_is_played(tmp_path):
    """A fault that is not possible is listed as failed; the others happen."""
    plan = [
        {"at": 0.1, "fault": {"kind": "evict", "session": "nobody"}},
        {"at": 0.05, "fault": {"kind": "status", "status": 503, "times": 1}},
    ]
    (tmp_path / "plan").write_text(json.dumps(plan))
    with running(faults=tmp_path / "plan") as server:
        wait_until(lambda: len(faults(server)) == 2)
        assert [(each["fault"]["kind"], each["state"]) for each in faults(server)] == [
            ("status", "active"),
            ("evict", "failed"),
        ]


@pytest.mark.parametrize("text", ["{}", "[1]", "no JSON", '[{"at": 1, "fault": {"kind": "nothing"}}]'])
def test_a_wrong_schedule_is_an_error_at_the_start(tmp_path, text):
    (tmp_path / "plan").write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        MixServer(ServerOptions(**SILENT, faults=tmp_path / "plan")).start()
